package kubevirt

import (
	"context"
	"path/filepath"

	"novasphere.io/e2e/cluster/internal/host"
)

const (
	componentDir = "components/kubevirt"
	nbdStandIn   = "components/stub-libnbd"
	commands     = "kubevirt.io/kubevirt/cmd/"
)

// programs are KubeVirt's own, as its images have them in /usr/bin.
var programs = []string{
	"virt-operator", "virt-api", "virt-controller", "virt-handler", "virt-launcher",
	"virt-launcher-monitor", "virt-chroot", "virt-tail", "virt-probe", "virt-freezer",
}

// Generator builds kvgen, which prints KubeVirt's manifests, and returns its
// path.
func Generator(ctx context.Context, builder *host.Builder) (string, error) {
	dir, err := builder.Go(ctx, goBuild("kvgen", "./kvgen"))
	return filepath.Join(dir, "kvgen"), err
}

// binaries builds all programs with one command and one cgo setting: with two,
// the Kubernetes libraries would be compiled twice.
func binaries(ctx context.Context, builder *host.Builder) (string, error) {
	packages := make([]string, 0, len(programs))
	for _, program := range programs {
		packages = append(packages, commands+program)
	}
	return builder.Go(ctx, goBuild("kubevirt", packages...))
}

func goBuild(name string, packages ...string) host.GoBuild {
	return host.GoBuild{
		Name:     name,
		Dir:      componentDir,
		Packages: packages,
		// Loads libvirt when it runs, so that neither its headers nor
		// pkg-config are needed to build.
		Tags:   []string{"libvirt_dlopen"},
		CGO:    true,
		Inputs: []string{nbdStandIn},
	}
}
