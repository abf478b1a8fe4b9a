package kubevirt

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"novasphere.io/e2e/cluster/internal/host"
	"novasphere.io/e2e/cluster/internal/image"
)

// registry is the prefix of the image names. No such registry exists: the
// images are put into the node, and nothing is ever pulled.
const registry = "tb.local"

// layout is part of the cache key: change it when the code here changes what it
// makes from the same inputs.
const layout = "1"

// imageUsers are the images that the default set of components needs, with the
// user of each. Their Pods say runAsNonRoot where it is not 0, which kubelet
// can check only for a number.
var imageUsers = []struct{ name, user string }{
	{"virt-operator", "1001"},
	{"virt-api", "1001"},
	{"virt-controller", "1001"},
	{"virt-handler", "0"},
	{"virt-launcher", "0"},
}

// Archive makes one docker archive with all images and returns its path. They
// share one root file system, so that the node unpacks it once.
func Archive(ctx context.Context, builder *host.Builder) (string, error) {
	tag, err := moduleField(ctx, builder, "{{.Version}}")
	if err != nil {
		return "", err
	}
	basePath, err := base(ctx, builder)
	if err != nil {
		return "", err
	}
	files, err := layer(ctx, builder, basePath)
	if err != nil {
		return "", err
	}
	key, err := archiveKey(basePath, tag, files)
	if err != nil {
		return "", err
	}
	dir, err := builder.Once(ctx, "image/kubevirt", key, func(_ context.Context, dir string) error {
		return writeArchive(filepath.Join(dir, archiveName), tag, basePath, files)
	})
	return filepath.Join(dir, archiveName), err
}

const archiveName = "kubevirt.tar"

// archiveKey takes the paths of what is in the cache for its content: they end
// in the hash of it.
func archiveKey(basePath, tag string, files []image.File) (string, error) {
	hash := host.NewHash().Text(layout).Text(basePath).Text(tag)
	for _, file := range files {
		hash.Text(file.Path).Text(file.Source).Text(string(file.Data)).Text(file.Link)
	}
	return hash.Sum()
}

func writeArchive(path, tag, basePath string, files []image.File) error {
	upper := path + ".layer"
	if err := image.WriteLayer(upper, files); err != nil {
		return err
	}
	layers := []image.Layer{{Tar: basePath}, {Tar: upper}}
	images := []image.Image{}
	for _, each := range imageUsers {
		images = append(images, image.Image{
			Name:   registry + "/" + each.name + ":" + tag,
			Layers: layers,
			Config: image.Config{User: each.user, Entrypoint: []string{"/usr/bin/" + each.name}},
		})
	}
	return errors.Join(image.WriteDockerArchive(path, images...), os.Remove(upper))
}
