package kubevirt

import (
	"context"
	_ "embed"
	"fmt"
	"os/exec"
	"time"

	"golang.org/x/sync/errgroup"

	"novasphere.io/e2e/cluster/internal/guest"
	"novasphere.io/e2e/cluster/internal/host"
)

// namespace is also in kubevirt.yaml.
const namespace = "kubevirt"

//go:embed kubevirt.yaml
var resource []byte

// Build makes everything that Install needs: the images of KubeVirt and of the
// guest, and the generator of the manifests.
func Build(ctx context.Context, builder *host.Builder) error {
	_, err := build(ctx, builder)
	return err
}

type built struct {
	kubeVirt, guest, generator string
}

func build(ctx context.Context, builder *host.Builder) (built, error) {
	var made built
	// The base layer waits for the network and dpkg, the programs for the
	// compiler: side by side they take the time of the longer one.
	all, ctx := errgroup.WithContext(ctx)
	all.Go(func() (err error) {
		if _, err = base(ctx, builder); err == nil {
			made.guest, err = guest.Archive(ctx, builder)
		}
		return err
	})
	all.Go(func() (err error) {
		if made.generator, err = Generator(ctx, builder); err == nil {
			made.kubeVirt, err = Archive(ctx, builder)
		}
		return err
	})
	return made, all.Wait()
}

// Import puts the images of KubeVirt and of the guest into the node; it needs
// only containerd, so it can run while the rest of the node starts.
func Import(ctx context.Context, builder *host.Builder, cluster *host.Cluster) error {
	made, err := build(ctx, builder)
	if err != nil {
		return err
	}
	return cluster.ImportImages(ctx, made.kubeVirt, made.guest)
}

// Install installs KubeVirt and waits until it is Available. The node must be
// Ready. It can be repeated. timeout bounds each single wait.
func Install(ctx context.Context, builder *host.Builder, cluster *host.Cluster, timeout time.Duration) error {
	made, err := build(ctx, builder)
	if err != nil {
		return err
	}
	if err := cluster.ImportImages(ctx, made.kubeVirt, made.guest); err != nil {
		return err
	}
	wait, err := newWaiter(cluster, timeout)
	if err != nil {
		return err
	}
	done := cluster.Step("KubeVirt operator")
	if err := applyOperator(ctx, builder, cluster, made.generator); err != nil {
		return err
	}
	if err := wait.established(ctx, "kubevirts.kubevirt.io"); err != nil {
		return err
	}
	if _, err := cluster.Kubectl(ctx, resource, "apply", "--server-side", "--filename=-"); err != nil {
		return fmt.Errorf("apply the KubeVirt resource: %w", err)
	}
	if err := wait.deployment(ctx, "virt-operator"); err != nil {
		return err
	}
	done()
	defer cluster.Step("KubeVirt Available")()
	if err := wait.available(ctx); err != nil {
		return err
	}
	return wait.emulationDevices(ctx)
}

func applyOperator(ctx context.Context, builder *host.Builder, cluster *host.Cluster, generator string) error {
	tag, err := moduleField(ctx, builder, "{{.Version}}")
	if err != nil {
		return err
	}
	manifests, err := host.Output(exec.CommandContext(ctx, generator,
		"operator", "--namespace="+namespace, "--registry="+registry, "--tag="+tag))
	if err != nil {
		return err
	}
	// virt-operator wants a node of the control plane, and stays Pending without.
	if _, err := cluster.Kubectl(ctx, nil, "label", "--overwrite", "node", cluster.NodeName(), "node-role.kubernetes.io/control-plane="); err != nil {
		return err
	}
	if _, err := cluster.Kubectl(ctx, manifests, "apply", "--server-side", "--filename=-"); err != nil {
		return fmt.Errorf("apply virt-operator: %w", err)
	}
	return nil
}
