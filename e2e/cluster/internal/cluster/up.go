package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	"novasphere.io/e2e/cluster/internal/daemon"
	"novasphere.io/e2e/cluster/internal/host"
	"novasphere.io/e2e/cluster/internal/network"
)

// Options say what a cluster shall have.
type Options struct {
	Node bool
	// CSI adds storage with snapshots; it needs Node.
	CSI bool
	// NetworkPolicy adds what enforces NetworkPolicies; it needs Node.
	NetworkPolicy bool
	// WaitTimeout bounds each single wait.
	WaitTimeout time.Duration
	// Import puts further images into the node while the rest of it starts.
	// It may be nil.
	Import func(context.Context, *host.Cluster) error
}

// Up makes the cluster, or adds what a running one lacks.
func (c *Cluster) Up(ctx context.Context, builder *host.Builder, options Options) error {
	if options.Node {
		if err := checkMachine(); err != nil {
			return err
		}
	}
	needed, err := build(ctx, builder, Options{
		Node:          options.Node || c.hasNode(),
		CSI:           options.CSI || c.hasCSI(),
		NetworkPolicy: options.NetworkPolicy || c.hasNetworkPolicy(),
	})
	if err != nil {
		return err
	}
	unlock, err := c.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	// Another `up` may have changed it meanwhile.
	if err := c.load(); err != nil {
		return err
	}
	if err := c.begin(ctx, needed); err != nil {
		return err
	}
	if options.Node && !c.nodeRuns() {
		if err := c.startNode(ctx, needed); err != nil {
			return err
		}
	}
	if !c.hasNode() {
		return c.upPlane(ctx, options.WaitTimeout)
	}
	if err := c.upNode(ctx, needed, options); err != nil {
		return err
	}
	if options.NetworkPolicy || c.hasNetworkPolicy() {
		if err := c.upNetworkPolicy(ctx, needed, options.WaitTimeout); err != nil {
			return err
		}
	}
	if !options.CSI && !c.hasCSI() {
		return nil
	}
	return c.upCSI(ctx, needed, options.WaitTimeout)
}

// lock keeps two `up` and `down` of one cluster apart.
func (c *Cluster) lock(ctx context.Context) (func(), error) {
	const bound = 10 * time.Minute
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	unlock, err := host.Lock(ctx, c.lockFile())
	if err != nil {
		return nil, fmt.Errorf("waiting for another `up` or `down` of cluster %q: %w", c.state.Name, err)
	}
	return unlock, nil
}

// begin makes the folder, cleans up after a crash and settles addresses.
func (c *Cluster) begin(ctx context.Context, needed programs) error {
	if err := os.MkdirAll(c.dir, 0o755); err != nil {
		return err
	}
	if !c.Exists() {
		c.state.Index = network.DefaultIndex(c.dir)
	}
	if c.hasNode() && !c.nodeRuns() {
		c.progress.Note("the node had ended; cleaning up after it")
		if err := c.killAll(ctx); err != nil {
			return err
		}
	}
	if c.nothingRuns() {
		c.state.Kube = needed.kube
		if c.hasCSI() {
			c.state.CSI = needed.csi
		}
		if c.hasNetworkPolicy() {
			c.state.NetworkPolicy = needed.networkPolicy
		}
	}
	return c.save()
}

func (c *Cluster) nothingRuns() bool {
	for _, part := range AllParts() {
		if _, runs := c.running(part); runs {
			return false
		}
	}
	return true
}

// upPlane brings up the control plane alone, on loopback.
func (c *Cluster) upPlane(ctx context.Context, timeout time.Duration) error {
	// A port can be taken between its choice and its use.
	const attempts = 3
	for attempt := 1; ; attempt++ {
		err := c.tryPlane(ctx, timeout)
		if err == nil || attempt == attempts || !c.portTaken() {
			return err
		}
		c.progress.Note("a port was taken meanwhile, choosing others")
		if err := c.killAll(ctx); err != nil {
			return err
		}
		c.state.APIServerPort = 0
	}
}

func (c *Cluster) tryPlane(ctx context.Context, timeout time.Duration) error {
	if c.state.APIServerPort == 0 {
		done := c.progress.Step("certificates and configuration")
		ports, err := freePorts(3)
		if err != nil {
			return err
		}
		c.state.EtcdPort, c.state.EtcdPeerPort, c.state.APIServerPort = ports[0], ports[1], ports[2]
		if err := errors.Join(c.save(), c.writeCertificates(), c.writeFiles()); err != nil {
			return err
		}
		done()
	}
	if err := c.startPlane(ctx, timeout); err != nil {
		return err
	}
	return c.waitServiceAccount(ctx, timeout)
}

// startPlane starts the parts of the control plane in the order of their needs.
func (c *Cluster) startPlane(ctx context.Context, timeout time.Duration) error {
	done := c.progress.Step("control plane")
	if err := c.ensure(ctx, etcd); err != nil {
		return err
	}
	if err := c.waitEtcd(ctx, timeout); err != nil {
		return err
	}
	for _, part := range []string{apiserver, scheduler} {
		if err := c.ensure(ctx, part); err != nil {
			return err
		}
	}
	if err := c.waitAPIServer(ctx, timeout); err != nil {
		return err
	}
	// Before kube-apiserver has made the default roles it would end with
	// "extension-apiserver-authentication is forbidden".
	if err := c.ensure(ctx, controllerManager); err != nil {
		return err
	}
	done()
	return nil
}

// waitServiceAccount waits until Pods can be made: before their namespace has
// its default ServiceAccount they are refused.
func (c *Cluster) waitServiceAccount(ctx context.Context, timeout time.Duration) error {
	defer c.progress.Step("default ServiceAccount")()
	return c.waitObject(ctx, "the default ServiceAccount", "/api/v1/namespaces/default/serviceaccounts/default", controllerManager, timeout)
}

func (c *Cluster) portTaken() bool {
	for _, part := range []string{etcd, apiserver} {
		if _, runs := c.running(part); !runs && addressInUse(lastLines(daemon.LogFile(c.dir, part), 40)) {
			return true
		}
	}
	return false
}

// freePorts asks the kernel for ports of the loopback address.
func freePorts(count int) ([]int, error) {
	var ports []int
	for range count {
		listener, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("no free port: %w", err)
		}
		// Open until all are chosen, so that all differ.
		defer listener.Close()
		ports = append(ports, listener.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}

// group runs functions at the same time; the first error cancels the others.
func group(ctx context.Context, functions ...func(context.Context) error) error {
	all, ctx := errgroup.WithContext(ctx)
	for _, function := range functions {
		all.Go(func() error { return function(ctx) })
	}
	return all.Wait()
}
