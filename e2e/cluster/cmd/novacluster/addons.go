package main

import (
	"context"
	"strings"
	"time"

	"novasphere.io/e2e/cluster/internal/cluster"
	"novasphere.io/e2e/cluster/internal/crds"
	"novasphere.io/e2e/cluster/internal/host"
	"novasphere.io/e2e/cluster/internal/kubevirt"
)

func installCRDs(ctx context.Context, builder *host.Builder, c *cluster.Cluster, names []string, timeout time.Duration) error {
	if len(names) == 0 {
		return nil
	}
	var dirs []string
	for _, name := range names {
		dir, err := crds.Dir(ctx, builder, name)
		if err != nil {
			return err
		}
		dirs = append(dirs, dir)
	}
	done := c.Progress().Step("CRDs " + strings.Join(names, ", "))
	if err := c.ApplyCRDs(ctx, dirs, timeout); err != nil {
		return err
	}
	done()
	return nil
}

func installKubeVirt(ctx context.Context, builder *host.Builder, c *cluster.Cluster) error {
	// Each wait is for many Pods in a row, so it is longer than others are.
	const bound = 6 * time.Minute
	if err := kubevirt.Install(ctx, builder, c.Handle(""), bound); err != nil {
		return err
	}
	return c.SetKubeVirt()
}

func buildCRDs(ctx context.Context, builder *host.Builder) error {
	for _, name := range crds.Names() {
		if _, err := crds.Dir(ctx, builder, name); err != nil {
			return err
		}
	}
	return nil
}
