package cluster

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestHelmIsChosenByMajorVersion(t *testing.T) {
	for _, major := range []string{"3", "4"} {
		build, err := helm(major)
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(filepath.Join("..", "..", build.Dir, "go.mod"))
		if err != nil || !strings.Contains(string(text), "helm.sh/helm/v"+major+" v"+major+".") {
			t.Errorf("%s does not require Helm %s: %v", build.Dir, major, err)
		}
	}
	if _, err := helm("2"); err == nil {
		t.Error("2 was accepted")
	}
}
