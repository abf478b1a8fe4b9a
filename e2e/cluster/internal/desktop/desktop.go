// Package desktop makes the desktop images without a container engine, from what
// the Dockerfiles in images/desktop and images/desktop-ide make them from: the
// packages, the files, the script `install`, and the settings in the Dockerfiles.
package desktop

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"novasphere.io/e2e/cluster/internal/host"
	"novasphere.io/e2e/cluster/internal/image"
)

const (
	suite = "trixie"
	base  = "desktop"

	rootName  = "root.tar"
	layerName = "layer.tar"

	// revision is part of the cache keys: change it when the code here changes
	// what it makes from the same inputs.
	revision = "1"
)

// Variants are the images: folders of images/. All are on top of the first.
var Variants = []string{base, "desktop-ide"}

// Archive writes a docker archive with one image of a variant. probe is the
// program novasphere-probe, linked with the C library of this machine's Debian,
// which must not be newer than that of the image. An archive that is there and was made from
// the same things is left alone.
func Archive(ctx context.Context, builder *host.Builder, variant, probe, name, out string) error {
	if !slices.Contains(Variants, variant) {
		return fmt.Errorf("there is no desktop image %q; use one of %s", variant, strings.Join(Variants, ", "))
	}
	layers, config, err := parts(ctx, builder, variant)
	if err != nil {
		return err
	}
	settings, err := json.Marshal([]any{name, layers, config})
	if err != nil {
		return err
	}
	key, err := host.NewHash().Text(revision).Text(string(settings)).Tree(probe).Sum()
	if err != nil {
		return err
	}
	// Beside the archive, because reading that takes as long as writing it.
	stamp := out + ".key"
	if made, err := os.ReadFile(stamp); err == nil && string(made) == key {
		if _, err := os.Stat(out); err == nil {
			return nil
		}
	}
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		return err
	}
	defer builder.Progress.Step("image " + name)()
	stripped := out + ".probe"
	defer os.Remove(stripped)
	if _, err := host.Output(exec.CommandContext(ctx, "strip", "-o", stripped, probe)); err != nil {
		return fmt.Errorf("strip (Debian package binutils): %w", err)
	}
	program := image.Layer{Files: []image.File{{Path: "/usr/bin/novasphere-probe", Source: stripped, Mode: 0o755}}}
	err = image.WriteDockerArchive(out, image.Image{Name: name, Layers: append(layers, program), Config: config})
	if err != nil {
		return err
	}
	return os.WriteFile(stamp, []byte(key), 0o644)
}

// parts are the layers of a variant without the probe, and its settings.
func parts(ctx context.Context, builder *host.Builder, variant string) ([]image.Layer, image.Config, error) {
	var config image.Config
	images := imagesFolder(builder)
	if err := readConfig(filepath.Join(images, base, "Dockerfile"), &config); err != nil {
		return nil, config, err
	}
	root, err := rootfs(ctx, builder, images)
	if err != nil {
		return nil, config, err
	}
	layers := []image.Layer{{Tar: filepath.Join(root, rootName)}}
	if variant == base {
		return layers, config, nil
	}
	if err := readConfig(filepath.Join(images, variant, "Dockerfile"), &config); err != nil {
		return nil, config, err
	}
	top, err := onTop(ctx, builder, images, variant, root)
	return append(layers, image.Layer{Tar: filepath.Join(top, layerName)}), config, err
}

// Build makes the part of the base image that does not change with our program.
func Build(ctx context.Context, builder *host.Builder) error {
	_, err := rootfs(ctx, builder, imagesFolder(builder))
	return err
}

func imagesFolder(builder *host.Builder) string {
	return filepath.Join(builder.Source, "..", "..", "images")
}

// rootfs makes the root file system of the base.
func rootfs(ctx context.Context, builder *host.Builder, images string) (string, error) {
	key, err := recipeKey(images, base).Text(suite).Sum()
	if err != nil {
		return "", err
	}
	return builder.Once(ctx, "debian/"+base, key, func(ctx context.Context, dir string) error {
		return bootstrap(ctx, builder, images, base, dir, "--variant=apt", suite)
	})
}

// onTop makes the layer of a variant over the base, whose folder in the cache root is.
func onTop(ctx context.Context, builder *host.Builder, images, variant, root string) (string, error) {
	key, err := recipeKey(images, variant).Text(root).Sum()
	if err != nil {
		return "", err
	}
	lower := filepath.Join(root, rootName)
	return builder.Once(ctx, "debian/"+variant, key, func(ctx context.Context, dir string) error {
		// No suite: the packages come from where those of the base came from.
		if err := bootstrap(ctx, builder, images, variant, dir, "--variant=custom", "", "--setup-hook=tar-in "+quote(lower)+" /"); err != nil {
			return err
		}
		upper := filepath.Join(dir, rootName)
		return errors.Join(image.WriteDifference(filepath.Join(dir, layerName), lower, upper), os.Remove(upper))
	})
}

func recipeKey(images, variant string) *host.Hash {
	hash := host.NewHash().Text(revision).Tree(filepath.Join(images, base, "install"))
	return hash.Tree(filepath.Join(images, variant, "packages")).Tree(filepath.Join(images, variant, "files"))
}

// bootstrap makes dir/rootName: the packages by mmdebstrap, which needs root or
// user namespaces but no container engine, then the files and `install`.
func bootstrap(ctx context.Context, builder *host.Builder, images, variant, dir, kind, suite string, options ...string) error {
	recipe := filepath.Join(dir, "recipe.tar")
	defer os.Remove(recipe)
	files, err := recipeFiles(images, variant)
	if err != nil {
		return err
	}
	if err := image.WriteLayer(recipe, files); err != nil {
		return err
	}
	arguments := append([]string{kind, "--skip=output/dev", "--dpkgopt=force-unsafe-io"}, options...)
	arguments = append(arguments,
		"--customize-hook=tar-in "+quote(recipe)+" /",
		// Where mmdebstrap keeps --dpkgopt; the files of the image say the same.
		`--customize-hook=rm -f "$1/etc/dpkg/dpkg.cfg.d/99mmdebstrap"`,
		`--customize-hook=chroot "$1" /recipe/install && rm -r "$1/recipe"`,
		suite, filepath.Join(dir, rootName))
	command := exec.CommandContext(ctx, "mmdebstrap", arguments...)
	// The time of all files, so that the same packages make the same layer.
	command.Env = append(os.Environ(), "SOURCE_DATE_EPOCH=0")
	return builder.Mmdebstrap(command, "debian/"+variant)
}

// recipeFiles are the files of a variant, and /recipe as in the Dockerfiles.
func recipeFiles(images, variant string) ([]image.File, error) {
	found := []image.File{
		{Path: "/recipe/install", Source: filepath.Join(images, base, "install"), Mode: 0o755},
		{Path: "/recipe/packages", Source: filepath.Join(images, variant, "packages"), Mode: 0o644},
	}
	root := filepath.Join(images, variant, "files")
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(root, path)
		// Whatever umask the files were checked out with.
		mode := fs.FileMode(0o644)
		if info.Mode()&0o100 != 0 {
			mode = 0o755
		}
		found = append(found, image.File{Path: relative, Source: path, Mode: mode})
		return err
	})
	return found, err
}

// quote makes a word of a hook, which mmdebstrap reads as the shell does.
func quote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }
