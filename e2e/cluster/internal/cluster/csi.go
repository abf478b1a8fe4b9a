package cluster

import (
	"context"
	"fmt"
	"time"

	"novasphere.io/e2e/cluster/internal/addons"
	"novasphere.io/e2e/cluster/internal/host"
)

// Names of the parts of storage with snapshots.
const (
	csiDriver          = "csi-driver"
	csiProvisioner     = "csi-provisioner"
	csiResizer         = "csi-resizer"
	csiSnapshotter     = "csi-snapshotter"
	snapshotController = "snapshot-controller"
)

var (
	csiParts = []string{csiDriver, csiProvisioner, csiResizer, csiSnapshotter, snapshotController}
	// csiSidecars are clients of the driver. They end when it ends; elsewhere
	// they are containers of its Pod, which the kubelet starts again.
	csiSidecars = []string{csiProvisioner, csiResizer, csiSnapshotter}
)

// csiSocket is where the driver serves, as the node sees it.
const csiSocket = "/run/csi/csi.sock"

// followers are stopped before a part and started after it.
func followers(part string) []string {
	if part == csiDriver {
		return csiSidecars
	}
	return nil
}

func (c *Cluster) hasCSI() bool { return c.state.CSI != "" }

func (c *Cluster) csiArguments(part string) []string {
	if part == csiDriver {
		return []string{
			"--endpoint=" + csiSocket,
			"--registration-dir=" + kubeletDir + "/plugins_registry",
			"--state-dir=" + c.path("csi"),
			"--node=" + c.nodeName(),
		}
	}
	arguments := append([]string{
		"--kubeconfig=" + c.kubeconfig("admin"),
		// Default: five minutes, which is how long a snapshot that became
		// ready could go unnoticed.
		"--retry-interval-max=2s",
	}, clientRate...)
	const copying = "5m" // a request ends when the copy is made
	switch part {
	case csiProvisioner:
		return append(arguments, "--csi-address="+csiSocket, "--timeout="+copying, "--feature-gates=Topology=false")
	case csiResizer:
		return append(arguments, "--csi-address="+csiSocket)
	case csiSnapshotter:
		return append(arguments, "--csi-address="+csiSocket, "--timeout="+copying, "--feature-gates=CSIVolumeGroupSnapshot=false")
	case snapshotController:
		return append(arguments, "--feature-gates=CSIVolumeGroupSnapshot=false")
	}
	return nil
}

// upCSI adds storage with snapshots to a node that runs.
func (c *Cluster) upCSI(ctx context.Context, needed programs, timeout time.Duration) error {
	done := c.progress.Step("storage with snapshots")
	if !c.hasCSI() {
		// First the CRDs: without them snapshot-controller ends.
		if err := c.ApplyCRDs(ctx, []string{needed.snapshotCRDs}, timeout); err != nil {
			return err
		}
		if _, err := c.Handle("").Kubectl(ctx, addons.CSI, "apply", "--server-side", "--filename=-"); err != nil {
			return fmt.Errorf("apply the objects of storage with snapshots: %w", err)
		}
		c.state.CSI = needed.csi
		if err := c.save(); err != nil {
			return err
		}
	}
	for _, part := range csiParts {
		if err := c.Start(ctx, part, timeout); err != nil {
			return err
		}
	}
	done()
	return nil
}

// registeredMark is a file that the driver makes when the kubelet has taken it.
// The CSINode object may still speak of an earlier process.
func (c *Cluster) registeredMark() string { return c.path("run", "csi", "registered") }

// waitDriver waits until the kubelet knows the driver.
func (c *Cluster) waitDriver(ctx context.Context, timeout time.Duration) error {
	return host.Wait(ctx, c.progress, "the kubelet to register the CSI driver", timeout, func(context.Context) (bool, string, error) {
		if err := c.checkAlive(csiDriver); err != nil {
			return false, "", err
		}
		return exists(c.registeredMark()), "not registered yet", nil
	})
}
