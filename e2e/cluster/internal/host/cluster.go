package host

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// Cluster is the handle of one running cluster.
type Cluster struct {
	name     string
	dir      string
	tools    Tools
	progress *Progress
}

// Tools are folders with programs that the handle calls.
type Tools struct {
	// Kube holds kubectl.
	Kube string
	// Helm holds helm; may be empty.
	Helm string
}

// NewCluster makes the handle of the cluster whose state is in dir.
func NewCluster(name, dir string, tools Tools, progress *Progress) *Cluster {
	return &Cluster{name: name, dir: dir, tools: tools, progress: progress}
}

// Name is the name of the cluster, "default" unless the user chose another.
func (c *Cluster) Name() string { return c.name }

// Dir is the folder of the cluster's state; it goes with `down`.
func (c *Cluster) Dir() string { return c.dir }

// NodeName is the name of the Node object.
func (c *Cluster) NodeName() string { return c.name + "-node" }

// Kubeconfig is the file with the administrator's credentials.
func (c *Cluster) Kubeconfig() string { return filepath.Join(c.dir, "admin.kubeconfig") }

// ContainerdSocket is the path of containerd's socket as the host sees it.
func (c *Cluster) ContainerdSocket() string {
	return filepath.Join(c.dir, "run", "containerd", "containerd.sock")
}

// Progress shows what goes on.
func (c *Cluster) Progress() *Progress { return c.progress }

// Step begins a step of the progress; call the result at its end.
func (c *Cluster) Step(name string) (done func()) { return c.progress.Step(name) }

// Wait is the bounded wait of this package with the cluster's progress.
func (c *Cluster) Wait(ctx context.Context, what string, timeout time.Duration, probe Probe) error {
	return Wait(ctx, c.progress, what, timeout, probe)
}

// Kubectl runs kubectl as the cluster's administrator and returns its standard
// output. stdin may be nil.
func (c *Cluster) Kubectl(ctx context.Context, stdin []byte, args ...string) ([]byte, error) {
	cmd := c.KubectlCommand(ctx, args...)
	if stdin != nil {
		cmd.Stdin = bytes.NewReader(stdin)
	}
	return Output(cmd)
}

// KubectlCommand prepares kubectl without running it.
func (c *Cluster) KubectlCommand(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(c.tools.Kube, "kubectl"), args...)
	cmd.Env = append(os.Environ(), c.Env()...)
	return cmd
}

// HelmCommand prepares helm without running it.
func (c *Cluster) HelmCommand(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(c.tools.Helm, "helm"), args...)
	cmd.Env = append(os.Environ(), c.Env()...)
	return cmd
}

// Env is what kubectl and helm need to reach this cluster and to keep their
// own caches out of the user's home.
func (c *Cluster) Env() []string {
	return []string{
		"KUBECONFIG=" + c.Kubeconfig(),
		"KUBECACHEDIR=" + filepath.Join(c.dir, "kubectl-cache"),
		"HELM_CACHE_HOME=" + filepath.Join(c.dir, "helm", "cache"),
		"HELM_CONFIG_HOME=" + filepath.Join(c.dir, "helm", "config"),
		"HELM_DATA_HOME=" + filepath.Join(c.dir, "helm", "data"),
	}
}

// ToolDirs are the folders of kubectl and helm.
func (c *Cluster) ToolDirs() []string {
	dirs := []string{c.tools.Kube}
	if c.tools.Helm != "" {
		dirs = append(dirs, c.tools.Helm)
	}
	return dirs
}
