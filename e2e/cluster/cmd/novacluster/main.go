// Command novacluster starts a real Kubernetes on this machine: the control
// plane on loopback, or, as root, a whole node in namespaces of its own. See
// docs/testbed.md.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"novasphere.io/e2e/cluster/internal/cluster"
	"novasphere.io/e2e/cluster/internal/daemon"
	"novasphere.io/e2e/cluster/internal/host"
	"novasphere.io/e2e/cluster/internal/nodens"
)

func main() {
	// The first process of a node is this program, too; see nodens.RunInit.
	if len(os.Args) == 3 && os.Args[1] == nodens.InitCommand {
		fmt.Fprintln(os.Stderr, nodens.RunInit(os.Args[2]))
		os.Exit(1)
	}
	const firstInherited = 3
	if err := daemon.CloseOnExec(firstInherited); err != nil {
		fmt.Fprintln(os.Stderr, "novacluster:", err)
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// `su` without a login shell gives root a PATH without these.
	os.Setenv("PATH", os.Getenv("PATH")+":/usr/local/sbin:/usr/sbin:/sbin")
	app := &app{progress: host.NewProgress(os.Stderr)}
	err := app.command().ExecuteContext(ctx)
	app.progress.Finish()
	if err != nil {
		fmt.Fprintln(os.Stderr, "novacluster:", err)
		os.Exit(1)
	}
}

// app is what the commands share.
type app struct {
	progress *host.Progress
	name     string
	timeout  time.Duration
}

const nameVariable = "NOVACLUSTER_NAME"

func (a *app) command() *cobra.Command {
	root := &cobra.Command{
		Use:   "novacluster",
		Short: "A real Kubernetes on this machine, for tests and development",
		Long: `novacluster runs etcd, kube-apiserver, kube-controller-manager and
kube-scheduler on loopback. With --node, as root, it adds containerd, kubelet,
kube-proxy, DNS and storage in namespaces of their own, with --kubevirt KubeVirt.

Environment:
  NOVACLUSTER_NAME        cluster to work on when --name is not given (default "default")
  NOVACLUSTER_HELM        major version of Helm, 3 (default) or 4
  NOVACLUSTER_HOME        folder of all clusters (default ~/.local/state/novacluster)
  NOVACLUSTER_KUBERNETES  version of Kubernetes, such as 1.37; that of a cluster that runs stays (docs/versions.md)
  NOVACLUSTER_SOURCE      folder e2e/cluster of the repository (default: found)
  NOVASPHERE_CACHE        folder of what was built (default ~/.cache/novasphere)`,
		SilenceUsage: true, SilenceErrors: true,
		// Flags before "kubectl" and "helm" are ours, those after it are theirs.
		TraverseChildren: true,
	}
	name := os.Getenv(nameVariable)
	if name == "" {
		name = "default"
	}
	root.PersistentFlags().StringVar(&a.name, "name", name, "name of the cluster")
	root.AddCommand(
		a.buildCommand(), a.upCommand(), a.downCommand(),
		a.statusCommand(), a.kubeconfigCommand(), a.envCommand(), a.logsCommand(),
		a.startCommand(), a.stopCommand(), a.restartCommand(),
		a.kubectlCommand(), a.helmCommand(), a.consoleCommand(), a.execNodeCommand(), a.loadImageCommand(), a.imageCommand(), a.desktopImageCommand(), a.traefikImageCommand(), a.envoyGatewayCommand(), a.toolPathCommand(),
	)
	return root
}

func (a *app) open() (*cluster.Cluster, error) { return cluster.Open(a.name, a.progress) }

// existing opens a cluster that must have been made.
func (a *app) existing() (*cluster.Cluster, error) {
	c, err := a.open()
	if err != nil {
		return nil, err
	}
	return c, c.MustExist()
}

func (a *app) waitTimeoutFlag(command *cobra.Command) {
	command.Flags().DurationVar(&a.timeout, "wait-timeout", 3*time.Minute, "longest time of each single wait")
}
