package daemon

import (
	"context"
	"os"
	"testing"
	"time"
)

func TestStartRecordStop(t *testing.T) {
	dir := t.TempDir()
	process, err := Start(context.Background(), Spec{Part: "sleeper", Dir: dir, Path: "/bin/sleep", Args: []string{"60"}})
	if err != nil {
		t.Fatal(err)
	}
	if recorded, found := Recorded(dir, "sleeper"); !found || recorded != process || !recorded.Alive() {
		t.Fatalf("recorded %+v, want %+v alive", recorded, process)
	}
	other := Process{Pid: process.Pid, Start: process.Start + 1}
	if other.Alive() {
		t.Error("a process that got the same number later counts as the first one")
	}
	if err := process.Stop(context.Background(), time.Second); err != nil || process.Alive() {
		t.Errorf("still alive after Stop: %v", err)
	}
}

func TestKillAllFindsWhatWasNotRecorded(t *testing.T) {
	dir := t.TempDir()
	process, err := Start(context.Background(), Spec{Part: "sleeper", Dir: dir, Path: "/bin/sleep", Args: []string{"60"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := KillAll(context.Background(), dir); err != nil || process.Alive() {
		t.Errorf("still alive after KillAll: %v", err)
	}
}
