package main

import (
	"context"
	"os"

	"github.com/spf13/cobra"

	"novasphere.io/e2e/cluster/internal/cluster"
	"novasphere.io/e2e/cluster/internal/daemon"
	"novasphere.io/e2e/cluster/internal/host"
)

func (a *app) handleWithHelm(ctx context.Context) (*host.Cluster, error) {
	c, err := a.existing()
	if err != nil {
		return nil, err
	}
	builder, err := a.builder()
	if err != nil {
		return nil, err
	}
	helm, err := cluster.Helm(ctx, builder)
	if err != nil {
		return nil, err
	}
	return c.Handle(helm), nil
}

func (a *app) kubectlCommand() *cobra.Command {
	return &cobra.Command{
		Use:                "kubectl ARGS...",
		Short:              "Run kubectl as the cluster's administrator",
		DisableFlagParsing: true,
		RunE: func(command *cobra.Command, arguments []string) error {
			c, err := a.existing()
			if err != nil {
				return err
			}
			return replaceByCommand(c.Handle("").KubectlCommand(command.Context(), arguments...))
		},
	}
}

func (a *app) helmCommand() *cobra.Command {
	return &cobra.Command{
		Use:                "helm ARGS...",
		Short:              "Run helm as the cluster's administrator",
		DisableFlagParsing: true,
		RunE: func(command *cobra.Command, arguments []string) error {
			handle, err := a.handleWithHelm(command.Context())
			if err != nil {
				return err
			}
			return replaceByCommand(handle.HelmCommand(command.Context(), arguments...))
		},
	}
}

func (a *app) execNodeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "exec-node -- COMMAND...",
		Short: "Run a command in the node's namespaces (needs root)",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, arguments []string) error {
			c, err := a.existing()
			if err != nil {
				return err
			}
			pid, err := c.NodePid()
			if err != nil {
				return err
			}
			nsenter := append([]string{"nsenter"}, daemon.NsenterArgs(pid)...)
			return replaceBy(append(nsenter, arguments...), os.Environ())
		},
	}
}

func (a *app) loadImageCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "load-image ARCHIVE...",
		Short: "Put images from docker or OCI archives into the node",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(command *cobra.Command, archives []string) error {
			c, err := a.existing()
			if err != nil {
				return err
			}
			if _, err := c.NodePid(); err != nil {
				return err
			}
			return c.Handle("").ImportImages(command.Context(), archives...)
		},
	}
}
