package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"novasphere.io/e2e/cluster/internal/addons"
	"novasphere.io/e2e/cluster/internal/nodens"
)

// startNode makes the node's namespaces and connects them. A control plane
// that runs on loopback moves into them, with its data.
func (c *Cluster) startNode(ctx context.Context, needed programs) error {
	done := c.progress.Step("namespaces of the node")
	for _, path := range []string{c.dir, needed.cache} {
		if err := checkVisible(path); err != nil {
			return err
		}
	}
	if err := c.killAll(ctx); err != nil {
		return err
	}
	// A cluster keeps its Service range, which its Services already use.
	keepsRange := c.state.APIServerPort != 0 || c.hasNode()
	slot, err := nodens.Claim(ctx, c.dir, c.state.Index, keepsRange)
	if err != nil {
		if keepsRange {
			err = fmt.Errorf("%w; remove the cluster and make it again: novacluster down --name %s", err, c.state.Name)
		}
		return err
	}
	defer slot.Lock.Close()
	c.state.Index = slot.Index
	if err := c.makeNodeDirs(needed.cache); err != nil {
		return err
	}
	if err := nodens.CreateCgroups(slot.Index); err != nil {
		return err
	}
	process, err := nodens.StartInit(nodens.Init{
		Hostname: c.nodeName(), Dir: c.dir, Pause: filepath.Join(needed.pause, "pause"),
		Binds: []nodens.Bind{
			{From: c.path("run"), To: "/run"},
			{From: c.path("var-log"), To: "/var/log"}, // the kubelet always writes /var/log/containers
			{From: c.path("kubelet"), To: kubeletDir},
			{From: c.path("containerd-root"), To: containerdDir},
		},
	}, slot)
	if err != nil {
		return err
	}
	c.state.Node = &process
	if err := c.save(); err != nil {
		return err
	}
	if err := slot.Index.Connect(process.Pid); err != nil {
		return err
	}
	if err := errors.Join(c.writeCertificates(), c.writeFiles()); err != nil {
		return err
	}
	done()
	return nil
}

// checkVisible refuses folders that the node's own mounts would hide from it.
func checkVisible(path string) error {
	for _, hidden := range []string{"/run", "/var/run", "/var/log", kubeletDir, containerdDir, "/proc", "/sys"} {
		if path == hidden || strings.HasPrefix(path, hidden+"/") {
			return fmt.Errorf("%s: the node has its own %s; set NOVACLUSTER_HOME and NOVASPHERE_CACHE to folders elsewhere", path, hidden)
		}
	}
	return nil
}

// makeNodeDirs makes what is mounted into the node. containerd's root lies in
// the cache, by slot: imports of images then survive the cluster.
func (c *Cluster) makeNodeDirs(cache string) error {
	root := filepath.Join(cache, "containerd", fmt.Sprint(int(c.state.Index)))
	if err := os.MkdirAll(root, 0o711); err != nil {
		return err
	}
	var filesystem unix.Statfs_t
	if err := unix.Statfs(root, &filesystem); err != nil {
		return err
	}
	if filesystem.Type == unix.OVERLAYFS_SUPER_MAGIC {
		return fmt.Errorf("%s is on an overlay file system, on which containers cannot be stacked; set NOVASPHERE_CACHE to a folder on another one", root)
	}
	link := c.path("containerd-root")
	if err := os.Remove(link); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := os.Symlink(root, link); err != nil {
		return err
	}
	for _, dir := range []string{"run", "var-log", "kubelet"} {
		if err := os.MkdirAll(c.path(dir), 0o755); err != nil {
			return err
		}
	}
	// What the last node left in /run describes processes that are gone.
	if err := removeContent(c.path("run")); err != nil {
		return err
	}
	return os.MkdirAll(c.path("run", "lock"), 0o755)
}

// upNode brings up everything inside the node's namespaces.
func (c *Cluster) upNode(ctx context.Context, needed programs, options Options) error {
	timeout := options.WaitTimeout
	runtimeReady := make(chan struct{})
	return group(ctx,
		func(ctx context.Context) error {
			if err := c.startContainerd(ctx, needed, timeout); err != nil {
				return err
			}
			close(runtimeReady)
			if options.Import == nil {
				return nil
			}
			return options.Import(ctx, c.Handle(""))
		},
		func(ctx context.Context) error {
			if err := c.startPlane(ctx, timeout); err != nil {
				return err
			}
			select {
			case <-runtimeReady:
				return c.startPods(ctx, timeout)
			case <-ctx.Done():
				return ctx.Err()
			}
		},
	)
}

