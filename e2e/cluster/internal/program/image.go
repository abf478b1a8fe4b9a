// Package program makes the image of the novasphere program without a container
// engine. images/novasphere/Dockerfile makes the same one with an engine; both
// take the root file system from images/novasphere/rootfs.
package program

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"novasphere.io/e2e/cluster/internal/host"
	"novasphere.io/e2e/cluster/internal/image"
)

// user is nobody's on the node; a Pod with runAsNonRoot needs a number.
const user = "65532"

const rootfsName = "rootfs.tar"

// Archive writes a docker archive with one image, named name, that runs the
// program binary.
func Archive(ctx context.Context, builder *host.Builder, binary, name, out string) error {
	root, err := rootfs(ctx, builder)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		return err
	}
	defer builder.Progress.Step("image " + name)()
	return image.WriteDockerArchive(out, image.Image{
		Name: name,
		Layers: []image.Layer{
			{Tar: root},
			{Files: []image.File{{Path: "/usr/bin/novasphere", Source: binary, Mode: 0o755}}},
		},
		Config: image.Config{
			User:         user,
			Entrypoint:   []string{"/usr/bin/novasphere"},
			ExposedPorts: map[string]struct{}{"8080/tcp": {}},
		},
	})
}

// rootfs makes the layer below the program, once for a list of packages and the
// release of Debian that the script names.
func rootfs(ctx context.Context, builder *host.Builder) (string, error) {
	recipe := filepath.Join(builder.Source, "..", "..", "images", "novasphere")
	script := filepath.Join(recipe, "rootfs")
	key, err := host.NewHash().Tree(script).Tree(filepath.Join(recipe, "packages")).Sum()
	if err != nil {
		return "", err
	}
	dir, err := builder.Once(ctx, "debian/novasphere", key, func(ctx context.Context, dir string) error {
		tree := filepath.Join(dir, "root")
		if _, err := host.Output(exec.CommandContext(ctx, script, tree)); err != nil {
			return fmt.Errorf("root file system of the image: %w", err)
		}
		pack := exec.CommandContext(ctx, "tar", "--create", "--file", filepath.Join(dir, rootfsName), "--directory", tree,
			"--sort=name", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner", ".")
		if _, err := host.Output(pack); err != nil {
			return err
		}
		return os.RemoveAll(tree)
	})
	return filepath.Join(dir, rootfsName), err
}
