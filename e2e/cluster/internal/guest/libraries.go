package guest

import (
	"debug/elf"
	"fmt"
	"os"
	"path/filepath"
)

// loader is the dynamic loader that Debian's amd64 programs name.
const loader = "lib64/ld-linux-x86-64.so.2"

// libraryDirs are where Debian's loader looks, relative to the root.
var libraryDirs = []string{"lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"}

// neededLibraries returns the files, relative to root, of all shared libraries
// that a program needs, directly or not.
func neededLibraries(root, program string) ([]string, error) {
	found := []string{}
	seen := map[string]bool{filepath.Base(loader): true}
	for queue := []string{program}; len(queue) > 0; queue = queue[1:] {
		names, err := imported(filepath.Join(root, queue[0]))
		if err != nil {
			return nil, fmt.Errorf("libraries of %s: %w", queue[0], err)
		}
		for _, name := range names {
			if seen[name] {
				continue
			}
			seen[name] = true
			library, err := findLibrary(root, name)
			if err != nil {
				return nil, fmt.Errorf("%s, needed by %s: %w", name, queue[0], err)
			}
			found = append(found, library)
			queue = append(queue, library)
		}
	}
	return found, nil
}

func imported(file string) ([]string, error) {
	program, err := elf.Open(file)
	if err != nil {
		return nil, err
	}
	defer program.Close()
	return program.ImportedLibraries()
}

func findLibrary(root, name string) (string, error) {
	for _, dir := range libraryDirs {
		candidate := filepath.Join(dir, name)
		if _, err := os.Stat(filepath.Join(root, candidate)); err == nil {
			return candidate, nil
		}
	}
	return "", fmt.Errorf("not in %v of %s", libraryDirs, root)
}
