package guest

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
)

// bootModules are what the guest needs until it is ready: virtio disks and
// network, the file system of a cloud-init disk, the power button.
var bootModules = []string{
	"virtio_pci", "virtio_blk", "virtio_net", "virtio_rng",
	"isofs", "nls_utf8",
	"button", "evdev",
}

// lateModules are loaded after that: hot-plugged disks are SCSI.
var lateModules = []string{"virtio_scsi", "sd_mod", "vfat", "nls_cp437", "nls_ascii"}

// moduleOrder finds modules below root. The packages are not configured, so
// there is no modules.dep; each module names its own needs.
type moduleOrder struct {
	root  string
	files map[string]string
	seen  map[string]bool
}

func newModuleOrder(root string) (*moduleOrder, error) {
	files, err := moduleFiles(root)
	return &moduleOrder{root, files, map[string]bool{}}, err
}

// next returns the files of the wanted modules and of those that they need,
// each after what it needs, without those that were returned before.
func (o *moduleOrder) next(wanted []string) ([]string, error) {
	order := []string{}
	for _, name := range wanted {
		found, err := o.visit(name, "the guest")
		if err != nil {
			return nil, err
		}
		order = append(order, found...)
	}
	return order, nil
}

func (o *moduleOrder) visit(name, neededBy string) ([]string, error) {
	if o.seen[name] {
		return nil, nil
	}
	o.seen[name] = true
	file, found := o.files[name]
	if !found {
		return nil, fmt.Errorf("kernel module %s (for %s) is not below %s", name, neededBy, o.root)
	}
	needs, err := moduleNeeds(file)
	if err != nil {
		return nil, fmt.Errorf("kernel module %s: %w", file, err)
	}
	order := []string{}
	for _, need := range needs {
		found, err := o.visit(need, name)
		if err != nil {
			return nil, err
		}
		order = append(order, found...)
	}
	return append(order, file), nil
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
