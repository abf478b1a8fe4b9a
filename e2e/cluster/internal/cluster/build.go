package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"novasphere.io/e2e/cluster/internal/addons"
	"novasphere.io/e2e/cluster/internal/crds"
	"novasphere.io/e2e/cluster/internal/host"
)

// programs are what a cluster is made of, in the cache.
type programs struct {
	cache string
	// kube holds the programs of Kubernetes, etcd and kubectl.
	kube string
	// pause holds pause and pause.tar; coreDNS is an archive. Node only.
	pause, coreDNS string
	// csi holds the programs of storage with snapshots, snapshotCRDs their
	// CRDs. Only with that storage.
	csi, snapshotCRDs string
	// networkPolicy holds what enforces NetworkPolicies; only where they are.
	networkPolicy string
}

// AllProgramsOfKube are the parts that the one program of Kubernetes holds.
func AllProgramsOfKube() []string {
	return []string{etcd, apiserver, controllerManager, scheduler, kubelet, kubeProxy, localStorage}
}

// CSI builds the test bed's driver and the programs that Kubernetes puts beside
// a driver.
func CSI(ctx context.Context, b *host.Builder) (string, error) {
	const upstream = "github.com/kubernetes-csi/"
	return b.Go(ctx, host.GoBuild{
		Name: "csi", Dir: "components/csi",
		Packages: []string{
			"./" + csiDriver,
			upstream + "external-provisioner/v6/cmd/" + csiProvisioner,
			upstream + "external-resizer/v2/cmd/" + csiResizer,
			upstream + "external-snapshotter/v8/cmd/" + csiSnapshotter,
			upstream + "external-snapshotter/v8/cmd/" + snapshotController,
		},
	})
}

// NetworkPolicy builds what enforces NetworkPolicies.
func NetworkPolicy(ctx context.Context, b *host.Builder) (string, error) {
	return b.Go(ctx, host.GoBuild{Name: networkPolicy, Dir: "components/network-policy", Out: networkPolicy})
}

func build(ctx context.Context, b *host.Builder, options Options) (programs, error) {
	needed := programs{cache: b.Cache}
	var err error
	if needed.kube, err = Kube(ctx, b); err != nil || !options.Node {
		return needed, err
	}
	if needed.pause, err = addons.Pause(ctx, b); err != nil {
		return needed, err
	}
	if needed.coreDNS, err = addons.CoreDNS(ctx, b); err != nil {
		return needed, err
	}
	if options.NetworkPolicy {
		if needed.networkPolicy, err = NetworkPolicy(ctx, b); err != nil {
			return needed, err
		}
	}
	if !options.CSI {
		return needed, nil
	}
	if needed.csi, err = CSI(ctx, b); err != nil {
		return needed, err
	}
	needed.snapshotCRDs, err = crds.Dir(ctx, b, "snapshot")
	return needed, err
}

// checkMachine says what this machine lacks for a node.
func checkMachine() error {
	if os.Geteuid() != 0 {
		return errors.New("a node needs root, because it makes namespaces, mounts and cgroups; run this as root, or without --node for the control plane alone")
	}
	var missing []string
	for _, program := range []string{"containerd", "containerd-shim-runc-v2", "ctr", "runc", "nft", "iptables", "conntrack", "nsenter", "setsid", "gcc"} {
		if _, err := exec.LookPath(program); err != nil {
			missing = append(missing, program)
		}
	}
	if !exists(filepath.Join(cniPlugins, "bridge")) {
		missing = append(missing, filepath.Join(cniPlugins, "bridge"))
	}
	if len(missing) > 0 {
		return fmt.Errorf("a node needs %s; run hack/install-packages", strings.Join(missing, ", "))
	}
	return checkPrivileges()
}

// checkPrivileges tries what a container engine may have taken from root.
func checkPrivileges() error {
	cmd := exec.Command("unshare", "--net", "--mount", "--pid", "--uts", "--ipc", "--fork", "--mount-proc", "true")
	if _, err := host.Output(cmd); err != nil {
		return fmt.Errorf("this machine does not let root make namespaces (in a container? it must be privileged): %w", err)
	}
	if unix.Access("/sys/fs/cgroup", unix.W_OK) != nil {
		return errors.New("/sys/fs/cgroup cannot be written (in a container? it must be privileged), and the kubelet needs cgroups of its own")
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
