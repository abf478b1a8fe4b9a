//go:build cluster

package drift

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/polling"
	"github.com/fluxcd/pkg/ssa"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"novasphere.io/e2e/gitops/health"
)

const (
	repository = "../../.."
	namespace  = "gitops"
	// reconcileTimeout is for a controller beside other work.
	reconcileTimeout = 2 * time.Minute
	pollInterval     = 200 * time.Millisecond
)

// fixture is Flux' kustomize-controller without its queue: its client, and what it applies.
type fixture struct {
	client  client.Client
	manager *ssa.ResourceManager
	objects []*unstructured.Unstructured
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	must(t, err)
	httpClient, err := rest.HTTPClientFor(config)
	must(t, err)
	mapper, err := apiutil.NewDynamicRESTMapper(config, httpClient)
	must(t, err)
	kube, err := client.New(config, client.Options{Mapper: mapper})
	must(t, err)
	poller := polling.NewStatusPoller(kube, mapper, polling.Options{})
	owner := ssa.Owner{Field: "kustomize-controller", Group: "kustomize.toolkit.fluxcd.io"}
	manager := ssa.NewResourceManager(kube, poller, owner)
	objects, err := health.ReadSamples(filepath.Join(repository, "config/samples"))
	must(t, err)
	for _, object := range objects {
		object.SetNamespace(namespace)
	}
	manager.SetOwnerLabels(objects, "samples", "flux-system")
	return &fixture{client: kube, manager: manager, objects: objects}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// apply applies everything as Flux does, and returns what it did to each object.
func (f *fixture) apply(ctx context.Context, t *testing.T) map[string]ssa.Action {
	t.Helper()
	set, err := f.manager.ApplyAllStaged(ctx, copies(f.objects), ssa.DefaultApplyOptions())
	must(t, err)
	return set.ToMap()
}

// diff is what Flux finds different between the manifests and the cluster.
func (f *fixture) diff(ctx context.Context, t *testing.T) map[string]ssa.Action {
	t.Helper()
	found := map[string]ssa.Action{}
	for _, object := range copies(f.objects) {
		entry, live, wanted, err := f.manager.Diff(ctx, object, ssa.DefaultDiffOptions())
		must(t, err)
		found[entry.Subject] = entry.Action
		if entry.Action != ssa.UnchangedAction {
			t.Logf("%s\nlive:   %v\nwanted: %v", entry, spec(live), spec(wanted))
		}
	}
	return found
}

func spec(object *unstructured.Unstructured) any {
	if object == nil {
		return nil
	}
	return object.Object["spec"]
}

func copies(objects []*unstructured.Unstructured) []*unstructured.Unstructured {
	made := make([]*unstructured.Unstructured, 0, len(objects))
	for _, object := range objects {
		made = append(made, object.DeepCopy())
	}
	return made
}

// settled waits until the controller has looked at every object as it is now,
// and returns the objects.
func (f *fixture) settled(ctx context.Context, t *testing.T) []*unstructured.Unstructured {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, reconcileTimeout)
	defer cancel()
	var settled []*unstructured.Unstructured
	for _, object := range f.objects {
		for {
			live := object.DeepCopy()
			must(t, f.client.Get(ctx, client.ObjectKeyFromObject(object), live))
			observed, found, err := unstructured.NestedInt64(live.Object, "status", "observedGeneration")
			must(t, err)
			if found && observed == live.GetGeneration() {
				settled = append(settled, live)
				break
			}
			select {
			case <-ctx.Done():
				t.Fatalf("the controller has not looked at %s %s within %s", live.GetKind(), live.GetName(), reconcileTimeout)
			case <-time.After(pollInterval):
			}
		}
	}
	return settled
}

func all(t *testing.T, what string, actions map[string]ssa.Action, expected ssa.Action) {
	t.Helper()
	if len(actions) == 0 {
		t.Errorf("%s: nothing was looked at", what)
	}
	for subject, action := range actions {
		if action != expected {
			t.Errorf("%s: %s is %s, not %s", what, subject, action, expected)
		}
	}
}

func TestTheControllerCausesNoDrift(t *testing.T) {
	ctx := context.Background()
	flux := newFixture(t)
	all(t, "first apply", flux.apply(ctx, t), ssa.CreatedAction)
	live := flux.settled(ctx, t)
	for round := range 2 {
		name := fmt.Sprintf("round %d", round+1)
		all(t, name+", diff", flux.diff(ctx, t), ssa.UnchangedAction)
		all(t, name+", apply", flux.apply(ctx, t), ssa.UnchangedAction)
		live = flux.settled(ctx, t)
	}
	t.Run("health", func(t *testing.T) { alike(t, live) })
	t.Run("by hand", func(t *testing.T) { flux.putBack(ctx, t) })
	t.Run("prune", func(t *testing.T) { flux.prune(ctx, t) })
}

// alike compares what both tools make of objects of a real cluster. Without
// machines nothing of theirs is ready.
func alike(t *testing.T, live []*unstructured.Unstructured) {
	scripts, err := health.ReadScripts(filepath.Join(repository, "config/argocd/argocd_cm.yaml"))
	must(t, err)
	for _, object := range live {
		kstatus, err := health.KStatus(object)
		must(t, err)
		argo, message, err := scripts.Judge(object.Object)
		must(t, err)
		t.Logf("%s %s: %s, %s: %s", object.GetKind(), object.GetName(), kstatus, argo, message)
		expected := map[string]string{"Current": "Healthy", "InProgress": "Progressing", "Failed": "Degraded"}[kstatus]
		if argo != expected || message == "" {
			t.Errorf("%s %s is %s for Flux and %s for Argo CD", object.GetKind(), object.GetName(), kstatus, argo)
		}
	}
}

// putBack changes an object by hand, which Flux finds and puts back.
func (f *fixture) putBack(ctx context.Context, t *testing.T) {
	for _, object := range f.objects {
		if object.GetKind() != "VmAccess" {
			continue
		}
		change := object.DeepCopy()
		patch := client.RawPatch("application/merge-patch+json", []byte(`{"spec": {"console": {"maxSessionDuration": "7m"}}}`))
		must(t, f.client.Patch(ctx, change, patch, client.FieldOwner("somebody")))
	}
	f.settled(ctx, t)
	changed := 0
	for subject, action := range f.apply(ctx, t) {
		t.Log(subject, action)
		if action == ssa.ConfiguredAction {
			changed++
		}
	}
	// What a manifest leaves open is nobody's to put back.
	if changed == 0 {
		t.Error("Flux found no change by hand")
	}
	f.settled(ctx, t)
	all(t, "afterwards", f.diff(ctx, t), ssa.UnchangedAction)
}

// prune removes everything, as when the manifests are gone from Git.
func (f *fixture) prune(ctx context.Context, t *testing.T) {
	_, err := f.manager.DeleteAll(ctx, copies(f.objects), ssa.DefaultDeleteOptions())
	must(t, err)
	options := ssa.DefaultWaitOptions()
	options.Interval, options.Timeout = pollInterval, reconcileTimeout
	must(t, f.manager.WaitForTermination(copies(f.objects), options))
}
