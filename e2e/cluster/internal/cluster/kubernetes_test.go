package cluster

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestEveryKubernetesHasItsModuleFile(t *testing.T) {
	for _, release := range kubernetesReleases {
		module := release.module
		if module == "" {
			module = "components/kube/go.mod"
		}
		text, err := os.ReadFile(filepath.Join("..", "..", filepath.FromSlash(module)))
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(string(text), "\n")
		if wanted := "\tk8s.io/kubernetes v" + release.version; !slices.Contains(lines, wanted) {
			t.Errorf("%s does not require Kubernetes %s", module, release.version)
		}
		// The Go module is components/kube, whatever file lists what it needs.
		if lines[0] != "module novasphere.io/e2e/cluster/components/kube" {
			t.Errorf("%s: %s", module, lines[0])
		}
		for _, input := range release.build().Inputs {
			if _, err := os.Stat(filepath.Join("..", "..", filepath.FromSlash(input))); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestKubernetesIsChosenByVersion(t *testing.T) {
	if _, err := kubernetes(defaultKubernetes); err != nil {
		t.Error(err)
	}
	for wanted, found := range map[string]string{"1.35": "1.35.4", "1.35.4": "1.35.4", "1.36": "1.36.3", "1.37": "1.37.2", "1.37.2": "1.37.2"} {
		if release, err := kubernetes(wanted); err != nil || release.version != found {
			t.Errorf("%s: %v, %v", wanted, release, err)
		}
	}
	for _, wanted := range []string{"1.3", "1", "v1.37.2", "1.29"} {
		if _, err := kubernetes(wanted); err == nil || !strings.Contains(err.Error(), "1.37.2") {
			t.Errorf("%s: %v", wanted, err)
		}
	}
}

// The programs that are in the caches of developers stay what they are.
func TestTheModuleOfTheComponentNeedsNoSettings(t *testing.T) {
	for _, release := range kubernetesReleases {
		build := release.build()
		if (release.module == "") != (build.Env == nil && build.Inputs == nil) {
			t.Errorf("%s: %v %v", release.version, build.Env, build.Inputs)
		}
	}
}
