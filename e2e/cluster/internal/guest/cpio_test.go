package guest

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// GNU cpio is the judge of the format.
func TestCpioIsReadByCpio(t *testing.T) {
	var archive bytes.Buffer
	writer := cpio{out: &archive}
	writer.add(cpioEntry{name: "a", mode: typeDir | 0o755})
	writer.add(cpioEntry{name: "a/file", mode: typeFile | 0o644, data: []byte("hello")})
	writer.add(cpioEntry{name: "a/link", mode: typeLink | 0o777, data: []byte("file")})
	if err := writer.close(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	extract := exec.Command("cpio", "-id", "--quiet")
	extract.Dir, extract.Stdin = dir, &archive
	if out, err := extract.CombinedOutput(); err != nil {
		t.Fatalf("cpio: %v: %s", err, out)
	}
	out, err := exec.Command("cat", filepath.Join(dir, "a", "link")).Output()
	if err != nil || strings.TrimSpace(string(out)) != "hello" {
		t.Fatalf("read %q through the link, error %v", out, err)
	}
}
