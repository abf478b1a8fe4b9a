package cluster

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"novasphere.io/e2e/cluster/internal/host"
)

// ApplyCRDs applies folders of manifests and waits until kube-apiserver serves
// every CustomResourceDefinition.
func (c *Cluster) ApplyCRDs(ctx context.Context, dirs []string, timeout time.Duration) error {
	arguments := []string{"apply", "--server-side", "--force-conflicts"}
	for _, dir := range dirs {
		arguments = append(arguments, "--filename="+dir)
	}
	if _, err := c.Handle("").Kubectl(ctx, nil, arguments...); err != nil {
		return fmt.Errorf("apply CRDs: %w", err)
	}
	client, err := c.client()
	if err != nil {
		return err
	}
	return host.Wait(ctx, c.progress, "the CRDs to be Established", timeout, func(ctx context.Context) (bool, string, error) {
		var list struct {
			Items []struct {
				Metadata struct{ Name string }
				conditions
			}
		}
		status, _, err := client.Get(ctx, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &list)
		if err != nil || status != http.StatusOK {
			return false, fmt.Sprintf("HTTP status %d, %v", status, err), nil
		}
		var waiting []string
		for _, crd := range list.Items {
			if established, _ := crd.met("Established"); !established {
				waiting = append(waiting, crd.Metadata.Name)
			}
		}
		return len(waiting) == 0, "not yet: " + strings.Join(waiting, ", "), nil
	})
}
