package cluster

import (
	"context"
	"os"
	"strings"
	"syscall"
	"time"

	"novasphere.io/e2e/cluster/internal/daemon"
	"novasphere.io/e2e/cluster/internal/host"
	"novasphere.io/e2e/cluster/internal/nodens"
)

// Down ends the cluster and removes all that belongs to it, whatever state it
// is in. It is no error when there is nothing.
func (c *Cluster) Down(ctx context.Context) error {
	unlock, err := c.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	defer c.progress.Step("down " + c.state.Name)()
	// First, so that nobody calls an address that nothing answers any more.
	if err := os.RemoveAll(c.kubeconfig("admin")); err != nil {
		return err
	}
	c.emptyContainerd(ctx)
	if err := c.killAll(ctx); err != nil {
		return err
	}
	return os.RemoveAll(c.dir)
}

// killAll ends every process of the cluster and removes what its node left on
// this machine. The data of etcd and the containers' root stay.
func (c *Cluster) killAll(ctx context.Context) error {
	if err := daemon.KillAll(ctx, c.dir); err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return nil
	}
	return nodens.Release(ctx, c.dir)
}

// emptyContainerd removes the containers from the root that outlives the
// cluster; only the images shall stay. What it leaves, the next kubelet
// removes, so it need not succeed.
func (c *Cluster) emptyContainerd(ctx context.Context) {
	if _, runs := c.running(containerd); !runs || !c.nodeRuns() {
		return
	}
	const bound = 5 * time.Second
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	if process, runs := c.running(kubelet); runs {
		_ = process.Signal(syscall.SIGKILL)
	}
	handle := c.Handle("")
	out, err := host.Output(handle.Ctr(ctx, "-n", "k8s.io", "containers", "list", "--quiet"))
	containers := strings.Fields(string(out))
	if err != nil || len(containers) == 0 {
		return
	}
	// Containers that have ended have no task, which is an error here.
	_, _ = host.Output(handle.Ctr(ctx, append([]string{"-n", "k8s.io", "tasks", "delete", "--force"}, containers...)...))
	if _, err := host.Output(handle.Ctr(ctx, append([]string{"-n", "k8s.io", "containers", "delete"}, containers...)...)); err != nil {
		c.progress.Note("some containers stay in the kept root of containerd until the next cluster: %v", err)
	}
}
