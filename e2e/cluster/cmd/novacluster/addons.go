package main

import (
	"context"
	"errors"

	"novasphere.io/e2e/cluster/internal/cluster"
	"novasphere.io/e2e/cluster/internal/host"
)

func installCRDs(ctx context.Context, builder *host.Builder, c *cluster.Cluster, names []string) error {
	if len(names) > 0 {
		return errors.New("--crds is not there yet")
	}
	return nil
}

func installKubeVirt(ctx context.Context, builder *host.Builder, c *cluster.Cluster) error {
	return errors.New("--kubevirt is not there yet")
}
