package kubevirt

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"novasphere.io/e2e/cluster/internal/host"
	"novasphere.io/e2e/cluster/internal/image"
)

// qemuID is the user and group that virt-launcher runs as (KubeVirt's
// pkg/util/util.go, NonRootUID).
const qemuID = 107

// operatorID is the user of the components that say runAsNonRoot.
const operatorID = 1001

// virtqemud stands for libvirt's modular daemon, which Debian does not ship:
// the monolithic libvirtd under the name that virt-handler looks for among the
// processes, with its socket under the name that virt-launcher connects to.
const virtqemud = `#!/bin/sh
mkdir -p /run/libvirt && ln -sfn libvirt-sock /run/libvirt/virtqemud-sock
exec ` + libvirtdAsVirtqemud + ` "$@"
`

const libvirtdAsVirtqemud = "/usr/libexec/testbed/virtqemud"

// firmware maps the names that virt-launcher expects to Debian's.
var firmware = []struct{ name, target string }{
	{"OVMF_CODE.fd", "OVMF_CODE_4M.fd"},
	{"OVMF_VARS.fd", "OVMF_VARS_4M.fd"},
	{"OVMF_CODE.secboot.fd", "OVMF_CODE_4M.secboot.fd"},
	{"OVMF_VARS.secboot.fd", "OVMF_VARS_4M.ms.fd"},
}

// layer lists what goes over the base layer: what KubeVirt's own image build
// (cmd/virt-launcher/BUILD.bazel, cmd/virt-handler/BUILD.bazel) adds to its base.
func layer(ctx context.Context, builder *host.Builder, basePath string) ([]image.File, error) {
	bin, err := binaries(ctx, builder)
	if err != nil {
		return nil, err
	}
	source, err := moduleSource(ctx, builder)
	if err != nil {
		return nil, err
	}
	containerDisk, err := buildContainerDisk(ctx, builder, source)
	if err != nil {
		return nil, err
	}
	users, err := readTar(basePath, "etc/passwd", "etc/group")
	if err != nil {
		return nil, err
	}
	qemuConfig, err := os.ReadFile(filepath.Join(source, "cmd", "virt-launcher", "qemu.conf"))
	if err != nil {
		return nil, err
	}
	files := []image.File{
		{Path: "/usr/bin/container-disk", Source: containerDisk, Mode: 0o755},
		{Path: "/usr/bin/node-labeller.sh", Source: filepath.Join(source, "cmd", "virt-launcher", "node-labeller", "node-labeller.sh"), Mode: 0o755},
		{Path: "/usr/sbin/virtqemud", Data: []byte(virtqemud), Mode: 0o755},
		{Path: libvirtdAsVirtqemud, Link: "/usr/sbin/libvirtd"},
		{Path: "/etc/libvirt/virtqemud.conf", Source: filepath.Join(source, "cmd", "virt-launcher", "virtqemud.conf"), Mode: 0o644},
		// Neither AppArmor nor SELinux can be set up from inside a Pod.
		{Path: "/etc/libvirt/qemu.conf", Data: append(qemuConfig, "\nsecurity_driver = \"none\"\n"...)},
		{Path: "/etc/passwd", Data: append(users["etc/passwd"], passwd()...)},
		{Path: "/etc/group", Data: append(users["etc/group"], group()...)},
		{Path: "/home/qemu", Dir: true, UID: qemuID, GID: qemuID},
		{Path: "/var/log/libvirt", Dir: true, UID: qemuID, GID: qemuID},
		// Relative, as KubeVirt has it: virt-handler looks through
		// /proc/PID/root, where an absolute link would lead to its own root.
		{Path: "/var/run", Link: "../run"},
	}
	for _, each := range firmware {
		files = append(files, image.File{Path: "/usr/share/OVMF/" + each.name, Link: each.target})
	}
	return append(files, programFiles(bin)...), nil
}

func programFiles(bin string) []image.File {
	files := []image.File{}
	for _, program := range programs {
		file := image.File{Path: "/usr/bin/" + program, Source: filepath.Join(bin, program), Mode: 0o755}
		if program == "virt-launcher-monitor" {
			file.Xattrs = map[string]string{"security.capability": bindCapability()}
		}
		files = append(files, file)
	}
	return files
}

// bindCapability is cap_net_bind_service=ep as the kernel stores it: struct
// vfs_cap_data of linux/capability.h, revision 2, little endian.
func bindCapability() string {
	const (
		revision2         = 0x02000000
		effective         = 1
		capNetBindService = 10
	)
	data := make([]byte, 20)
	binary.LittleEndian.PutUint32(data, revision2|effective)
	binary.LittleEndian.PutUint32(data[4:], 1<<capNetBindService)
	return string(data)
}

func passwd() string {
	return fmt.Sprintf("qemu:x:%[1]d:%[1]d:qemu:/home/qemu:/bin/bash\nnonroot-user:x:%[2]d:%[2]d:nonroot-user:/nonexistent:/bin/bash\n", qemuID, operatorID)
}

func group() string {
	return fmt.Sprintf("qemu:x:%d:\nnonroot-user:x:%d:\n", qemuID, operatorID)
}

// buildContainerDisk compiles the server of container disks, one C file that
// KubeVirt links statically because it runs in images without any library.
func buildContainerDisk(ctx context.Context, builder *host.Builder, source string) (string, error) {
	file := filepath.Join(source, "cmd", "container-disk-v2alpha", "main.c")
	key, err := host.NewHash().Tree(file).Sum()
	if err != nil {
		return "", err
	}
	dir, err := builder.Once(ctx, "bin/container-disk", key, func(ctx context.Context, dir string) error {
		cmd := exec.CommandContext(ctx, "gcc", "-O2", "-static", "-s", "-o", filepath.Join(dir, "container-disk"), file)
		if _, err := host.Output(cmd); err != nil {
			return fmt.Errorf("gcc (Debian packages gcc and libc6-dev): %w", err)
		}
		return nil
	})
	return filepath.Join(dir, "container-disk"), err
}
