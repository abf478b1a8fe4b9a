package kubevirt

import (
	"archive/tar"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestReadTar(t *testing.T) {
	path := filepath.Join(t.TempDir(), "root.tar")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	writer := tar.NewWriter(file)
	// mmdebstrap writes names with a leading "./".
	for name, content := range map[string]string{"./etc/passwd": "root:x:0:0\n", "./etc/other": "x"} {
		if err := writer.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))}); err != nil {
			t.Fatal(err)
		}
		if _, err := writer.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	files, err := readTar(path, "etc/passwd")
	if err != nil || string(files["etc/passwd"]) != "root:x:0:0\n" {
		t.Fatalf("read %q, error %v", files, err)
	}
	if _, err := readTar(path, "etc/passwd", "etc/group"); err == nil || !strings.Contains(err.Error(), "etc/group") {
		t.Fatalf("want an error that names etc/group, got %v", err)
	}
}
