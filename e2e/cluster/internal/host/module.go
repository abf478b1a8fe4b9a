package host

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Module returns the folder of a module in the module cache, of the version that
// the go.mod in pins, a folder relative to e2e/cluster, has. Go checks its content
// against go.sum.
func (b *Builder) Module(ctx context.Context, pins, module string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "mod", "download", "-json", module)
	cmd.Dir = filepath.Join(b.Source, pins)
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=readonly")
	out, err := Output(cmd)
	if err != nil {
		return "", fmt.Errorf("download module %s: %w", module, err)
	}
	var answer struct{ Dir string }
	if err := json.Unmarshal(out, &answer); err != nil {
		return "", fmt.Errorf("download module %s: %w", module, err)
	}
	return answer.Dir, nil
}
