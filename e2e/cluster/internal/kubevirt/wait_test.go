package kubevirt

import (
	"encoding/json"
	"testing"
)

func TestConditions(t *testing.T) {
	var seen withConditions
	const text = `{"status": {"phase": "Deploying", "conditions": [
		{"type": "Created", "status": "True"},
		{"type": "Available", "status": "False", "reason": "DeploymentInProgress", "message": "Deploying version v1"}]}}`
	if err := json.Unmarshal([]byte(text), &seen); err != nil {
		t.Fatal(err)
	}
	for kind, want := range map[string]struct {
		met    bool
		detail string
	}{
		"Created":   {true, "Created=True"},
		"Available": {false, "Available=False DeploymentInProgress Deploying version v1"},
		"Degraded":  {false, "no condition Degraded yet"},
	} {
		if met, detail := seen.is(kind); met != want.met || detail != want.detail {
			t.Errorf("%s: got %v %q, want %v %q", kind, met, detail, want.met, want.detail)
		}
	}
}
