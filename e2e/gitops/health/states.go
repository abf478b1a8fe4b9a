package health

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/yaml"
)

// Kinds are those of novasphere.io.
var Kinds = []string{"VmAccess", "ConsoleSession", "VncWorkspace"}

// State is a row of the table of docs/gitops.md. Tests of crates/core prove that
// the controller writes these conditions.
type State struct {
	Kind, Name string
	// Conditions are as `Ready=True Open`: type, status, reason.
	Conditions []string
	// KStatus and Argo are what the tools make of them.
	KStatus, Argo string
}

// ReadStates reads the table.
func ReadStates(page string) ([]State, error) {
	text, err := os.ReadFile(page)
	if err != nil {
		return nil, err
	}
	var states []State
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(line, "|")
		if len(cells) != 7 {
			continue
		}
		kind := codes(cells[1])
		if len(kind) != 1 || !slices.Contains(Kinds, kind[0]) {
			continue
		}
		kstatus, argo := codes(cells[4]), codes(cells[5])
		if len(kstatus) != 1 || len(argo) != 1 {
			return nil, fmt.Errorf("%s: not one health in each of the last cells: %s", page, line)
		}
		states = append(states, State{
			Kind: kind[0], Name: strings.TrimSpace(cells[2]), Conditions: codes(cells[3]), KStatus: kstatus[0], Argo: argo[0],
		})
	}
	return states, nil
}

// codes are what stands between backquotes.
func codes(cell string) []string {
	var found []string
	for i, part := range strings.Split(cell, "`") {
		if i%2 == 1 {
			found = append(found, part)
		}
	}
	return found
}

// Apply gives an object of the state's kind the state's status.
func (s State) Apply(object *unstructured.Unstructured, generation, observed int64) (*unstructured.Unstructured, error) {
	made := object.DeepCopy()
	made.SetGeneration(generation)
	conditions := make([]any, 0, len(s.Conditions))
	for _, condition := range s.Conditions {
		type_, rest, isWhole := strings.Cut(condition, "=")
		value, reason, hasReason := strings.Cut(rest, " ")
		if !isWhole || !hasReason {
			return nil, fmt.Errorf("%s, %s: %q is not TYPE=STATUS REASON", s.Kind, s.Name, condition)
		}
		conditions = append(conditions, map[string]any{
			"type": type_, "status": value, "reason": reason, "message": "Words of " + type_ + ".",
			"lastTransitionTime": "2026-03-01T12:00:00Z", "observedGeneration": observed,
		})
	}
	written := map[string]any{"observedGeneration": observed, "conditions": conditions}
	return made, unstructured.SetNestedMap(made.Object, written, "status")
}

// KStatus is what Flux and kubectl judge by.
func KStatus(object *unstructured.Unstructured) (string, error) {
	result, err := status.Compute(object)
	if err != nil {
		return "", err
	}
	return result.Status.String(), nil
}

// ReadSamples reads the objects of novasphere.io in a folder.
func ReadSamples(folder string) ([]*unstructured.Unstructured, error) {
	paths, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
	if err != nil {
		return nil, err
	}
	var samples []*unstructured.Unstructured
	for _, path := range paths {
		object, err := readObject(path)
		if err != nil {
			return nil, err
		}
		if strings.HasPrefix(object.GetAPIVersion(), "novasphere.io/") {
			samples = append(samples, object)
		}
	}
	return samples, nil
}

// UnseenStatus is what the apiserver says of an object that no controller has
// looked at: the default of its definition.
func UnseenStatus(definition string) (map[string]any, error) {
	object, err := readObject(definition)
	if err != nil {
		return nil, err
	}
	versions, _, err := unstructured.NestedSlice(object.Object, "spec", "versions")
	if err != nil {
		return nil, fmt.Errorf("%s: %w", definition, err)
	}
	if len(versions) != 1 {
		return nil, fmt.Errorf("%s has %d versions", definition, len(versions))
	}
	version, _ := versions[0].(map[string]any)
	status, found, err := unstructured.NestedMap(version, "schema", "openAPIV3Schema", "properties", "status", "default")
	if err != nil {
		return nil, fmt.Errorf("%s: %w", definition, err)
	}
	if !found {
		return nil, fmt.Errorf("%s has no default for status", definition)
	}
	return status, nil
}

func readObject(path string) (*unstructured.Unstructured, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	encoded, err := yaml.YAMLToJSON(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	object := &unstructured.Unstructured{}
	// Whole numbers become int64, as clients read them.
	if err := json.Unmarshal(encoded, &object.Object); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return object, nil
}
