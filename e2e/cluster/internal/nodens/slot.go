// Package nodens gives a node namespaces, a cgroup and host settings of its
// own, and takes all of that away again.
package nodens

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"novasphere.io/e2e/cluster/internal/host"
	"novasphere.io/e2e/cluster/internal/network"
)

// Slots are machine-wide: clusters of different users and cache folders share
// the machine's routes.
const (
	slotsDir  = "/run/novacluster"
	slotsLock = "/run/novacluster.lock"
)

// Slot is the right to use the addresses of an index. The node's first process
// holds Lock open; the kernel frees the lock when that process ends.
type Slot struct {
	Index network.Index
	Lock  *os.File
}

// Claim takes a slot for the cluster in dir: the wanted one, or, unless exact,
// the next free one.
func Claim(ctx context.Context, dir string, wanted network.Index, exact bool) (*Slot, error) {
	unlock, err := host.Lock(ctx, slotsLock)
	if err != nil {
		return nil, fmt.Errorf("waiting for %s: %w", slotsLock, err)
	}
	defer unlock()
	if err := os.MkdirAll(slotsDir, 0o755); err != nil {
		return nil, err
	}
	index, reasons := wanted, []string{}
	for {
		slot, busy, err := tryClaim(dir, index)
		if err != nil {
			return nil, err
		}
		if busy == "" {
			return slot, prepareHost()
		}
		reasons = append(reasons, fmt.Sprintf("%d: %s", index, busy))
		index = index.Next()
		if exact || index == wanted {
			return nil, fmt.Errorf("no free address range for a node (%s)", strings.Join(reasons, "; "))
		}
	}
}

func tryClaim(dir string, index network.Index) (slot *Slot, busy string, err error) {
	file, err := os.OpenFile(slotFile(index), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, "", err
	}
	release := func() { file.Close() }
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		release()
		return nil, "used by " + owner(index), nil
	}
	// A crashed cluster keeps its range until its `down`, which removes routes.
	if other := owner(index); other != "" && other != dir && exists(other) {
		release()
		return nil, "used by " + other + ", which is down but not cleaned", nil
	}
	if err := index.Disconnect(); err != nil {
		release()
		return nil, "", err
	}
	conflict, err := index.Conflict()
	if err != nil || conflict != "" {
		release()
		return nil, "this machine has a route to " + conflict, err
	}
	if err := file.Truncate(0); err != nil {
		release()
		return nil, "", err
	}
	if _, err := file.WriteAt([]byte(dir), 0); err != nil {
		release()
		return nil, "", err
	}
	return &Slot{Index: index, Lock: file}, "", nil
}

// Release removes what the node of the cluster in dir left on this machine, and
// gives its slot back. It is no error when the cluster has none.
func Release(ctx context.Context, dir string) error {
	if !exists(slotsDir) {
		return nil
	}
	unlock, err := host.Lock(ctx, slotsLock)
	if err != nil {
		return fmt.Errorf("waiting for %s: %w", slotsLock, err)
	}
	defer unlock()
	others := 0
	for index := network.Index(1); index <= network.MaxIndex; index++ {
		switch owner(index) {
		case "":
		case dir:
			if err := errors.Join(index.Disconnect(), removeCgroups(CgroupName(index))); err != nil {
				return err
			}
			if err := os.Remove(slotFile(index)); err != nil {
				return err
			}
		default:
			others++
		}
	}
	if others > 0 {
		return nil
	}
	return restoreHost()
}

func slotFile(index network.Index) string {
	return filepath.Join(slotsDir, fmt.Sprintf("slot-%d", int(index)))
}

func owner(index network.Index) string {
	data, err := os.ReadFile(slotFile(index))
	if err != nil {
		return ""
	}
	return string(data)
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// hostSettings are what prepareHost changed on this machine.
type hostSettings struct {
	InotifyInstances string   `json:"inotifyInstances,omitempty"`
	MadeDirs         []string `json:"madeDirs,omitempty"`
}

const (
	inotifyFile = "/proc/sys/fs/inotify/max_user_instances"
	// enoughInotify serves several clusters; one uses about 25, and 128 is a
	// usual default.
	enoughInotify = "8192"
)

// mountPoints must exist on this machine for the node to mount its own
// folders over them.
var mountPoints = []string{"/var/lib/kubelet", "/var/lib/containerd"}

func settingsFile() string { return filepath.Join(slotsDir, "host.json") }

// prepareHost changes what all nodes need, once. The old values are recorded
// before the change, so that a crash in between loses nothing.
func prepareHost() error {
	if err := loadBridgeFilter(); err != nil || exists(settingsFile()) {
		return err
	}
	var settings hostSettings
	data, err := os.ReadFile(inotifyFile)
	if err != nil {
		return err
	}
	var current int
	if _, err := fmt.Sscan(string(data), &current); err != nil {
		return fmt.Errorf("%s: %w", inotifyFile, err)
	}
	const fewInotify = 1024
	if current < fewInotify {
		settings.InotifyInstances = strings.TrimSpace(string(data))
	}
	for _, dir := range mountPoints {
		if !exists(dir) {
			settings.MadeDirs = append(settings.MadeDirs, dir)
		}
	}
	if data, err = json.Marshal(settings); err != nil {
		return err
	}
	if err := host.WriteFile(settingsFile(), data, 0o644); err != nil {
		return err
	}
	for _, dir := range settings.MadeDirs {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if settings.InotifyInstances != "" {
		return os.WriteFile(inotifyFile, []byte(enoughInotify), 0o644)
	}
	return nil
}

// loadBridgeFilter loads the one module that the kernel does not load by
// itself. Without it the answer of a Pod to another Pod's call of a Service
// passes the bridge without the translation back.
func loadBridgeFilter() error {
	if exists("/proc/sys/net/bridge/bridge-nf-call-iptables") {
		return nil
	}
	if _, err := host.Output(exec.Command("modprobe", "br_netfilter")); err != nil {
		return fmt.Errorf("a node needs the kernel module br_netfilter: %w", err)
	}
	return nil
}

func restoreHost() error {
	data, err := os.ReadFile(settingsFile())
	if errors.Is(err, fs.ErrNotExist) {
		return os.RemoveAll(slotsDir)
	}
	if err != nil {
		return err
	}
	var settings hostSettings
	if err := json.Unmarshal(data, &settings); err != nil {
		return fmt.Errorf("%s: %w", settingsFile(), err)
	}
	if settings.InotifyInstances != "" {
		if err := os.WriteFile(inotifyFile, []byte(settings.InotifyInstances), 0o644); err != nil {
			return err
		}
	}
	for _, dir := range settings.MadeDirs {
		// Removing a folder unmounts what any other namespace has mounted on
		// it, without asking; so it stays while anything names it.
		if !mountedAnywhere(dir) {
			if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTEMPTY) {
				return err
			}
		}
	}
	return os.RemoveAll(slotsDir)
}

func mountedAnywhere(dir string) bool {
	files, err := filepath.Glob("/proc/[0-9]*/mountinfo")
	if err != nil {
		return true
	}
	for _, file := range files {
		// A process that ended since the listing has no file any more.
		if data, err := os.ReadFile(file); err == nil && strings.Contains(string(data), " "+dir+" ") {
			return true
		}
	}
	return false
}
