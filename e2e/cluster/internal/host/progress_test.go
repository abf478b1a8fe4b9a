package host

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
)

func TestProgressSaysHowFarStepsAre(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "progress"))
	if err != nil {
		t.Fatal(err)
	}
	progress := NewProgress(file)
	progress.Detail("build kube", "nothing began")
	done := progress.Step("build kube")
	progress.Step("image")
	progress.Detail("build kube", "%d packages", 7)
	progress.detail("the node", "not\nready")
	if state := progress.state(); state != "build kube: 7 packages | image | the node: not ready" {
		t.Errorf("%q", state)
	}
	done()
	if state := progress.state(); state != "image | the node: not ready" {
		t.Errorf("%q", state)
	}
}

func TestOutputLinesSeesEachLine(t *testing.T) {
	var seen []string
	out, err := OutputLines(exec.Command("sh", "-c", "echo one >&2; printf 'tw' >&2; echo out; echo o >&2; printf rest >&2"),
		func(line string) { seen = append(seen, line) })
	if err != nil || string(out) != "out\n" || !slices.Equal(seen, []string{"one", "two"}) {
		t.Errorf("%q, %v, %v", out, seen, err)
	}
}
