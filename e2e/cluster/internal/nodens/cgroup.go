package nodens

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"novasphere.io/e2e/cluster/internal/network"
)

const cgroupRoot = "/sys/fs/cgroup"

// processorShare is how many processes outside of it a node counts as when the
// processors are busy. Without this all Pods of a node together would count as
// one, and beside a build KubeVirt takes minutes to start.
const processorShare = 10

// CgroupName is the name of the folder in every cgroup hierarchy under which
// the kubelet keeps the Pods of a node.
func CgroupName(index network.Index) string { return fmt.Sprintf("novacluster-%d", int(index)) }

// CreateCgroups makes the folder of the node in the cgroup hierarchies of this
// machine: the one of version 2, or those of version 1 that the kubelet uses.
func CreateCgroups(index network.Index) error {
	name := CgroupName(index)
	if exists(filepath.Join(cgroupRoot, "cgroup.controllers")) {
		return createUnified(name)
	}
	for _, controller := range []string{"cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "hugetlb", "systemd"} {
		parent := filepath.Join(cgroupRoot, controller)
		if !exists(parent) {
			continue
		}
		if err := mkdir(filepath.Join(parent, name)); err != nil {
			return fmt.Errorf("cgroup: %w", err)
		}
		if err := prepare(controller, parent, filepath.Join(parent, name)); err != nil {
			return fmt.Errorf("cgroup: %w", err)
		}
	}
	return nil
}

// prepare sets up the folder of a hierarchy of version 1.
func prepare(controller, parent, child string) error {
	switch controller {
	case "cpuset":
		return copyCpuset(parent, child)
	case "cpu":
		const defaultShares = 1024
		return os.WriteFile(filepath.Join(child, "cpu.shares"), []byte(fmt.Sprint(processorShare*defaultShares)), 0o644)
	}
	return nil
}

// copyCpuset is needed because a new cpuset of version 1 is empty, and no
// process can be put into an empty one.
func copyCpuset(parent, child string) error {
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		data, err := os.ReadFile(filepath.Join(parent, file))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(child, file), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

func createUnified(name string) error {
	dir := filepath.Join(cgroupRoot, name)
	if err := mkdir(dir); err != nil {
		return fmt.Errorf("cgroup: %w", err)
	}
	for _, folder := range []string{cgroupRoot, dir} {
		data, err := os.ReadFile(filepath.Join(folder, "cgroup.controllers"))
		if err != nil {
			return err
		}
		for controller := range strings.FieldsSeq(string(data)) {
			// One at a time: some controllers cannot be enabled on some
			// machines, and the kubelet says which it misses.
			_ = os.WriteFile(filepath.Join(folder, "cgroup.subtree_control"), []byte("+"+controller), 0o644)
		}
	}
	const defaultWeight = 100
	weight := filepath.Join(dir, "cpu.weight")
	if !exists(weight) {
		return nil // the processor controller belongs to somebody else here
	}
	return os.WriteFile(weight, []byte(fmt.Sprint(processorShare*defaultWeight)), 0o644)
}

// removeCgroups removes the folders of that name. The processes in them have
// been killed; the kernel may still be taking them out.
func removeCgroups(name string) error {
	roots := []string{filepath.Join(cgroupRoot, name)}
	inHierarchies, err := filepath.Glob(filepath.Join(cgroupRoot, "*", name))
	if err != nil {
		return err
	}
	for _, root := range append(roots, inHierarchies...) {
		if err := removeCgroup(root); err != nil {
			return fmt.Errorf("remove cgroup: %w", err)
		}
	}
	return nil
}

func removeCgroup(root string) error {
	const bound = 10 * time.Second
	deadline := time.Now().Add(bound)
	for {
		err := removeTree(root)
		if err == nil || !errors.Is(err, unix.EBUSY) || time.Now().After(deadline) {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// removeTree removes folders from the leaves up; the files in a cgroup cannot
// be removed, they go with their folder.
func removeTree(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.IsDir() {
			if err := removeTree(filepath.Join(dir, entry.Name())); err != nil {
				return err
			}
		}
	}
	if err := unix.Rmdir(dir); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("%s: %w", dir, err)
	}
	return nil
}

func mkdir(path string) error {
	if err := os.Mkdir(path, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}
