package nodens

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"novasphere.io/e2e/cluster/internal/daemon"
)

// InitCommand is the argument with which this program becomes the first
// process of a node.
const InitCommand = "node-init"

// Init is what the first process of a node prepares before it turns into
// Pause, which only reaps.
type Init struct {
	Hostname string
	// Dir is the folder of the cluster.
	Dir string
	// Binds are mounted in the node: path on this machine to path in the node.
	Binds []Bind
	// Pause is the program that stays.
	Pause string
}

// Bind is a bind mount.
type Bind struct{ From, To string }

// File descriptors that the first process inherits.
const (
	slotFd   = 3
	reportFd = 4
)

// StartInit makes the namespaces and returns their first process. Killing that
// process ends every process of the node, and the kernel then removes the
// node's mounts, links, routes and firewall rules.
func StartInit(config Init, slot *Slot) (daemon.Process, error) {
	arguments, err := json.Marshal(config)
	if err != nil {
		return daemon.Process{}, err
	}
	report, reportWriter, err := os.Pipe()
	if err != nil {
		return daemon.Process{}, err
	}
	defer report.Close()
	logFile := daemon.LogFile(config.Dir, InitCommand)
	if err := os.MkdirAll(filepath.Dir(logFile), 0o755); err != nil {
		return daemon.Process{}, err
	}
	log, err := os.Create(logFile)
	if err != nil {
		return daemon.Process{}, err
	}
	defer log.Close()
	cmd := exec.Command("/proc/self/exe", InitCommand, string(arguments))
	cmd.Dir = "/"
	cmd.Env = daemon.Environment(config.Dir)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{slotFd - 3: slot.Lock, reportFd - 3: reportWriter}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setsid:     true,
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC | syscall.CLONE_NEWPID,
	}
	err = cmd.Start()
	reportWriter.Close()
	if err != nil {
		return daemon.Process{}, fmt.Errorf("make the node's namespaces: %w", err)
	}
	go func() { _ = cmd.Wait() }()
	process, err := daemon.Find(cmd.Process.Pid)
	if err != nil {
		return process, err
	}
	problem, err := io.ReadAll(report)
	if err == nil && len(problem) > 0 {
		err = errors.New(string(problem))
	}
	if err == nil && !process.Alive() {
		err = fmt.Errorf("its first process ended at once, see %s", logFile)
	}
	if err != nil {
		return process, fmt.Errorf("prepare the node's namespaces: %w", err)
	}
	return process, nil
}

// RunInit is the first process. It returns only on failure.
func RunInit(arguments string) error {
	report := os.NewFile(reportFd, "report")
	if err := daemon.CloseOnExec(reportFd); err != nil {
		fmt.Fprint(report, err)
		return err
	}
	err := runInit(arguments)
	fmt.Fprint(report, err)
	return err
}

func runInit(arguments string) error {
	var config Init
	if err := json.Unmarshal([]byte(arguments), &config); err != nil {
		return err
	}
	for _, step := range []func(Init) error{separateMounts, mountProc, mountSys, mountBinds, protectSysctls, shareMounts, setSysctls} {
		if err := step(config); err != nil {
			return err
		}
	}
	if err := unix.Sethostname([]byte(config.Hostname)); err != nil {
		return fmt.Errorf("set host name: %w", err)
	}
	err := unix.Exec(config.Pause, []string{"novacluster-node", config.Dir}, os.Environ())
	return fmt.Errorf("exec %s: %w", config.Pause, err)
}

func separateMounts(Init) error { return mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE) }

func mountProc(Init) error {
	return mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC)
}

// mountSys mounts a sysfs that shows the node's own network, with the cgroup
// hierarchies of this machine in their place.
func mountSys(config Init) error {
	aside := filepath.Join(config.Dir, "cgroup")
	if err := mkdir(aside); err != nil {
		return err
	}
	if err := mount(cgroupRoot, aside, "", unix.MS_BIND|unix.MS_REC); err != nil {
		return err
	}
	if err := mount("sysfs", "/sys", "sysfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC); err != nil {
		return err
	}
	if err := mount(aside, cgroupRoot, "", unix.MS_BIND|unix.MS_REC); err != nil {
		return err
	}
	return unix.Unmount(aside, unix.MNT_DETACH)
}

func mountBinds(config Init) error {
	for _, bind := range config.Binds {
		if err := mount(bind.From, bind.To, "", unix.MS_BIND|unix.MS_REC); err != nil {
			return err
		}
	}
	return nil
}

// protectSysctls hides three settings of this machine behind files with the
// values that the kubelet wants: it would otherwise set them for everybody.
func protectSysctls(config Init) error {
	for file, value := range map[string]string{"vm/overcommit_memory": "1", "kernel/panic": "10", "kernel/panic_on_oops": "1"} {
		source := filepath.Join(config.Dir, "run", "sysctl-"+strings.ReplaceAll(file, "/", "-"))
		if err := os.WriteFile(source, []byte(value+"\n"), 0o644); err != nil {
			return err
		}
		if err := mount(source, filepath.Join("/proc/sys", file), "", unix.MS_BIND); err != nil {
			return err
		}
	}
	return nil
}

// shareMounts lets mounts of Pods with mountPropagation reach the node.
func shareMounts(Init) error { return mount("", "/", "", unix.MS_REC|unix.MS_SHARED) }

func setSysctls(Init) error {
	needed := map[string]string{
		"net/ipv4/ip_forward":              "1",
		"net/ipv4/conf/all/rp_filter":      "0",
		"net/ipv4/conf/default/rp_filter":  "0",
		"net/ipv4/icmp_ratelimit":          "0", // the refusal of a Service without endpoints must not wait its turn
		"net/ipv4/ping_group_range":        "0 2147483647",
		"net/ipv4/ip_local_reserved_ports": "30000-32767", // NodePorts
	}
	for file, value := range needed {
		if err := os.WriteFile(filepath.Join("/proc/sys", file), []byte(value), 0o644); err != nil {
			return fmt.Errorf("sysctl: %w", err)
		}
	}
	// These exist only with certain kernel modules and are then wanted.
	for file, value := range map[string]string{
		"net/bridge/bridge-nf-call-iptables": "1",
		"net/ipv6/conf/all/disable_ipv6":     "1",
		"net/ipv6/conf/default/disable_ipv6": "1",
	} {
		path := filepath.Join("/proc/sys", file)
		if exists(path) {
			if err := os.WriteFile(path, []byte(value), 0o644); err != nil {
				return fmt.Errorf("sysctl: %w", err)
			}
		}
	}
	return nil
}

func mount(source, target, kind string, flags uintptr) error {
	if err := unix.Mount(source, target, kind, flags, ""); err != nil {
		return fmt.Errorf("mount %s on %s: %w", source, target, err)
	}
	return nil
}
