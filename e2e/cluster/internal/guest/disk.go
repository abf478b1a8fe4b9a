package guest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"novasphere.io/e2e/cluster/internal/host"
)

const bootConfig = `DEFAULT linux
PROMPT 0
LABEL linux
  KERNEL vmlinuz
  INITRD initrd
  APPEND ` + KernelArgs + `
`

// writeDisk makes a FAT file system with SYSLINUX in its boot sector, which a
// BIOS boots without a partition table. Works on a plain file: no loop device,
// no root.
func writeDisk(ctx context.Context, path, kernel, initramfs string) error {
	size, err := diskKiB(kernel, initramfs)
	if err != nil {
		return err
	}
	config := filepath.Join(filepath.Dir(path), "syslinux.cfg")
	if err := os.WriteFile(config, []byte(bootConfig), 0o600); err != nil {
		return err
	}
	defer os.Remove(config)
	commands := [][]string{
		{"mkfs.vfat", "-n", "TINYGUEST", "-C", path, fmt.Sprint(size)},
		{"mcopy", "-i", path, config, "::syslinux.cfg"},
		{"mcopy", "-i", path, kernel, "::vmlinuz"},
		{"mcopy", "-i", path, initramfs, "::initrd"},
		{"syslinux", "--install", path},
	}
	for _, args := range commands {
		cmd := exec.CommandContext(ctx, args[0], args[1:]...)
		// mkfs.vfat is in /usr/sbin, which a user's PATH may lack.
		cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
		if _, err := host.Output(cmd); err != nil {
			return fmt.Errorf("needs the Debian packages dosfstools, mtools and syslinux: %w", err)
		}
	}
	return nil
}

// diskKiB is the size of the files plus 2 MiB for the file system itself and
// SYSLINUX, rounded up to whole MiB.
func diskKiB(files ...string) (int64, error) {
	const mebi = 1 << 20
	total := int64(2 * mebi)
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil {
			return 0, err
		}
		total += info.Size()
	}
	return (total + mebi - 1) / mebi * 1024, nil
}
