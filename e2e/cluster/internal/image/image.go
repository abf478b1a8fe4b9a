// Package image writes container images as docker archives, without a
// container engine. The same input gives the same bytes.
package image

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"time"
)

// Image is one image of an archive.
type Image struct {
	// Name is the full name with a tag, such as "localhost/pause:1".
	Name   string
	Layers []Layer
	Config Config
}

// Layer is an existing tar file (not compressed) or a list of files.
type Layer struct {
	Tar   string
	Files []File
}

// Config is what the image says about its process. The names are those of the
// OCI image specification.
type Config struct {
	User         string              `json:",omitempty"`
	Env          []string            `json:",omitempty"`
	Entrypoint   []string            `json:",omitempty"`
	Cmd          []string            `json:",omitempty"`
	WorkingDir   string              `json:",omitempty"`
	ExposedPorts map[string]struct{} `json:",omitempty"`
	Labels       map[string]string   `json:",omitempty"`
	// Healthcheck is read by container engines. The OCI specification does not
	// have it, and Kubernetes has probes of its own.
	Healthcheck *Healthcheck `json:",omitempty"`
}

// Healthcheck is how a container engine finds out whether a container works.
type Healthcheck struct {
	// Test is "CMD" and the command with its arguments.
	Test        []string
	Interval    time.Duration `json:",omitempty"`
	Timeout     time.Duration `json:",omitempty"`
	StartPeriod time.Duration `json:",omitempty"`
	Retries     int           `json:",omitempty"`
}

// WriteDockerArchive makes a docker archive with the images. Layers that several images
// share are stored once.
func WriteDockerArchive(path string, images ...Image) error {
	partial := path + ".partial"
	if err := write(partial, images); err != nil {
		os.Remove(partial)
		return fmt.Errorf("image %s: %w", path, err)
	}
	return os.Rename(partial, path)
}

type manifest struct {
	Config   string
	RepoTags []string
	Layers   []string
}

type imageConfig struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
	Created      string `json:"created"`
	Config       Config `json:"config"`
	RootFS       rootFS `json:"rootfs"`
}

type rootFS struct {
	Type    string   `json:"type"`
	DiffIDs []string `json:"diff_ids"`
}

func write(path string, images []Image) error {
	out, err := os.Create(path)
	if err != nil {
		return err
	}
	defer out.Close()
	archive := &archive{tar: tar.NewWriter(out), scratch: path, seen: map[string]bool{}, digests: map[string]string{}}
	manifests := []manifest{}
	for _, image := range images {
		entry, err := archive.image(image)
		if err != nil {
			return err
		}
		manifests = append(manifests, entry)
	}
	data, err := json.Marshal(manifests)
	if err != nil {
		return err
	}
	if err := archive.bytes("manifest.json", data); err != nil {
		return err
	}
	if err := archive.tar.Close(); err != nil {
		return err
	}
	return out.Close()
}

type archive struct {
	tar     *tar.Writer
	scratch string
	seen    map[string]bool
	// digests of the tar files added so far: images often share a large one.
	digests map[string]string
}

func (a *archive) image(image Image) (manifest, error) {
	entry := manifest{RepoTags: []string{image.Name}}
	config := imageConfig{
		Architecture: runtime.GOARCH, OS: "linux", Created: "1970-01-01T00:00:00Z",
		Config: image.Config, RootFS: rootFS{Type: "layers"},
	}
	for _, layer := range image.Layers {
		digest, err := a.layer(layer)
		if err != nil {
			return entry, err
		}
		entry.Layers = append(entry.Layers, digest+".tar")
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, "sha256:"+digest)
	}
	data, err := json.Marshal(config)
	if err != nil {
		return entry, err
	}
	sum := sha256.Sum256(data)
	entry.Config = hex.EncodeToString(sum[:]) + ".json"
	return entry, a.bytes(entry.Config, data)
}

func (a *archive) layer(layer Layer) (digest string, err error) {
	if digest, added := a.digests[layer.Tar]; added {
		return digest, nil
	}
	source := layer.Tar
	if source == "" {
		source = filepath.Clean(a.scratch) + ".layer"
		defer os.Remove(source)
		if err := writeLayer(source, layer.Files); err != nil {
			return "", err
		}
	}
	file, err := os.Open(source)
	if err != nil {
		return "", err
	}
	defer file.Close()
	sum := sha256.New()
	size, err := io.Copy(sum, file)
	if err != nil {
		return "", err
	}
	digest = hex.EncodeToString(sum.Sum(nil))
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	if layer.Tar != "" {
		a.digests[layer.Tar] = digest
	}
	return digest, a.add(digest+".tar", size, file)
}

func (a *archive) bytes(name string, data []byte) error {
	return a.add(name, int64(len(data)), newReader(data))
}

func (a *archive) add(name string, size int64, content io.Reader) error {
	if a.seen[name] {
		return nil
	}
	a.seen[name] = true
	if err := a.tar.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: size, Format: tar.FormatPAX}); err != nil {
		return err
	}
	_, err := io.Copy(a.tar, content)
	return err
}
