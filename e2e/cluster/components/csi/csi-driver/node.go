package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// node shows volumes to Pods. The kubelet applies fsGroup itself, because the
// CSIDriver object says fsGroupPolicy: File.
type node struct {
	csi.UnimplementedNodeServer
	name    string
	volumes store
	mounts  mounts
}

// mounts is the part of the kernel that a volume needs.
type mounts interface {
	// isMounted says whether something is mounted on target.
	isMounted(target string) (bool, error)
	bind(source, target string, readOnly bool) error
	unmount(target string) error
}

func (n *node) NodeGetInfo(context.Context, *csi.NodeGetInfoRequest) (*csi.NodeGetInfoResponse, error) {
	return &csi.NodeGetInfoResponse{NodeId: n.name}, nil
}

func (n *node) NodeGetCapabilities(context.Context, *csi.NodeGetCapabilitiesRequest) (*csi.NodeGetCapabilitiesResponse, error) {
	return &csi.NodeGetCapabilitiesResponse{}, nil
}

func (n *node) NodePublishVolume(_ context.Context, request *csi.NodePublishVolumeRequest) (*csi.NodePublishVolumeResponse, error) {
	id, target := request.GetVolumeId(), request.GetTargetPath()
	if id == "" || target == "" || request.GetVolumeCapability() == nil {
		return nil, status.Error(codes.InvalidArgument, "volume_id, target_path and volume_capability are needed")
	}
	if err := checkCapabilities(request.GetVolumeCapability()); err != nil {
		return nil, err
	}
	if _, found, err := n.volumes.find(id); err != nil || !found {
		return nil, notFound("volume", id, err)
	}
	if err := os.MkdirAll(target, 0o750); err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	if mounted, err := n.mounts.isMounted(target); err != nil || mounted {
		return &csi.NodePublishVolumeResponse{}, internal(err)
	}
	return &csi.NodePublishVolumeResponse{}, internal(n.mounts.bind(n.volumes.data(id), target, request.GetReadonly()))
}

func (n *node) NodeUnpublishVolume(_ context.Context, request *csi.NodeUnpublishVolumeRequest) (*csi.NodeUnpublishVolumeResponse, error) {
	target := request.GetTargetPath()
	if request.GetVolumeId() == "" || target == "" {
		return nil, status.Error(codes.InvalidArgument, "volume_id and target_path are needed")
	}
	mounted, err := n.mounts.isMounted(target)
	if err != nil {
		return nil, internal(err)
	}
	if mounted {
		if err := n.mounts.unmount(target); err != nil {
			return nil, internal(err)
		}
	}
	// Never with its content: that would be the volume's, if it were mounted.
	if err := os.Remove(target); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, internal(err)
	}
	return &csi.NodeUnpublishVolumeResponse{}, nil
}

func internal(err error) error {
	if err == nil {
		return nil
	}
	return status.Error(codes.Internal, err.Error())
}

// kernelMounts are the mounts of this process's namespace.
type kernelMounts struct{}

func (kernelMounts) isMounted(target string) (bool, error) {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return false, err
	}
	for line := range strings.Lines(string(table)) {
		const mountPoint = 4
		if fields := strings.Fields(line); len(fields) > mountPoint && unescape.Replace(fields[mountPoint]) == target {
			return true, nil
		}
	}
	return false, nil
}

// unescape undoes what proc_pid_mountinfo(5) does to the names of files.
var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

func (kernelMounts) bind(source, target string, readOnly bool) error {
	if err := unix.Mount(source, target, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount %s on %s: %w", source, target, err)
	}
	if !readOnly {
		return nil
	}
	// The kernel takes the flag only for a mount that exists.
	if err := unix.Mount("", target, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""); err != nil {
		return errors.Join(fmt.Errorf("make %s read-only: %w", target, err), unix.Unmount(target, 0))
	}
	return nil
}

func (kernelMounts) unmount(target string) error {
	if err := unix.Unmount(target, 0); err != nil {
		return fmt.Errorf("unmount %s: %w", target, err)
	}
	return nil
}
