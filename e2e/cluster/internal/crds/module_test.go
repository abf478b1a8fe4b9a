package crds

import (
	"os"
	"path/filepath"
	"testing"
)

func TestCopyCRDsTakesOnlyCRDs(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	for name, content := range map[string]string{
		"tcproutes.yaml":         "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\n",
		"vap_safeupgrades.yaml":  "kind: ValidatingAdmissionPolicy\n",
		"kustomization.yaml":     "resources: [tcproutes.yaml]\n",
		"sub/not-looked-at.yaml": "kind: CustomResourceDefinition\n",
	} {
		path := filepath.Join(from, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := copyCRDs(filepath.Join(from, "*.yaml"), to); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(to)
	if err != nil || len(entries) != 1 || entries[0].Name() != "tcproutes.yaml" {
		t.Fatalf("copied %v, error %v", entries, err)
	}
	if err := copyCRDs(filepath.Join(from, "moved", "*.yaml"), to); err == nil {
		t.Fatal("no error when a project has moved its files")
	}
}
