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

const cdiTypes = "kubevirt.io/containerized-data-importer-api/pkg/apis/core/v1beta1"

// generateCDI runs controller-gen on CDI's API types, as CDI itself does.
func generateCDI(ctx context.Context, builder *host.Builder, dir string) error {
	tools, err := builder.Go(ctx, host.GoBuild{
		Name:     "controller-gen",
		Dir:      moduleDir,
		Packages: []string{"sigs.k8s.io/controller-tools/cmd/controller-gen"},
	})
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, filepath.Join(tools, "controller-gen"),
		"crd", "paths="+cdiTypes, "output:crd:dir="+dir)
	cmd.Dir = filepath.Join(builder.Source, moduleDir)
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
