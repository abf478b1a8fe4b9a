package image

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"testing"
)

func entries(t *testing.T, data []byte) map[string][]byte {
	t.Helper()
	result := map[string][]byte{}
	reader := tar.NewReader(bytes.NewReader(data))
	for {
		header, err := reader.Next()
		if err == io.EOF {
			return result
		}
		if err != nil {
			t.Fatal(err)
		}
		if result[header.Name], err = io.ReadAll(reader); err != nil {
			t.Fatal(err)
		}
	}
}

func TestArchiveSharesLayersAndRepeatsItself(t *testing.T) {
	base := Layer{Files: []File{{Path: "/usr/bin/tool", Data: []byte("x"), Mode: 0o755, Xattrs: map[string]string{"security.capability": "\x01\x00"}}}}
	images := []Image{
		{Name: "localhost/a:1", Layers: []Layer{base}, Config: Config{User: "1001"}},
		{Name: "localhost/b:1", Layers: []Layer{base}},
	}
	var archives [2][]byte
	for i := range archives {
		path := filepath.Join(t.TempDir(), "image.tar")
		if err := WriteDockerArchive(path, images...); err != nil {
			t.Fatal(err)
		}
		archives[i], _ = os.ReadFile(path)
	}
	if !bytes.Equal(archives[0], archives[1]) {
		t.Fatal("the same input gave different archives")
	}
	files := entries(t, archives[0])
	var manifests []manifest
	if err := json.Unmarshal(files["manifest.json"], &manifests); err != nil {
		t.Fatal(err)
	}
	if len(manifests) != 2 || manifests[0].Layers[0] != manifests[1].Layers[0] || len(files) != 4 {
		t.Fatalf("want 2 images, 1 shared layer, 2 configs and a manifest, got %v in %d files", manifests, len(files))
	}
	layer := entries(t, files[manifests[0].Layers[0]])
	for _, name := range []string{"usr/", "usr/bin/", "usr/bin/tool"} {
		if _, found := layer[name]; !found {
			t.Errorf("layer lacks %s", name)
		}
	}
}