// startPods starts what runs Pods, and the first of them.
func (c *Cluster) startPods(ctx context.Context, timeout time.Duration) error {
	// Before the waits, which fail when it does not run.
	if err := c.ensure(ctx, kubelet); err != nil {
		return err
	}
	return group(ctx,
		func(ctx context.Context) error { return c.waitServiceAccount(ctx, timeout) },
		func(ctx context.Context) error { return c.joinNode(ctx, timeout) },
		func(ctx context.Context) error { return c.startDNS(ctx, timeout) },
	)
}

// startContainerd starts containerd with the basic images. Its root is kept
// between clusters; a root that fails is removed and made again, once.
func (c *Cluster) startContainerd(ctx context.Context, needed programs, timeout time.Duration) error {
	defer c.progress.Step("containerd and basic images")()
	err := c.tryContainerd(ctx, needed, timeout)
	if err == nil || ctx.Err() != nil {
		return err
	}
	c.progress.Note("containerd failed with its kept root %s; removing that and starting again: %s", c.path("containerd-root"), firstLine(err))
	if err := c.Stop(ctx, containerd); err != nil {
		return err
	}
	// The folder itself stays, because it is mounted in the node.
	if err := removeContent(c.path("containerd-root") + "/"); err != nil {
		return err
	}
	return c.tryContainerd(ctx, needed, timeout)
}

func (c *Cluster) tryContainerd(ctx context.Context, needed programs, timeout time.Duration) error {
	if err := c.ensure(ctx, containerd); err != nil {
		return err
	}
	// A healthy one answers in a fraction of a second.
	if err := c.waitContainerd(ctx, min(timeout, 30*time.Second)); err != nil {
		return err
	}
	if err := c.Handle("").CheckImages(ctx); err != nil {
		return err
	}
	return c.Handle("").ImportImages(ctx, filepath.Join(needed.pause, "pause.tar"), needed.coreDNS)
}

// joinNode waits for the Node object and its readiness.
func (c *Cluster) joinNode(ctx context.Context, timeout time.Duration) error {
	done := c.progress.Step("node Ready")
	// Without its Node object kube-proxy sleeps for 30 s.
	if err := c.waitObject(ctx, "the Node object", "/api/v1/nodes/"+c.nodeName(), kubelet, timeout); err != nil {
		return err
	}
	if err := c.ensure(ctx, kubeProxy); err != nil {
		return err
	}
	if err := c.waitNodeReady(ctx, timeout); err != nil {
		return err
	}
	done()
	return nil
}

func (c *Cluster) startDNS(ctx context.Context, timeout time.Duration) error {
	done := c.progress.Step("DNS and storage")
	if !c.state.Prepared {
		manifests, err := addons.Base{
			ClusterDomain: clusterDomain, DNSServiceIP: c.state.Index.DNSServiceIP(),
		}.Manifests()
		if err != nil {
			return err
		}
		if _, err := c.Handle("").Kubectl(ctx, manifests, "apply", "--server-side", "--filename=-"); err != nil {
			return fmt.Errorf("apply the basic objects: %w", err)
		}
		c.state.Prepared = true
		if err := c.save(); err != nil {
			return err
		}
	}
	if err := c.ensure(ctx, localStorage); err != nil {
		return err
	}
	err := c.waitCondition(ctx, "CoreDNS to be Available", "/apis/apps/v1/namespaces/kube-system/deployments/coredns", "Available", kubelet, timeout)
	if err != nil {
		return fmt.Errorf("%w\n%s", err, c.lastWarning(ctx, "kube-system"))
	}
	if err := c.waitDNS(ctx, timeout); err != nil {
		return err
	}
	done()
	return nil
}

func removeContent(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if err := os.RemoveAll(filepath.Join(dir, entry.Name())); err != nil {
			return err
		}
	}
	return nil
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

func addressInUse(log string) bool { return strings.Contains(log, "address already in use") }
