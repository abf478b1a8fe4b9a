// Package crds gives the CustomResourceDefinitions of other projects that
// novasphere and its chart write objects of. They are taken out of those projects'
// Go modules at the versions of components/crds/go.mod, components/chart-crds/go.mod,
// components/gitops-crds/go.mod and components/kubevirt/go.mod.
package crds

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"novasphere.io/e2e/cluster/internal/host"
)

// moduleDir pins the versions, but for what GitOps tools define and what the chart
// alone makes.
const moduleDir = "components/crds"

// chartDir pins the versions of kinds that the chart makes where its values ask for
// them. It is apart, because a change of it is no reason to make the others again.
const chartDir = "components/chart-crds"

// gitopsDir pins the versions of GitOps tools. It is apart, because a change of
// it is no reason to make the others again.
const gitopsDir = "components/gitops-crds"

// pins are the folders that the files of a project depend on.
func pins(name string) []string {
	switch name {
	case "argocd", "flux":
		return []string{gitopsDir}
	case "cert-manager", "prometheus-operator", "vertical-pod-autoscaler":
		return []string{chartDir}
	default:
		return []string{moduleDir, "components/kubevirt"}
	}
}

// maker puts the files of one project into dir.
type maker func(ctx context.Context, builder *host.Builder, dir string) error

var makers = map[string]maker{
	"argocd": fromModule(gitopsDir, "github.com/argoproj/argo-cd/v3",
		"manifests/crds/*.yaml"),
	"cdi": generateCDI,
	"cert-manager": fromModule(chartDir, "github.com/cert-manager/cert-manager",
		"deploy/crds/*.yaml"),
	"flux": makeFlux,
	"gateway-api": fromModule(moduleDir, "sigs.k8s.io/gateway-api",
		// Standard, but for the routes of which Traefik up to 3.7 and Kong read
		// only the alpha versions, which the experimental files serve as well.
		"config/crd/standard/*.yaml",
		"config/crd/experimental/gateway.networking.k8s.io_tcproutes.yaml",
		"config/crd/experimental/gateway.networking.k8s.io_tlsroutes.yaml"),
	"kong": fromModule(moduleDir, "github.com/kong/kubernetes-configuration",
		"config/crd/ingress-controller/*.yaml"),
	"kubevirt": generateKubeVirt,
	"prometheus-operator": fromModule(chartDir, "github.com/prometheus-operator/prometheus-operator",
		// Those that the chart makes objects of: some of the others take seconds to
		// be installed.
		"example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml",
		"example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
		"example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml"),
	"snapshot": fromModule(moduleDir, "github.com/kubernetes-csi/external-snapshotter/client/v8",
		"config/crd/snapshot.storage.k8s.io_*.yaml"),
	"traefik": fromModule(moduleDir, "github.com/traefik/traefik/v3",
		"docs/content/reference/dynamic-configuration/kubernetes-crd-definition-v1.yml"),
	"vertical-pod-autoscaler": fromModule(chartDir, "k8s.io/autoscaler/vertical-pod-autoscaler",
		"deploy/vpa-v1-crd-gen.yaml"),
}

// Names lists what Dir knows.
func Names() []string {
	names := make([]string, 0, len(makers))
	for name := range makers {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Dir returns a folder of YAML and JSON files for
// `kubectl apply --server-side -f`. Client-side apply does not work: KubeVirt's
// are larger than an annotation may be.
func Dir(ctx context.Context, builder *host.Builder, name string) (string, error) {
	fill, known := makers[name]
	if !known {
		return "", fmt.Errorf("no CRDs named %q; known are %s", name, strings.Join(Names(), ", "))
	}
	hash := host.NewHash()
	for _, folder := range pins(name) {
		hash.Tree(filepath.Join(builder.Source, folder))
	}
	key, err := hash.Sum()
	if err != nil {
		return "", err
	}
	return builder.Once(ctx, "crds/"+name, key, func(ctx context.Context, dir string) error {
		return fill(ctx, builder, dir)
	})
}
