package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// importedFile remembers in containerd's root which archives it already has.
// The root outlives the cluster, and an import of 700 MB takes 15 s.
const importedFile = "novacluster-imported.json"

// ImportImages puts images from archives (docker or OCI layout, tar) into the
// node's containerd. An archive that this containerd already has (same path,
// size and time, and its images are still there) costs nothing.
func (c *Cluster) ImportImages(ctx context.Context, tars ...string) error {
	unlock, err := Lock(ctx, filepath.Join(c.dir, "import.lock"))
	if err != nil {
		return fmt.Errorf("waiting for another import: %w", err)
	}
	defer unlock()
	record := filepath.Join(c.dir, "containerd-root", importedFile)
	imported := readImported(record)
	present, err := c.images(ctx)
	if err != nil {
		return err
	}
	for _, tar := range tars {
		if tar, err = filepath.Abs(tar); err != nil {
			return fmt.Errorf("import image: %w", err)
		}
		identity, err := fileIdentity(tar)
		if err != nil {
			return fmt.Errorf("import image: %w", err)
		}
		if current(imported[tar], identity, present) {
			continue
		}
		done := c.Step("import " + filepath.Base(tar))
		out, err := Output(c.Ctr(ctx, "-n", "k8s.io", "images", "import", tar))
		if err != nil {
			return err
		}
		done()
		imported[tar] = importedArchive{Identity: identity, Images: unpacked(string(out))}
		if err := writeImported(record, imported); err != nil {
			return err
		}
	}
	return nil
}

// Ctr prepares containerd's own client for this cluster's socket.
func (c *Cluster) Ctr(ctx context.Context, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "ctr", append([]string{"-a", c.ContainerdSocket()}, args...)...)
}

// images lists name -> digest.
func (c *Cluster) images(ctx context.Context) (map[string]string, error) {
	out, err := Output(c.Ctr(ctx, "-n", "k8s.io", "images", "list"))
	if err != nil {
		return nil, err
	}
	images := map[string]string{}
	for line := range strings.Lines(string(out)) {
		if fields := strings.Fields(line); len(fields) > 2 && strings.HasPrefix(fields[2], "sha256:") {
			images[fields[0]] = fields[2]
		}
	}
	return images, nil
}

// CheckImages fails when containerd lacks content of an image that it lists,
// as after a damage to its root.
func (c *Cluster) CheckImages(ctx context.Context) error {
	out, err := Output(c.Ctr(ctx, "-n", "k8s.io", "images", "check"))
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "sha256:") && !strings.Contains(line, " complete ") {
			return fmt.Errorf("incomplete image: %s", strings.TrimSpace(line))
		}
	}
	return nil
}

type importedArchive struct {
	Identity string
	Images   map[string]string
}

// current says whether the images of an archive are there unchanged.
func current(archive importedArchive, identity string, present map[string]string) bool {
	if archive.Identity != identity || len(archive.Images) == 0 {
		return false
	}
	for name, digest := range archive.Images {
		if present[name] != digest {
			return false
		}
	}
	return true
}

// unpacked reads the lines "unpacking NAME (DIGEST)...done" of an import.
func unpacked(out string) map[string]string {
	images := map[string]string{}
	for line := range strings.Lines(out) {
		fields := strings.Fields(line)
		if len(fields) < 3 || fields[0] != "unpacking" {
			continue
		}
		digest, _, found := strings.Cut(strings.TrimPrefix(fields[2], "("), ")")
		if found {
			images[fields[1]] = digest
		}
	}
	return images
}

func fileIdentity(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%d %s", info.Size(), info.ModTime().UTC().Format(time.RFC3339Nano)), nil
}

func readImported(path string) map[string]importedArchive {
	imported := map[string]importedArchive{}
	data, err := os.ReadFile(path)
	if err != nil || json.Unmarshal(data, &imported) != nil {
		// A missing or broken record only costs imports.
		return map[string]importedArchive{}
	}
	return imported
}

func writeImported(path string, imported map[string]importedArchive) error {
	data, err := json.Marshal(imported)
	if err != nil {
		return err
	}
	return WriteFile(path, data, 0o600)
}

// WriteFile replaces a file atomically.
func WriteFile(path string, data []byte, mode os.FileMode) error {
	partial := path + ".partial"
	if err := os.WriteFile(partial, data, mode); err != nil {
		return err
	}
	if err := os.Rename(partial, path); err != nil {
		return errors.Join(err, os.Remove(partial))
	}
	return nil
}
