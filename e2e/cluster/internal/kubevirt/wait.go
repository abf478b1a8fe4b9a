package kubevirt

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"novasphere.io/e2e/cluster/internal/api"
	"novasphere.io/e2e/cluster/internal/host"
)

// waiter waits for objects of one cluster.
type waiter struct {
	cluster *host.Cluster
	client  *api.Client
	timeout time.Duration
}

func newWaiter(cluster *host.Cluster, timeout time.Duration) (waiter, error) {
	client, err := api.FromKubeconfig(cluster.Kubeconfig())
	return waiter{cluster, client, timeout}, err
}

type condition struct{ Type, Status, Reason, Message string }

type withConditions struct {
	Status struct {
		Phase      string
		Conditions []condition
	}
}

// is says whether a condition is True, and else what it says.
func (o withConditions) is(kind string) (bool, string) {
	for _, each := range o.Status.Conditions {
		if each.Type == kind {
			return each.Status == "True", strings.TrimSpace(kind + "=" + each.Status + " " + each.Reason + " " + each.Message)
		}
	}
	return false, "no condition " + kind + " yet"
}

// object waits until look is content with the object at path.
func object[T any](ctx context.Context, w waiter, what, path string, look func(T) (bool, string)) error {
	return w.cluster.Wait(ctx, what, w.timeout, func(ctx context.Context) (bool, string, error) {
		var seen T
		status, _, err := w.client.Get(ctx, path, &seen)
		if err != nil {
			return false, err.Error(), nil
		}
		if status != http.StatusOK {
			return false, fmt.Sprintf("HTTP status %d", status), nil
		}
		done, detail := look(seen)
		return done, detail, nil
	})
}

func (w waiter) established(ctx context.Context, crd string) error {
	return object(ctx, w, "CRD "+crd+" to be Established", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/"+crd,
		func(seen withConditions) (bool, string) { return seen.is("Established") })
}

func (w waiter) deployment(ctx context.Context, name string) error {
	return object(ctx, w, "Deployment "+name+" to be Available", "/apis/apps/v1/namespaces/"+namespace+"/deployments/"+name,
		func(seen withConditions) (bool, string) { return seen.is("Available") })
}

func (w waiter) available(ctx context.Context) error {
	return object(ctx, w, "KubeVirt to be Available", "/apis/kubevirt.io/v1/namespaces/"+namespace+"/kubevirts/kubevirt",
		func(seen withConditions) (bool, string) {
			done, detail := seen.is("Available")
			return done && seen.Status.Phase == "Deployed", "phase " + seen.Status.Phase + ", " + detail
		})
}

// emulationDevices waits for what virt-handler's device plug-in announces after
// KubeVirt is Available: until then a virtual machine is unschedulable.
func (w waiter) emulationDevices(ctx context.Context) error {
	const device = "devices.kubevirt.io/tun"
	type node struct {
		Status struct{ Allocatable map[string]string }
	}
	return object(ctx, w, device+" of the node", "/api/v1/nodes/"+w.cluster.NodeName(),
		func(seen node) (bool, string) {
			count, found := seen.Status.Allocatable[device]
			if !found {
				return false, "not announced"
			}
			return count != "0", count + " allocatable"
		})
}
