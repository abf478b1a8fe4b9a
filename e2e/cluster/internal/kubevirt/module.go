package kubevirt

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"novasphere.io/e2e/cluster/internal/host"
)

// moduleSource is the folder of KubeVirt's source in the module cache.
func moduleSource(ctx context.Context, builder *host.Builder) (string, error) {
	return moduleField(ctx, builder, "{{.Dir}}")
}

// moduleField asks Go about the KubeVirt module as go.mod pins it.
func moduleField(ctx context.Context, builder *host.Builder, format string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "list", "-m", "-f", format, "kubevirt.io/kubevirt")
	cmd.Dir = filepath.Join(builder.Source, componentDir)
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=readonly")
	out, err := host.Output(cmd)
	if err != nil {
		return "", err
	}
	value := strings.TrimSpace(string(out))
	if value == "" {
		return "", fmt.Errorf("go list -m -f %s kubevirt.io/kubevirt gave nothing: is the module downloaded?", format)
	}
	return value, nil
}
