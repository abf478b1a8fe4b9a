package guest

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
)

// wantedModules are what a guest of KubeVirt meets: virtio disks and network,
// the file systems of a cloud-init disk, the power button.
var wantedModules = []string{
	"virtio_pci", "virtio_blk", "virtio_net", "virtio_rng", "virtio_scsi", "sd_mod",
	"isofs", "vfat", "nls_cp437", "nls_ascii", "nls_utf8",
	"button", "evdev",
}

// moduleOrder returns the files of the wanted modules and of those that they
// need, each after what it needs. The packages are not configured, so there is
// no modules.dep; each module names its own needs.
func moduleOrder(root string) ([]string, error) {
	files, err := moduleFiles(root)
	if err != nil {
		return nil, err
	}
	order := []string{}
	seen := map[string]bool{}
	var visit func(name, neededBy string) error
	visit = func(name, neededBy string) error {
		if seen[name] {
			return nil
		}
		seen[name] = true
		file, found := files[name]
		if !found {
			return fmt.Errorf("kernel module %s (for %s) is not below %s", name, neededBy, root)
		}
		needs, err := moduleNeeds(file)
		if err != nil {
			return fmt.Errorf("kernel module %s: %w", file, err)
		}
		for _, need := range needs {
			if err := visit(need, name); err != nil {
				return err
			}
		}
		order = append(order, file)
		return nil
	}
	for _, name := range wantedModules {
		if err := visit(name, "the guest"); err != nil {
			return nil, err
		}
	}
	return order, nil
}

func moduleFiles(root string) (map[string]string, error) {
	files := map[string]string{}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".ko") {
			files[moduleName(strings.TrimSuffix(entry.Name(), ".ko"))] = path
		}
		return err
	})
	return files, err
}

func moduleNeeds(file string) ([]string, error) {
	module, err := elf.Open(file)
	if err != nil {
		return nil, err
	}
	defer module.Close()
	section := module.Section(".modinfo")
	if section == nil {
		return nil, fmt.Errorf("has no section .modinfo")
	}
	data, err := section.Data()
	if err != nil {
		return nil, err
	}
	return parseNeeds(data), nil
}

// parseNeeds reads "depends=a,b" out of a list of NUL-ended strings.
func parseNeeds(modinfo []byte) []string {
	needs := []string{}
	for field := range bytes.SplitSeq(modinfo, []byte{0}) {
		list, found := strings.CutPrefix(string(field), "depends=")
		if !found {
			continue
		}
		for name := range strings.SplitSeq(list, ",") {
			if name != "" {
				needs = append(needs, moduleName(name))
			}
		}
	}
	return needs
}

// moduleName: the kernel treats "-" and "_" in names alike.
func moduleName(name string) string { return strings.ReplaceAll(name, "-", "_") }
