package guest

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"novasphere.io/e2e/cluster/internal/host"
)

// suite is older than that of our images: nobody gets this guest, and trixie's
// kernel has its modules compressed by xz, which the guest's busybox does not load.
const suite = "bookworm"

var packageNames = []string{"linux-image-cloud-amd64", "busybox-static", "dropbear-bin"}

// unpackPackages returns a folder with the unpacked Debian packages and what
// they depend on; nothing of them is configured or run.
func unpackPackages(ctx context.Context, builder *host.Builder) (string, error) {
	include := strings.Join(packageNames, ",")
	key, err := host.NewHash().Text(suite).Text(include).Sum()
	if err != nil {
		return "", err
	}
	return builder.Once(ctx, "debian/guest", key, func(ctx context.Context, dir string) error {
		archive := filepath.Join(dir, "packages.tar")
		unpack := exec.CommandContext(ctx, "mmdebstrap", "--variant=extract", "--include="+include, suite, archive)
		if err := builder.Mmdebstrap(unpack, "debian/guest"); err != nil {
			return err
		}
		list := exec.CommandContext(ctx, "tar", "-C", dir, "--no-same-owner", "-xf", archive,
			"--exclude=./dev/*", "--exclude=./usr/share/*")
		if _, err := host.Output(list); err != nil {
			return err
		}
		return os.Remove(archive)
	})
}

// Busybox returns the path of a static program with a shell, for images of tests.
func Busybox(ctx context.Context, builder *host.Builder) (string, error) {
	packages, err := unpackPackages(ctx, builder)
	return filepath.Join(packages, "bin", "busybox"), err
}

func findKernel(packages string) (string, error) {
	return findOne(filepath.Join(packages, "boot", "vmlinuz-*"))
}

func findOne(pattern string) (string, error) {
	found, err := filepath.Glob(pattern)
	if err != nil {
		return "", err
	}
	if len(found) != 1 {
		return "", errors.New("want exactly one " + pattern + ", found: " + strings.Join(found, " "))
	}
	return found[0], nil
}
