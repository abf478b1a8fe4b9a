// Package traefik makes the image of Traefik from its vendor's own program, which
// comes as a wheel (hack/tools.txt): the public image is in no package registry.
package traefik

import (
	"context"
	"os"
	"path/filepath"

	"novasphere.io/e2e/cluster/internal/host"
	"novasphere.io/e2e/cluster/internal/image"
)

// user is nobody's on the node; a Pod with runAsNonRoot needs a number.
const user = "65532"

const programPath = "/usr/local/bin/traefik"

// Archive writes a docker archive with one image, named name.
func Archive(ctx context.Context, builder *host.Builder, name, out string) error {
	binary, err := builder.Tool(ctx, "traefik")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		return err
	}
	defer builder.Progress.Step("image " + name)()
	return image.WriteDockerArchive(out, image.Image{
		Name:   name,
		Layers: []image.Layer{{Files: []image.File{{Path: programPath, Source: binary, Mode: 0o755}}}},
		Config: image.Config{User: user, Entrypoint: []string{programPath}},
	})
}
