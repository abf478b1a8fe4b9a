package host

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
)

// findSource finds the folder e2e/cluster: the components are Go modules of
// their own, so they cannot be embedded into the program.
func findSource() (string, error) {
	if source := os.Getenv("NOVACLUSTER_SOURCE"); source != "" {
		return filepath.Abs(source)
	}
	starts := []string{}
	if _, file, _, ok := runtime.Caller(0); ok && filepath.IsAbs(file) {
		starts = append(starts, filepath.Dir(file))
	}
	if executable, err := os.Executable(); err == nil {
		starts = append(starts, filepath.Dir(executable))
	}
	if cwd, err := os.Getwd(); err == nil {
		starts = append(starts, cwd)
	}
	for _, dir := range starts {
		for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
			for _, candidate := range []string{dir, filepath.Join(dir, "e2e", "cluster")} {
				if _, err := os.Stat(filepath.Join(candidate, "components", "kube", "go.mod")); err == nil {
					return candidate, nil
				}
			}
		}
	}
	return "", errors.New("the sources of the test bed (e2e/cluster) were not found: " +
		"run this inside the repository, or set NOVACLUSTER_SOURCE to that folder")
}
