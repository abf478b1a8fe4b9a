package envoygateway

import (
	"os"
	"path/filepath"
	"testing"
)

func TestAChartIsCopiedSoThatItCanBeRemoved(t *testing.T) {
	from, to := t.TempDir(), filepath.Join(t.TempDir(), ChartDir)
	templates := filepath.Join(from, "templates")
	if err := os.MkdirAll(templates, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(templates, "service.yaml"), []byte("kind: Service\n"), 0o444); err != nil {
		t.Fatal(err)
	}
	// Twice: what an earlier run left goes.
	for range 2 {
		if err := copyChart(from, to); err != nil {
			t.Fatal(err)
		}
	}
	info, err := os.Stat(filepath.Join(to, "templates", "service.yaml"))
	if err != nil || info.Mode().Perm()&0o200 == 0 {
		t.Fatalf("copied with mode %v, error %v", info, err)
	}
	if err := copyChart(filepath.Join(from, "moved"), to); err == nil {
		t.Fatal("no error when the project has moved its chart")
	}
}
