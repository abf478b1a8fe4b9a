//go:build cluster

package test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"novasphere.io/e2e/cluster/internal/guest"
	"novasphere.io/e2e/cluster/internal/host"
	"novasphere.io/e2e/cluster/internal/image"
)

// shellImage holds a busybox.
const shellImage = "localhost/testbed-shell:1"

// bed is a cluster of one test.
type bed struct {
	t       *testing.T
	program string
	name    string
}

// up starts a cluster; it is taken down, and looked for, at the end of the test.
func up(t *testing.T, name string, flags ...string) *bed {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("a node needs root")
	}
	b := &bed{t: t, program: filepath.Join(t.TempDir(), "novacluster"), name: name}
	build := exec.CommandContext(t.Context(), "go", "build", "-o", b.program, "novasphere.io/e2e/cluster/cmd/novacluster")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	t.Cleanup(b.down)
	b.run(nil, append([]string{"up"}, flags...)...)
	return b
}

func (b *bed) down() {
	folder := b.folder()
	// The context of the test has ended.
	if out, err := exec.CommandContext(context.Background(), b.program, "--name", b.name, "down").CombinedOutput(); err != nil {
		b.t.Errorf("down: %v\n%s", err, out)
	}
	if _, err := os.Stat(folder); !errors.Is(err, fs.ErrNotExist) {
		b.t.Errorf("%s: %v", folder, err)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || bytes.Contains(mounts, []byte(folder)) {
		b.t.Errorf("mounts of %s are left (%v):\n%s", folder, err, mounts)
	}
}

// folder is where the cluster's state lies.
func (b *bed) folder() string {
	home := os.Getenv("NOVACLUSTER_HOME")
	if home == "" {
		user, err := os.UserHomeDir()
		if err != nil {
			b.t.Error(err)
		}
		home = filepath.Join(user, ".local", "state", "novacluster")
	}
	return filepath.Join(home, b.name)
}

// run calls novacluster and returns its standard output.
func (b *bed) run(stdin []byte, arguments ...string) string {
	b.t.Helper()
	command := exec.CommandContext(b.t.Context(), b.program, append([]string{"--name", b.name}, arguments...)...)
	command.Stdin = bytes.NewReader(stdin)
	var problems bytes.Buffer
	command.Stderr = &problems
	out, err := command.Output()
	if err != nil {
		b.t.Fatalf("novacluster %s: %v\n%s%s", strings.Join(arguments, " "), err, out, problems.String())
	}
	return string(out)
}

func (b *bed) kubectl(arguments ...string) string {
	b.t.Helper()
	return b.run(nil, append([]string{"kubectl"}, arguments...)...)
}

func (b *bed) apply(manifest string) {
	b.t.Helper()
	b.run([]byte(manifest), "kubectl", "apply", "--server-side", "--filename=-")
}

// wait waits until a field of an object has a value.
func (b *bed) wait(object, jsonPath, value string) {
	b.t.Helper()
	b.kubectl("wait", object, "--for=jsonpath={"+jsonPath+"}="+value, "--timeout=60s")
}

func (b *bed) get(object, jsonPath string) string {
	b.t.Helper()
	return b.kubectl("get", object, "--output=jsonpath={"+jsonPath+"}")
}

// loadShell puts shellImage into the node.
func (b *bed) loadShell() {
	b.t.Helper()
	builder, err := host.NewBuilder(host.NewProgress(os.Stderr))
	if err != nil {
		b.t.Fatal(err)
	}
	busybox, err := guest.Busybox(b.t.Context(), builder)
	if err != nil {
		b.t.Fatal(err)
	}
	archive := filepath.Join(b.t.TempDir(), "shell.tar")
	err = image.WriteDockerArchive(archive, image.Image{
		Name: shellImage,
		Layers: []image.Layer{{Files: []image.File{
			{Path: "/bin/busybox", Source: busybox, Mode: 0o755},
			{Path: "/bin/sh", Source: busybox, Mode: 0o755},
		}}},
		Config: image.Config{Entrypoint: []string{"/bin/sh", "-c"}},
	})
	if err != nil {
		b.t.Fatal(err)
	}
	b.run(nil, "load-image", archive)
}
