package cluster

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"novasphere.io/e2e/cluster/internal/daemon"
)

// Names of the parts.
const (
	etcd              = "etcd"
	apiserver         = "kube-apiserver"
	controllerManager = "kube-controller-manager"
	scheduler         = "kube-scheduler"
	containerd        = "containerd"
	kubelet           = "kubelet"
	kubeProxy         = "kube-proxy"
	localStorage      = "local-storage"
)

var (
	planeParts = []string{etcd, apiserver, controllerManager, scheduler}
	nodeParts  = []string{containerd, kubelet, kubeProxy, localStorage}
)

// Parts lists the parts of this cluster in the order in which they start.
func (c *Cluster) Parts() []string {
	parts := slices.Clone(planeParts)
	if c.hasNode() {
		parts = append(parts, nodeParts...)
	}
	if c.hasNetworkPolicy() {
		parts = append(parts, networkPolicy)
	}
	if c.hasCSI() {
		parts = append(parts, csiParts...)
	}
	return parts
}

// AllParts lists the parts that a cluster can have.
func AllParts() []string {
	return slices.Concat(planeParts, nodeParts, []string{networkPolicy}, csiParts)
}

func (c *Cluster) checkPart(part string) error {
	if slices.Contains(c.Parts(), part) {
		return nil
	}
	if slices.Contains(nodeParts, part) {
		return fmt.Errorf("cluster %q has no node, so it has no %s; add one with: novacluster up --node --name %s", c.state.Name, part, c.state.Name)
	}
	if slices.Contains(csiParts, part) {
		return fmt.Errorf("cluster %q has no %s; add it with: novacluster up --csi --name %s", c.state.Name, part, c.state.Name)
	}
	if part == networkPolicy {
		return fmt.Errorf("cluster %q has no %s; add it with: novacluster up --network-policy --name %s", c.state.Name, part, c.state.Name)
	}
	return fmt.Errorf("there is no part %q; the parts are %s", part, strings.Join(c.Parts(), ", "))
}

// running is the process of a part.
func (c *Cluster) running(part string) (daemon.Process, bool) {
	process, found := daemon.Recorded(c.dir, part)
	return process, found && process.Alive()
}

// ensure starts a part unless it runs.
func (c *Cluster) ensure(ctx context.Context, part string) error {
	if _, runs := c.running(part); runs {
		return nil
	}
	if part == csiDriver {
		if err := os.RemoveAll(c.registeredMark()); err != nil {
			return err
		}
	}
	_, err := daemon.Start(ctx, c.spec(part))
	return err
}

func (c *Cluster) spec(part string) daemon.Spec {
	spec := daemon.Spec{Part: part, Dir: c.dir, Path: filepath.Join(c.state.Kube, part), Args: c.arguments(part)}
	switch {
	case part == containerd:
		spec.Path = containerd
	case slices.Contains(csiParts, part):
		spec.Path = filepath.Join(c.state.CSI, part)
	case part == networkPolicy:
		spec.Path = filepath.Join(c.state.NetworkPolicy, part)
	}
	if c.hasNode() {
		spec.Namespaces = c.state.Node.Pid
	}
	return spec
}

func (c *Cluster) arguments(part string) []string {
	switch part {
	case etcd:
		return c.etcdArguments()
	case apiserver:
		return c.apiserverArguments()
	case controllerManager:
		return c.controllerManagerArguments()
	case scheduler:
		return c.schedulerArguments()
	case containerd:
		return []string{"--config", c.path("etc", "containerd.toml")}
	case kubelet:
		return c.kubeletArguments()
	case kubeProxy:
		return []string{"--config=" + c.path("etc", "kube-proxy.json")}
	case localStorage:
		return []string{"--kubeconfig=" + c.kubeconfig("admin"), "--dir=" + c.path("volumes"), "--node=" + c.nodeName()}
	case networkPolicy:
		return c.networkPolicyArguments()
	}
	return c.csiArguments(part)
}

// checkAlive is the error that ends a wait when the part waited for has ended.
func (c *Cluster) checkAlive(part string) error {
	if _, runs := c.running(part); runs {
		return nil
	}
	file := daemon.LogFile(c.dir, part)
	return fmt.Errorf("%s ended; its log %s ends with:\n%s", part, file, lastLines(file, 12))
}

func lastLines(path string, count int) string {
	file, err := os.Open(path)
	if err != nil {
		return err.Error()
	}
	defer file.Close()
	const enough = 16 << 10
	if info, err := file.Stat(); err == nil && info.Size() > enough {
		if _, err := file.Seek(-enough, 2); err != nil {
			return err.Error()
		}
	}
	data := make([]byte, enough)
	read, _ := file.Read(data)
	lines := strings.Split(strings.TrimSpace(string(data[:read])), "\n")
	return strings.Join(lines[max(0, len(lines)-count):], "\n")
}

// stopGrace is how long a part may take to end. kube-apiserver lets requests
// finish first. etcd waits 7 s for watches, which never end by themselves, and
// what it has written is safe in the kernel.
func stopGrace(part string) time.Duration {
	if part == etcd {
		return time.Second
	}
	return 20 * time.Second
}

// Stop ends a part and leaves it ended.
func (c *Cluster) Stop(ctx context.Context, part string) error {
	if err := c.checkPart(part); err != nil {
		return err
	}
	for _, follower := range followers(part) {
		if err := c.Stop(ctx, follower); err != nil {
			return err
		}
	}
	process, runs := c.running(part)
	if !runs {
		return nil
	}
	if err := process.Stop(ctx, stopGrace(part)); err != nil {
		return fmt.Errorf("stop %s: %w", part, err)
	}
	return nil
}

// Start starts a part and waits until it serves.
func (c *Cluster) Start(ctx context.Context, part string, timeout time.Duration) error {
	if err := c.checkPart(part); err != nil {
		return err
	}
	if c.hasNode() && !c.nodeRuns() {
		return fmt.Errorf("the node of cluster %q has ended; bring it back with: novacluster up --node --name %s", c.state.Name, c.state.Name)
	}
	if err := c.ensure(ctx, part); err != nil {
		return err
	}
	if err := c.waitServing(ctx, part, timeout); err != nil {
		return err
	}
	for _, follower := range followers(part) {
		if err := c.Start(ctx, follower, timeout); err != nil {
			return err
		}
	}
	return nil
}

// Restart stops and starts a part.
func (c *Cluster) Restart(ctx context.Context, part string, timeout time.Duration) error {
	if err := c.Stop(ctx, part); err != nil {
		return err
	}
	return c.Start(ctx, part, timeout)
}
