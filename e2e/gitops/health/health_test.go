package health

import (
	"path/filepath"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

const repository = "../../.."

// argoFor says what Argo CD has to say where kstatus says something. Kstatus
// knows no pause.
var argoFor = map[string]string{"Current": "Healthy", "InProgress": "Progressing", "Failed": "Degraded"}

func judges(t *testing.T) (Scripts, []*unstructured.Unstructured) {
	t.Helper()
	scripts, err := ReadScripts(filepath.Join(repository, "config/argocd/argocd_cm.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	samples, err := ReadSamples(filepath.Join(repository, "config/samples"))
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, sample := range samples {
		found[sample.GetKind()] = true
	}
	for _, kind := range Kinds {
		if !found[kind] {
			t.Fatalf("config/samples has no %s", kind)
		}
	}
	return scripts, samples
}

func states(t *testing.T) []State {
	t.Helper()
	states, err := ReadStates(filepath.Join(repository, "docs/gitops.md"))
	if err != nil {
		t.Fatal(err)
	}
	if len(states) < 3*len(Kinds) {
		t.Fatalf("docs/gitops.md has only %d states", len(states))
	}
	return states
}

// expect compares both judgements with what is expected.
func expect(t *testing.T, scripts Scripts, object *unstructured.Unstructured, kstatus, argo string) {
	t.Helper()
	found, err := KStatus(object)
	if err != nil {
		t.Fatal(err)
	}
	if found != kstatus {
		t.Errorf("kstatus says %s, not %s", found, kstatus)
	}
	found, message, err := scripts.Judge(object.Object)
	if err != nil {
		t.Fatal(err)
	}
	if found != argo {
		t.Errorf("Argo CD says %s (%s), not %s", found, message, argo)
	}
	if message == "" {
		t.Error("Argo CD says nothing about it")
	}
}

// every runs a test for each state with each sample of its kind.
func every(t *testing.T, run func(t *testing.T, scripts Scripts, state State, sample *unstructured.Unstructured)) {
	scripts, samples := judges(t)
	for _, state := range states(t) {
		for _, sample := range samples {
			if sample.GetKind() == state.Kind {
				t.Run(state.Kind+" "+state.Name+" "+sample.GetName(), func(t *testing.T) {
					run(t, scripts, state, sample)
				})
			}
		}
	}
}

func TestEveryStateIsJudgedAsTheGuideSays(t *testing.T) {
	every(t, func(t *testing.T, scripts Scripts, state State, sample *unstructured.Unstructured) {
		object, err := state.Apply(sample, 4, 4)
		if err != nil {
			t.Fatal(err)
		}
		expect(t, scripts, object, state.KStatus, state.Argo)
	})
}

func TestBothJudgeAlike(t *testing.T) {
	for _, state := range states(t) {
		if argoFor[state.KStatus] != state.Argo && state.Argo != "Suspended" {
			t.Errorf("%s, %s: %s for Flux and %s for Argo CD", state.Kind, state.Name, state.KStatus, state.Argo)
		}
	}
}

func TestAChangeThatNobodyHasLookedAtIsWaitedFor(t *testing.T) {
	every(t, func(t *testing.T, scripts Scripts, state State, sample *unstructured.Unstructured) {
		object, err := state.Apply(sample, 5, 4)
		if err != nil {
			t.Fatal(err)
		}
		argo := "Progressing"
		if state.Argo == "Suspended" {
			argo = state.Argo
		}
		expect(t, scripts, object, "InProgress", argo)
	})
}

func TestAnObjectThatNoControllerHasSeenIsNotHealthy(t *testing.T) {
	scripts, samples := judges(t)
	definitions := map[string]string{
		"VmAccess": "vmaccesses", "ConsoleSession": "consolesessions", "VncWorkspace": "vncworkspaces",
	}
	for _, sample := range samples {
		t.Run(sample.GetKind()+" "+sample.GetName(), func(t *testing.T) {
			status, err := UnseenStatus(filepath.Join(repository, "crds", "novasphere.io_"+definitions[sample.GetKind()]+".yaml"))
			if err != nil {
				t.Fatal(err)
			}
			made := sample.DeepCopy()
			made.SetGeneration(1)
			if err := unstructured.SetNestedMap(made.Object, status, "status"); err != nil {
				t.Fatal(err)
			}
			expect(t, scripts, made, "InProgress", "Progressing")
			// As it is before the apiserver has it; kstatus calls it Current, which is why the definitions have a default.
			argo, _, err := scripts.Judge(sample.Object)
			if err != nil || argo != "Progressing" {
				t.Errorf("without a status: %s, %v", argo, err)
			}
		})
	}
}
