package crds

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"

	"novasphere.io/e2e/cluster/internal/host"
)

// crdMark is what tells a CRD from what lies beside it: kustomizations, and
// Gateway API's admission policy against mixing its channels.
var crdMark = []byte("kind: CustomResourceDefinition")

// fromModule copies the CRDs that match the patterns out of a module that the
// go.mod in pins has; a later pattern replaces a file of an earlier one.
func fromModule(pins, module string, patterns ...string) maker {
	return func(ctx context.Context, builder *host.Builder, dir string) error {
		root, err := builder.Module(ctx, pins, module)
		if err != nil {
			return err
		}
		for _, pattern := range patterns {
			if err := copyCRDs(filepath.Join(root, pattern), dir); err != nil {
				return fmt.Errorf("CRDs of %s: %w", module, err)
			}
		}
		return nil
	}
}

func copyCRDs(pattern, dir string) error {
	files, err := filepath.Glob(pattern)
	if err != nil {
		return err
	}
	copied := 0
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if !bytes.Contains(data, crdMark) {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(file)), data, 0o644); err != nil {
			return err
		}
		copied++
	}
	if copied == 0 {
		return fmt.Errorf("no CRD in %s: the project has moved its files", pattern)
	}
	return nil
}
