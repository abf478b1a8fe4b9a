package host

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
)

// Tool returns the file of a program that its vendor has built, of the version
// that hack/tools.txt names.
func (b *Builder) Tool(ctx context.Context, name string) (string, error) {
	hack := filepath.Join(b.Source, "..", "..", "hack")
	install := filepath.Join(hack, "install-tool")
	key, err := NewHash().Tree(install).Tree(filepath.Join(hack, "tools.txt")).Sum()
	if err != nil {
		return "", err
	}
	const folder = "tool"
	dir, err := b.Once(ctx, "tools/"+name, key, func(ctx context.Context, dir string) error {
		if _, err := Output(exec.CommandContext(ctx, install, name, filepath.Join(dir, folder))); err != nil {
			return fmt.Errorf("hack/install-tool %s: %w", name, err)
		}
		return nil
	})
	return filepath.Join(dir, folder, name), err
}
