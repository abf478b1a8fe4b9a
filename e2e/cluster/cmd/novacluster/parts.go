package main

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"novasphere.io/e2e/cluster/internal/cluster"
)

// partCommand works on one or more parts of a cluster, in the given order.
func (a *app) partCommand(use, short string, do func(context.Context, *cluster.Cluster, string) error) *cobra.Command {
	command := &cobra.Command{
		Use:       use + " PART...",
		Short:     short + ": " + strings.Join(cluster.AllParts(), ", "),
		ValidArgs: cluster.AllParts(),
		Args:      cobra.MinimumNArgs(1),
		RunE: func(command *cobra.Command, parts []string) error {
			c, err := a.existing()
			if err != nil {
				return err
			}
			var failures []error
			for _, part := range parts {
				failures = append(failures, do(command.Context(), c, part))
			}
			return errors.Join(failures...)
		},
	}
	a.waitTimeoutFlag(command)
	return command
}

func (a *app) startCommand() *cobra.Command {
	return a.partCommand("start", "Start a part and wait until it serves", func(ctx context.Context, c *cluster.Cluster, part string) error {
		defer a.progress.Step("start " + part)()
		return c.Start(ctx, part, a.timeout)
	})
}

func (a *app) stopCommand() *cobra.Command {
	return a.partCommand("stop", "Stop a part", func(ctx context.Context, c *cluster.Cluster, part string) error {
		defer a.progress.Step("stop " + part)()
		return c.Stop(ctx, part)
	})
}

func (a *app) restartCommand() *cobra.Command {
	return a.partCommand("restart", "Stop and start a part", func(ctx context.Context, c *cluster.Cluster, part string) error {
		defer a.progress.Step("restart " + part)()
		return c.Restart(ctx, part, a.timeout)
	})
}
