package host

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestOnceFillsOnce(t *testing.T) {
	builder := &Builder{Cache: t.TempDir()}
	var fills atomic.Int32
	var callers sync.WaitGroup
	for range 4 {
		callers.Go(func() {
			dir, err := builder.Once(t.Context(), "bin/thing", "key", func(_ context.Context, dir string) error {
				fills.Add(1)
				return os.WriteFile(filepath.Join(dir, "file"), nil, 0o644)
			})
			if err != nil || dir != filepath.Join(builder.Cache, "bin", "thing-key") {
				t.Errorf("%q, %v", dir, err)
			}
		})
	}
	callers.Wait()
	if fills.Load() != 1 {
		t.Errorf("filled %d times", fills.Load())
	}
}

func TestOnceLeavesNothingOfAFailure(t *testing.T) {
	builder := &Builder{Cache: t.TempDir()}
	failure := errors.New("no compiler")
	_, err := builder.Once(t.Context(), "bin/thing", "key", func(context.Context, string) error { return failure })
	if !errors.Is(err, failure) {
		t.Fatalf("%v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(builder.Cache, "bin", "*")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestHashSeesContentNamesAndModes(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "a")
	sum := func() string {
		t.Helper()
		key, err := NewHash().Tree(dir).Sum()
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	seen := map[string]string{}
	step := func(what string, change func() error) {
		t.Helper()
		if err := change(); err != nil {
			t.Fatal(err)
		}
		if before, known := seen[sum()]; known {
			t.Errorf("%s: the same key as %s", what, before)
		}
		seen[sum()] = what
	}
	step("content", func() error { return os.WriteFile(file, []byte("x"), 0o644) })
	step("other content", func() error { return os.WriteFile(file, []byte("y"), 0o644) })
	step("mode", func() error { return os.Chmod(file, 0o755) })
	step("name", func() error { return os.Rename(file, filepath.Join(dir, "b")) })
	if _, err := NewHash().Tree(filepath.Join(dir, "missing")).Sum(); err == nil {
		t.Error("a missing input gave a key")
	}
}

func TestWaitSaysWhatItWaitedFor(t *testing.T) {
	err := Wait(t.Context(), nil, "the moon", 30*time.Millisecond, func(context.Context) (bool, string, error) {
		return false, "clouds", nil
	})
	if err == nil || !strings.Contains(err.Error(), "the moon") || !strings.Contains(err.Error(), "clouds") {
		t.Errorf("%v", err)
	}
	failure := errors.New("it ended")
	err = Wait(t.Context(), nil, "the moon", time.Minute, func(context.Context) (bool, string, error) { return false, "", failure })
	if !errors.Is(err, failure) {
		t.Errorf("%v", err)
	}
}

func TestImportedArchiveIsCurrent(t *testing.T) {
	archive := importedArchive{Identity: "1", Images: unpacked("unpacking localhost/pause:1 (sha256:aa)...done\nunpacking localhost/b:1 (sha256:bb)...\n")}
	present := map[string]string{"localhost/pause:1": "sha256:aa", "localhost/b:1": "sha256:bb", "other": "sha256:cc"}
	if !current(archive, "1", present) {
		t.Errorf("%v is there", archive.Images)
	}
	if current(archive, "2", present) {
		t.Error("the archive changed")
	}
	present["localhost/b:1"] = "sha256:dd"
	if current(archive, "1", present) {
		t.Error("an image was replaced")
	}
	if current(importedArchive{}, "", present) {
		t.Error("never imported")
	}
}
