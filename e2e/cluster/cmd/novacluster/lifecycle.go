package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"novasphere.io/e2e/cluster/internal/addons"
	"novasphere.io/e2e/cluster/internal/cluster"
	"novasphere.io/e2e/cluster/internal/crds"
	"novasphere.io/e2e/cluster/internal/desktop"
	"novasphere.io/e2e/cluster/internal/host"
	"novasphere.io/e2e/cluster/internal/kubevirt"
)

// component is something that `build` makes.
type component struct {
	name  string
	build func(context.Context, *host.Builder) error
}

// components are in the order in which they are made, the longest first.
var components = []component{
	{"kubevirt", kubevirt.Build},
	{"kube", func(ctx context.Context, b *host.Builder) error { return second(cluster.Kube(ctx, b)) }},
	{"pause", func(ctx context.Context, b *host.Builder) error { return second(addons.Pause(ctx, b)) }},
	{"coredns", func(ctx context.Context, b *host.Builder) error { return second(addons.CoreDNS(ctx, b)) }},
	{"crds", buildCRDs},
	{"network-policy", func(ctx context.Context, b *host.Builder) error { return second(cluster.NetworkPolicy(ctx, b)) }},
	{"csi", func(ctx context.Context, b *host.Builder) error { return second(cluster.CSI(ctx, b)) }},
	{"desktop", desktop.Build},
	{"helm", func(ctx context.Context, b *host.Builder) error { return second(cluster.Helm(ctx, b)) }},
}

func second[T any](_ T, err error) error { return err }

func (a *app) buildCommand() *cobra.Command {
	var names []string
	for _, each := range components {
		names = append(names, each.name)
	}
	return &cobra.Command{
		Use:       "build [component...]",
		Short:     "Build what is missing: " + strings.Join(names, ", "),
		ValidArgs: names,
		Args:      cobra.OnlyValidArgs,
		RunE: func(command *cobra.Command, chosen []string) error {
			builder, err := host.NewBuilder(a.progress)
			if err != nil {
				return err
			}
			all, ctx := errgroup.WithContext(command.Context())
			// Two at a time: parts of a build use one processor or the network.
			all.SetLimit(2)
			for _, each := range components {
				if len(chosen) == 0 || slices.Contains(chosen, each.name) {
					all.Go(func() error { return each.build(ctx, builder) })
				}
			}
			if err := all.Wait(); err != nil {
				return err
			}
			a.progress.Table()
			return nil
		},
	}
}

func (a *app) upCommand() *cobra.Command {
	var options upOptions
	command := &cobra.Command{
		Use:   "up",
		Short: "Make the cluster, or add what a running one lacks",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			if err := a.up(command.Context(), options); err != nil {
				return fmt.Errorf("%w\nnovacluster: see `novacluster --name %[2]s logs PART`; clean up with `novacluster --name %[2]s down`", err, a.name)
			}
			a.progress.Table()
			return nil
		},
	}
	command.Flags().BoolVar(&options.node, "node", false, "add a node (needs root)")
	command.Flags().BoolVar(&options.kubeVirt, "kubevirt", false, "install KubeVirt (implies --node)")
	command.Flags().BoolVar(&options.csi, "csi", false, "add storage with snapshots: StorageClass and VolumeSnapshotClass \"csi\" (implies --node)")
	command.Flags().BoolVar(&options.networkPolicy, "network-policy", false, "enforce NetworkPolicies (implies --node)")
	command.Flags().StringSliceVar(&options.crds, "crds", nil, "install the CRDs of these projects, separated by commas: "+strings.Join(crds.Names(), ", "))
	a.waitTimeoutFlag(command)
	return command
}

type upOptions struct {
	node, kubeVirt, csi, networkPolicy bool
	crds                               []string
}

func (a *app) up(ctx context.Context, options upOptions) error {
	builder, err := host.NewBuilder(a.progress)
	if err != nil {
		return err
	}
	c, err := a.open()
	if err != nil {
		return err
	}
	settings := cluster.Options{
		Node:          options.node || options.kubeVirt || options.csi || options.networkPolicy,
		CSI:           options.csi,
		NetworkPolicy: options.networkPolicy,
		WaitTimeout:   a.timeout,
	}
	if options.kubeVirt {
		settings.Import = func(ctx context.Context, handle *host.Cluster) error {
			return kubevirt.Import(ctx, builder, handle)
		}
	}
	if err := c.Up(ctx, builder, settings); err != nil {
		return err
	}
	if err := installCRDs(ctx, builder, c, options.crds, a.timeout); err != nil {
		return err
	}
	if options.kubeVirt && !c.HasKubeVirt() {
		return installKubeVirt(ctx, builder, c)
	}
	return nil
}

func (a *app) downCommand() *cobra.Command {
	var all bool
	command := &cobra.Command{
		Use:   "down",
		Short: "End the cluster and remove all that belongs to it",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			names := []string{a.name}
			if all {
				var err error
				if names, err = cluster.List(); err != nil {
					return err
				}
			}
			var failures []error
			for _, name := range names {
				failures = append(failures, down(command.Context(), name, a.progress))
			}
			return errors.Join(failures...)
		},
	}
	command.Flags().BoolVar(&all, "all", false, "all clusters of this user")
	return command
}

func down(ctx context.Context, name string, progress *host.Progress) error {
	c, err := cluster.Open(name, progress)
	if c == nil {
		return err
	}
	// Down needs no state, so a broken one does not stop it.
	return c.Down(ctx)
}
