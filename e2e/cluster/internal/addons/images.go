// Package addons holds what every cluster gets besides Kubernetes itself: the
// pause program, DNS, storage and a few roles.
package addons

import (
	"context"
	"os/exec"
	"path/filepath"

	"novasphere.io/e2e/cluster/internal/host"
	"novasphere.io/e2e/cluster/internal/image"
)

// Images that every node has.
const (
	PauseImage   = "localhost/pause:1"
	coreDNSImage = "localhost/coredns:1.13.1"
)

// imageFormat is part of the images' keys: change it when the layout of the
// images below changes.
const imageFormat = "1"

// Pause returns the folder with the program "pause" and its image "pause.tar".
func Pause(ctx context.Context, b *host.Builder) (string, error) {
	source := filepath.Join(b.Source, "components", "pause", "pause.c")
	key, err := host.NewHash().Text(imageFormat).Text(PauseImage).Tree(source).Sum()
	if err != nil {
		return "", err
	}
	return b.Once(ctx, "images/pause", key, func(ctx context.Context, dir string) error {
		program := filepath.Join(dir, "pause")
		if _, err := host.Output(exec.CommandContext(ctx, "gcc", "-static", "-Os", "-s", "-Wall", "-Wextra", "-Werror", "-o", program, source)); err != nil {
			return err
		}
		return image.WriteDockerArchive(filepath.Join(dir, "pause.tar"), image.Image{
			Name:   PauseImage,
			Layers: []image.Layer{{Files: []image.File{{Path: "/pause", Source: program, Mode: 0o755}}}},
			Config: image.Config{Entrypoint: []string{"/pause"}, User: "65535:65535"},
		})
	})
}

// CoreDNS returns the image's archive.
func CoreDNS(ctx context.Context, b *host.Builder) (string, error) {
	bin, err := b.Go(ctx, host.GoBuild{Name: "coredns", Dir: "components/coredns", Out: "coredns"})
	if err != nil {
		return "", err
	}
	// The folder's name holds the key of the program's sources.
	key, err := host.NewHash().Text(imageFormat).Text(coreDNSImage).Text(filepath.Base(bin)).Sum()
	if err != nil {
		return "", err
	}
	dir, err := b.Once(ctx, "images/coredns", key, func(_ context.Context, dir string) error {
		return image.WriteDockerArchive(filepath.Join(dir, "coredns.tar"), image.Image{
			Name:   coreDNSImage,
			Layers: []image.Layer{{Files: []image.File{{Path: "/coredns", Source: filepath.Join(bin, "coredns"), Mode: 0o755}}}},
			Config: image.Config{Entrypoint: []string{"/coredns"}, User: "65534:65534"},
		})
	})
	return filepath.Join(dir, "coredns.tar"), err
}
