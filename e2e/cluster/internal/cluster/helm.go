package cluster

import (
	"cmp"
	"context"
	"fmt"
	"os"

	"novasphere.io/e2e/cluster/internal/host"
)

// HelmVariable names the environment variable that chooses the major version of Helm.
const HelmVariable = "NOVACLUSTER_HELM"

// Helm builds helm.
func Helm(ctx context.Context, b *host.Builder) (string, error) {
	build, err := helm(cmp.Or(os.Getenv(HelmVariable), "3"))
	if err != nil {
		return "", err
	}
	return b.Go(ctx, build)
}

func helm(major string) (host.GoBuild, error) {
	build := host.GoBuild{Name: "helm", Out: "helm"}
	switch major {
	case "3":
		build.Dir, build.Packages = "components/helm", []string{"helm.sh/helm/v3/cmd/helm"}
	case "4":
		build.Dir, build.Packages = "components/helm4", []string{"helm.sh/helm/v4/cmd/helm"}
	default:
		return build, fmt.Errorf("%s=%q: the test bed has no such Helm; use 3 or 4", HelmVariable, major)
	}
	return build, nil
}
