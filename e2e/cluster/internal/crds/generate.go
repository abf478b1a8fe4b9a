package crds

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"novasphere.io/e2e/cluster/internal/host"
	"novasphere.io/e2e/cluster/internal/kubevirt"
)

const (
	cdiTypes         = "kubevirt.io/containerized-data-importer-api/pkg/apis/core/v1beta1"
	helmReleaseTypes = "github.com/fluxcd/helm-controller/api/v2"
)

// generateCDI runs controller-gen on CDI's API types, as CDI itself does.
func generateCDI(ctx context.Context, builder *host.Builder, dir string) error {
	return generate(ctx, builder, moduleDir, cdiTypes, dir)
}

// makeFlux copies the CRDs of two of Flux' controllers and makes that of a third
// from its API types, as it does itself: its own module is not served.
func makeFlux(ctx context.Context, builder *host.Builder, dir string) error {
	for _, module := range []string{"github.com/fluxcd/kustomize-controller", "github.com/fluxcd/source-controller"} {
		if err := fromModule(gitopsDir, module, "config/crd/bases/*.yaml")(ctx, builder, dir); err != nil {
			return err
		}
	}
	return generate(ctx, builder, gitopsDir, helmReleaseTypes, dir)
}

// generate runs controller-gen on API types of a module that the go.mod in pins has.
func generate(ctx context.Context, builder *host.Builder, pins, types, dir string) error {
	tools, err := builder.Go(ctx, host.GoBuild{
		Name:     "controller-gen",
		Dir:      moduleDir,
		Packages: []string{"sigs.k8s.io/controller-tools/cmd/controller-gen"},
	})
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, filepath.Join(tools, "controller-gen"),
		"crd", "paths="+types, "output:crd:dir="+dir)
	cmd.Dir = filepath.Join(builder.Source, pins)
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=readonly")
	_, err = host.Output(cmd)
	return err
}

// generateKubeVirt writes one file for each CRD that virt-operator has in its
// code; KubeVirt's releases have only one of them as a file.
func generateKubeVirt(ctx context.Context, builder *host.Builder, dir string) error {
	generator, err := kubevirt.Generator(ctx, builder)
	if err != nil {
		return err
	}
	out, err := host.Output(exec.CommandContext(ctx, generator, "crds"))
	if err != nil {
		return err
	}
	var list struct{ Items []json.RawMessage }
	if err := json.Unmarshal(out, &list); err != nil {
		return fmt.Errorf("output of kvgen: %w", err)
	}
	for _, item := range list.Items {
		var object struct{ Metadata struct{ Name string } }
		if err := json.Unmarshal(item, &object); err != nil {
			return fmt.Errorf("output of kvgen: %w", err)
		}
		if err := os.WriteFile(filepath.Join(dir, object.Metadata.Name+".json"), item, 0o644); err != nil {
			return err
		}
	}
	return nil
}
