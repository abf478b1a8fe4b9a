package guest

import (
	"compress/gzip"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

//go:embed rootfs
var rootfs embed.FS

// rootfsText is the content of the guest's own files, for the cache key.
func rootfsText() string {
	var text strings.Builder
	for name, data := range rootfsFiles() {
		fmt.Fprintf(&text, "%s %q\n", name, data)
	}
	return text.String()
}

// rootfsFiles walks the guest's own files in a fixed order.
func rootfsFiles() func(yield func(string, []byte) bool) {
	return func(yield func(string, []byte) bool) {
		// Reading an embedded tree cannot fail: the error is for stopping.
		_ = fs.WalkDir(rootfs, "rootfs", func(name string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			data, err := rootfs.ReadFile(name)
			if err == nil && !yield(strings.TrimPrefix(name, "rootfs/"), data) {
				return fs.SkipAll
			}
			return err
		})
	}
}

// programs go to /bin.
var programs = []string{"bin/busybox", "usr/sbin/dropbear", "usr/bin/dropbearkey"}

func writeInitramfs(packages, target string) error {
	out, err := os.Create(target)
	if err != nil {
		return err
	}
	defer out.Close()
	compressed := gzip.NewWriter(out)
	tree := &tree{cpio: cpio{out: compressed}, made: map[string]bool{".": true}}
	if err := fill(tree, packages); err != nil {
		return err
	}
	return errors.Join(tree.cpio.close(), compressed.Close(), out.Close())
}

func fill(tree *tree, packages string) error {
	for _, dir := range []string{"dev", "proc", "sys", "run", "tmp", "root", "sbin", "usr/bin", "usr/sbin"} {
		tree.dir(dir)
	}
	// The kernel opens /dev/console for init before anything is mounted.
	tree.cpio.add(cpioEntry{name: "dev/console", mode: typeCharDev | 0o600, major: 5, minor: 1})
	for _, link := range []string{"init", "bin/sh"} {
		tree.add(cpioEntry{name: link, mode: typeLink | 0o777, data: []byte("/bin/busybox")})
	}
	if err := addPrograms(tree, packages); err != nil {
		return err
	}
	for name, data := range rootfsFiles() {
		mode := 0o644
		if strings.HasPrefix(string(data), "#!") {
			mode = 0o755
		}
		tree.add(cpioEntry{name: name, mode: typeFile | mode, data: data})
	}
	return addModules(tree, packages)
}

func addPrograms(tree *tree, packages string) error {
	if err := tree.copy(loader, filepath.Join(packages, loader), 0o755); err != nil {
		return err
	}
	added := map[string]bool{}
	for _, program := range programs {
		if err := tree.copy(path.Join("bin", path.Base(program)), filepath.Join(packages, program), 0o755); err != nil {
			return err
		}
		libraries, err := neededLibraries(packages, program)
		if err != nil {
			return err
		}
		for _, library := range libraries {
			if added[library] {
				continue
			}
			added[library] = true
			if err := tree.copy(library, filepath.Join(packages, library), 0o755); err != nil {
				return err
			}
		}
	}
	return nil
}

func addModules(tree *tree, packages string) error {
	order, err := newModuleOrder(filepath.Join(packages, "lib", "modules"))
	if err != nil {
		return err
	}
	for _, stage := range []struct {
		name   string
		wanted []string
	}{{"boot", bootModules}, {"late", lateModules}} {
		modules, err := order.next(stage.wanted)
		if err != nil {
			return err
		}
		if err := addStage(tree, stage.name, modules); err != nil {
			return err
		}
	}
	return nil
}

// addStage adds modules and the list by which load-modules loads them.
func addStage(tree *tree, name string, modules []string) error {
	var list strings.Builder
	for _, module := range modules {
		base := filepath.Base(module)
		list.WriteString(base + "\n")
		if err := tree.copy("lib/modules/"+base, module, 0o644); err != nil {
			return err
		}
	}
	tree.add(cpioEntry{name: "lib/modules/" + name, mode: typeFile | 0o644, data: []byte(list.String())})
	return nil
}

// tree adds entries with their parent folders.
type tree struct {
	cpio cpio
	made map[string]bool
}

func (t *tree) dir(name string) {
	if t.made[name] {
		return
	}
	t.dir(path.Dir(name))
	t.made[name] = true
	t.cpio.add(cpioEntry{name: name, mode: typeDir | 0o755})
}

func (t *tree) add(entry cpioEntry) {
	t.dir(path.Dir(entry.name))
	t.cpio.add(entry)
}

// copy follows links: a library's name is usually one.
func (t *tree) copy(name, source string, mode int) error {
	data, err := os.ReadFile(source)
	if err != nil {
		return err
	}
	t.add(cpioEntry{name: name, mode: typeFile | mode, data: data})
	return nil
}
