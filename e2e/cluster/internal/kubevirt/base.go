package kubevirt

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"novasphere.io/e2e/cluster/internal/host"
)

// suite is newer than the machine's Debian: its libvirt and QEMU are the ones
// nearest to those that KubeVirt ships.
const suite = "trixie"

var basePackages = []string{
	"iproute2", "libvirt-clients", "libvirt-daemon", "libvirt-daemon-driver-qemu", "libvirt-daemon-log",
	"mount", "nftables", "ovmf", "procps", "qemu-system-x86", "qemu-utils", "util-linux", "xorriso",
}

// left out: nobody reads them in a container, and they are a fifth of the size.
var basePathExcludes = []string{"/usr/share/doc/*", "/usr/share/info/*", "/usr/share/locale/*", "/usr/share/man/*"}

// base makes the root file system with libvirt and QEMU, a tar file.
func base(ctx context.Context, builder *host.Builder) (string, error) {
	args := []string{"--variant=apt", "--include=" + strings.Join(basePackages, ",")}
	for _, exclude := range basePathExcludes {
		args = append(args, "--dpkgopt=path-exclude="+exclude)
	}
	key, err := host.NewHash().Text(suite).Text(strings.Join(args, " ")).Sum()
	if err != nil {
		return "", err
	}
	dir, err := builder.Once(ctx, "debian/kubevirt", key, func(ctx context.Context, dir string) error {
		cmd := exec.CommandContext(ctx, "mmdebstrap", append(args, suite, filepath.Join(dir, baseName))...)
		return builder.Mmdebstrap(cmd, "debian/kubevirt")
	})
	return filepath.Join(dir, baseName), err
}

const baseName = "root.tar"

// readTar returns the content of some files of a tar file.
func readTar(path string, names ...string) (map[string][]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	missing := map[string]bool{}
	for _, name := range names {
		missing[name] = true
	}
	found := map[string][]byte{}
	reader := tar.NewReader(file)
	for len(missing) > 0 {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("%s lacks %v", path, missing)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		name := strings.TrimPrefix(header.Name, "./")
		if !missing[name] {
			continue
		}
		delete(missing, name)
		if found[name], err = io.ReadAll(reader); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	return found, nil
}
