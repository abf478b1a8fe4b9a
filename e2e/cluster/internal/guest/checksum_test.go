package guest

import (
	"bytes"
	"hash/crc32"
	"math"
	"os"
	"path/filepath"
	"testing"
)

func TestFitChecksum(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk.img")
	padded := 0
	for first := range 64 {
		content := []byte{byte(first), 1, 2, 3}
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := fitChecksum(path); err != nil {
			t.Fatal(err)
		}
		fitted, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if sum := crc32.ChecksumIEEE(fitted); sum > math.MaxInt32 {
			t.Errorf("%v has the checksum %d", content, sum)
		}
		if !bytes.HasPrefix(fitted, content) || len(bytes.Trim(fitted[len(content):], "\x00")) != 0 {
			t.Errorf("%v became %v", content, fitted)
		}
		if len(fitted) > len(content) {
			padded++
		}
	}
	if padded == 0 {
		t.Error("none of 64 contents had a checksum that had to be changed")
	}
}
