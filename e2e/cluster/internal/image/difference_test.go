package image

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestDifferenceHasWhatIsNewOtherOrGone(t *testing.T) {
	dir := t.TempDir()
	lower, upper, target := filepath.Join(dir, "lower"), filepath.Join(dir, "upper"), filepath.Join(dir, "difference")
	text := func(path, data string) File { return File{Path: path, Data: []byte(data)} }
	if err := WriteLayer(lower, []File{
		text("/etc/same", "1"), text("/etc/other", "1"), text("/etc/mode", "1"), text("/gone/a", "1"), text("/etc/gone", "1"),
		{Path: "/etc/link", Link: "same"},
	}); err != nil {
		t.Fatal(err)
	}
	if err := WriteLayer(upper, []File{
		text("/etc/same", "1"), text("/etc/other", "2"), {Path: "/etc/mode", Data: []byte("1"), Mode: 0o755}, text("/etc/new", "1"),
		{Path: "/etc/link", Link: "other"},
	}); err != nil {
		t.Fatal(err)
	}
	if err := WriteDifference(target, lower, upper); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(target)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for name := range entries(t, data) {
		names = append(names, name)
	}
	slices.Sort(names)
	want := []string{".wh.gone", "etc/.wh.gone", "etc/link", "etc/mode", "etc/new", "etc/other"}
	if !slices.Equal(names, want) {
		t.Fatalf("got %q, want %q", names, want)
	}
}
