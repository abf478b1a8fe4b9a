// Package envoygateway makes what an Envoy Gateway is installed from: its images,
// whose public ones are in no package registry, and its own chart with its CRDs,
// which are in its Go module. The proxy is its vendor's program, out of a wheel
// (hack/tools.txt).
package envoygateway

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"novasphere.io/e2e/cluster/internal/host"
	"novasphere.io/e2e/cluster/internal/image"
)

const (
	// ImagesFile is an archive with both images, in the folder that Files fills.
	ImagesFile = "images.tar"
	// ChartDir is the chart. The defaults of its values are values.tmpl.yaml,
	// which names no images; the CRDs are in charts/crds/crds/generated.
	ChartDir = "chart"
)

const (
	// user is nobody's on the node; a Pod with runAsNonRoot needs a number.
	user = "65532"
	// path has the programs: the Pods call them by their names alone.
	path = "/usr/local/bin"

	componentDir = "components/envoy-gateway"
	module       = "github.com/envoyproxy/gateway"
	gateway      = "envoy-gateway"
	proxy        = "envoy"
)

// libraries are what the proxy needs of glibc, at the places where its loader looks.
var libraries = []string{
	"/lib64/ld-linux-x86-64.so.2",
	"/lib/x86_64-linux-gnu/libc.so.6",
	"/lib/x86_64-linux-gnu/libm.so.6",
	"/lib/x86_64-linux-gnu/librt.so.1",
	"/lib/x86_64-linux-gnu/libdl.so.2",
	"/lib/x86_64-linux-gnu/libpthread.so.0",
}

// Build builds Envoy Gateway, the program that follows the objects and runs proxies.
func Build(ctx context.Context, builder *host.Builder) (string, error) {
	dir, err := builder.Go(ctx, host.GoBuild{
		Name: gateway, Dir: componentDir, Out: gateway,
		Packages: []string{module + "/cmd/envoy-gateway"},
	})
	return filepath.Join(dir, gateway), err
}

// Files writes the images, called gatewayName and proxyName, and the chart into the
// folder out.
func Files(ctx context.Context, builder *host.Builder, gatewayName, proxyName, out string) error {
	program, err := Build(ctx, builder)
	if err != nil {
		return err
	}
	envoy, err := builder.Tool(ctx, proxy)
	if err != nil {
		return err
	}
	source, err := builder.Module(ctx, componentDir, module)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	defer builder.Progress.Step("images of " + gateway)()
	if err := copyChart(filepath.Join(source, "charts", "gateway-helm"), filepath.Join(out, ChartDir)); err != nil {
		return fmt.Errorf("chart of %s: %w", module, err)
	}
	return image.WriteDockerArchive(filepath.Join(out, ImagesFile),
		imageOf(gatewayName, program, path+"/"+gateway),
		imageOf(proxyName, envoy, path+"/"+proxy, libraries...))
}

// imageOf is an image with a program at a place, and what it needs.
func imageOf(name, program, place string, libraries ...string) image.Image {
	files := []image.File{{Path: place, Source: program, Mode: 0o755}}
	for _, library := range libraries {
		files = append(files, image.File{Path: library, Source: library, Mode: 0o755})
	}
	return image.Image{
		Name:   name,
		Layers: []image.Layer{{Files: files}},
		Config: image.Config{User: user, Env: []string{"PATH=" + path}, Entrypoint: []string{place}},
	}
}

// copyChart copies the chart so that its files can be written and removed: those of
// the module cache cannot.
func copyChart(from, to string) error {
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	return filepath.WalkDir(from, func(file string, entry os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(from, file)
		if err != nil {
			return err
		}
		target := filepath.Join(to, relative)
		if entry.IsDir() {
			return os.MkdirAll(target, 0o755)
		}
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		return os.WriteFile(target, data, 0o644)
	})
}
