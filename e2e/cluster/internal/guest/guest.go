// Package guest makes the tiny guest of the test bed: Debian's cloud kernel with
// a busybox in memory, small enough to boot in seconds on an emulated machine.
package guest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"novasphere.io/e2e/cluster/internal/host"
	"novasphere.io/e2e/cluster/internal/image"
)

const (
	// Image is the name of the guest's container image. It holds a disk for
	// `containerDisk`, and KernelPath and InitrdPath for `kernelBoot`.
	Image = "tb.local/tiny-guest:v1"
	// KernelPath is where the image has the kernel.
	KernelPath = "/boot/vmlinuz"
	// InitrdPath is where the image has the initial RAM disk.
	InitrdPath = "/boot/initramfs"
	// KernelArgs are the kernel arguments that a `kernelBoot` needs. Those after
	// the consoles save a fifth of the boot on an emulated processor.
	KernelArgs = "console=tty1 console=ttyS0,115200n8 quiet nokaslr no_timer_check tsc=reliable mitigations=off"

	// qemuID is the user and group that KubeVirt runs QEMU as; a container disk
	// has to belong to it (KubeVirt's user guide, "containerDisk").
	qemuID = 107

	// layout is part of the cache key: change it when the code here changes
	// what it makes from the same inputs.
	layout = "3"
)

// Archive makes the docker archive of Image and returns its path. It needs the
// Debian packages mmdebstrap, dosfstools, mtools and syslinux.
func Archive(ctx context.Context, builder *host.Builder) (string, error) {
	packages, err := unpackPackages(ctx, builder)
	if err != nil {
		return "", err
	}
	key, err := host.NewHash().Text(layout).Text(packages).Text(Image).Text(KernelArgs).Text(rootfsText()).Sum()
	if err != nil {
		return "", err
	}
	dir, err := builder.Once(ctx, "image/guest", key, func(ctx context.Context, dir string) error {
		return makeArchive(ctx, packages, dir)
	})
	return filepath.Join(dir, archiveName), err
}

const archiveName = "tiny-guest.tar"

func makeArchive(ctx context.Context, packages, dir string) error {
	kernel, err := findKernel(packages)
	if err != nil {
		return err
	}
	initramfs := filepath.Join(dir, "initramfs")
	if err := writeInitramfs(packages, initramfs); err != nil {
		return fmt.Errorf("initial RAM disk: %w", err)
	}
	disk := filepath.Join(dir, "disk.img")
	if err := writeDisk(ctx, disk, kernel, initramfs); err != nil {
		return fmt.Errorf("disk: %w", err)
	}
	files := []image.File{
		{Path: "/disk/disk.img", Source: disk, Mode: 0o440, UID: qemuID, GID: qemuID},
		{Path: KernelPath, Source: kernel, Mode: 0o444},
		{Path: InitrdPath, Source: initramfs, Mode: 0o444},
	}
	archive := image.Image{Name: Image, Layers: []image.Layer{{Files: files}}}
	if err := image.WriteDockerArchive(filepath.Join(dir, archiveName), archive); err != nil {
		return err
	}
	return os.Remove(disk)
}
