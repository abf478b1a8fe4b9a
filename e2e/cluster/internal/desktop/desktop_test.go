package desktop

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"

	"novasphere.io/e2e/cluster/internal/image"
)

const images = "../../../../images"

func TestConfigIsThatOfTheDockerfiles(t *testing.T) {
	for _, variant := range Variants {
		var config image.Config
		for _, folder := range slices.Compact([]string{base, variant}) {
			if err := readConfig(filepath.Join(images, folder, "Dockerfile"), &config); err != nil {
				t.Fatal(err)
			}
		}
		want := image.Config{
			User:         "1000:1000",
			WorkingDir:   "/home/user/workspace",
			Env:          []string{"HOME=/home/user/workspace", "LANG=C.UTF-8"},
			Entrypoint:   []string{"/usr/bin/novasphere-desktop"},
			ExposedPorts: map[string]struct{}{"5901/tcp": {}, "2222/tcp": {}},
			Healthcheck: &image.Healthcheck{
				Test: []string{"CMD", "/usr/bin/novasphere-probe"}, Interval: 10 * time.Second, Timeout: 5 * time.Second,
				StartPeriod: 10 * time.Second, Retries: 3,
			},
		}
		if !reflect.DeepEqual(config, want) {
			t.Errorf("%s: got %+v, want %+v", variant, config, want)
		}
	}
}

func TestUnknownInstructionIsRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "Dockerfile")
	if err := os.WriteFile(file, []byte("FROM a\nUSER 0\nFROM b\nVOLUME /x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := readConfig(file, &image.Config{}); err == nil {
		t.Fatal("VOLUME was left out silently")
	}
}

func TestFilesHaveTheModesOfARelease(t *testing.T) {
	for _, variant := range Variants {
		files, err := recipeFiles(images, variant)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			data, err := os.ReadFile(file.Source)
			if err != nil {
				t.Fatal(err)
			}
			script := len(data) > 2 && string(data[:2]) == "#!"
			if script != (file.Mode == 0o755) {
				t.Errorf("%s: %s has mode %o", variant, file.Path, file.Mode)
			}
		}
	}
}
