package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

var mountCapability = []*csi.VolumeCapability{{
	AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{}},
	AccessMode: &csi.VolumeCapability_AccessMode{Mode: csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER},
}}

func testController(t *testing.T) *controller {
	t.Helper()
	volumes, err := openStore(filepath.Join(t.TempDir(), "volumes"))
	if err != nil {
		t.Fatal(err)
	}
	snapshots, err := openStore(filepath.Join(t.TempDir(), "snapshots"))
	if err != nil {
		t.Fatal(err)
	}
	return newController(volumes, snapshots)
}

func (c *controller) testVolume(t *testing.T, name string, source *csi.VolumeContentSource) string {
	t.Helper()
	answer, err := c.CreateVolume(t.Context(), &csi.CreateVolumeRequest{
		Name: name, VolumeCapabilities: mountCapability, VolumeContentSource: source,
	})
	if err != nil {
		t.Fatal(err)
	}
	return answer.GetVolume().GetVolumeId()
}

func fromSnapshot(id string) *csi.VolumeContentSource {
	return &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Snapshot{
		Snapshot: &csi.VolumeContentSource_SnapshotSource{SnapshotId: id},
	}}
}

func TestSnapshotKeepsWhatTheVolumeLoses(t *testing.T) {
	c := testController(t)
	volume := c.testVolume(t, "pvc-1", nil)
	file := filepath.Join(c.volumes.data(volume), ".profile")
	if err := os.WriteFile(file, []byte("kept"), 0o640); err != nil {
		t.Fatal(err)
	}
	snapshot, err := c.CreateSnapshot(t.Context(), &csi.CreateSnapshotRequest{Name: "snapshot-1", SourceVolumeId: volume})
	if err != nil || !snapshot.GetSnapshot().GetReadyToUse() {
		t.Fatal(snapshot, err)
	}
	if _, err := c.DeleteVolume(t.Context(), &csi.DeleteVolumeRequest{VolumeId: volume}); err != nil {
		t.Fatal(err)
	}
	restored := c.testVolume(t, "pvc-2", fromSnapshot(snapshot.GetSnapshot().GetSnapshotId()))
	file = filepath.Join(c.volumes.data(restored), ".profile")
	content, err := os.ReadFile(file)
	if err != nil || string(content) != "kept" {
		t.Fatalf("restored %q, %v", content, err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o640 {
		t.Error(info, err)
	}
	if info, err := os.Stat(c.volumes.data(restored)); err != nil || info.Mode().Perm() != 0o777 {
		t.Error(info, err)
	}
}

func TestSnapshotFailsWhenAsked(t *testing.T) {
	c := testController(t)
	volume := c.testVolume(t, "pvc-1", nil)
	request := &csi.CreateSnapshotRequest{Name: "snapshot-1", SourceVolumeId: volume, Parameters: map[string]string{"fail": "true"}}
	if _, err := c.CreateSnapshot(t.Context(), request); status.Code(err) != codes.Internal {
		t.Fatal(err)
	}
	if ids, err := c.snapshots.list(); err != nil || len(ids) > 0 {
		t.Errorf("left %v, %v", ids, err)
	}
	// The class was repaired, and the same request comes again.
	request.Parameters = nil
	if _, err := c.CreateSnapshot(t.Context(), request); err != nil {
		t.Error(err)
	}
}

func TestSnapshotIsNotReadyBeforeItsDelay(t *testing.T) {
	c := testController(t)
	volume := c.testVolume(t, "pvc-1", nil)
	request := &csi.CreateSnapshotRequest{Name: "snapshot-1", SourceVolumeId: volume, Parameters: map[string]string{"delay": "1h"}}
	answer, err := c.CreateSnapshot(t.Context(), request)
	if err != nil || answer.GetSnapshot().GetReadyToUse() {
		t.Fatal(answer, err)
	}
	_, err = c.CreateVolume(t.Context(), &csi.CreateVolumeRequest{
		Name: "pvc-2", VolumeCapabilities: mountCapability, VolumeContentSource: fromSnapshot("snapshot-1"),
	})
	if status.Code(err) != codes.Unavailable {
		t.Errorf("a volume of an unfinished snapshot: %v", err)
	}
	entry, _, err := c.snapshots.find("snapshot-1")
	if err != nil {
		t.Fatal(err)
	}
	entry.Created = entry.Created.Add(-time.Hour)
	if err := c.snapshots.update("snapshot-1", entry); err != nil {
		t.Fatal(err)
	}
	if answer, err = c.CreateSnapshot(t.Context(), request); err != nil || !answer.GetSnapshot().GetReadyToUse() {
		t.Error(answer, err)
	}
}

func TestVolumeFailsAndWaitsWhenAsked(t *testing.T) {
	c := testController(t)
	request := &csi.CreateVolumeRequest{Name: "pvc-1", VolumeCapabilities: mountCapability, Parameters: map[string]string{"fail": "true"}}
	if _, err := c.CreateVolume(t.Context(), request); status.Code(err) != codes.Internal {
		t.Error(err)
	}
	request.Parameters = map[string]string{"delay": "1h"}
	for range 2 {
		if _, err := c.CreateVolume(t.Context(), request); status.Code(err) != codes.Aborted {
			t.Error(err)
		}
	}
	c.asked["pvc-1"] = time.Now().Add(-time.Hour)
	if _, err := c.CreateVolume(t.Context(), request); err != nil {
		t.Error(err)
	}
}

func TestMistakesInParametersAreRefused(t *testing.T) {
	for key, value := range map[string]string{"fails": "true", "fail": "perhaps", "delay": "20"} {
		if _, err := readFaults(map[string]string{key: value}); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: %q: %v", key, value, err)
		}
	}
}

func TestSecondRequestForOneThingIsAborted(t *testing.T) {
	c := testController(t)
	unlock, err := c.lock("volume pvc-1")
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.CreateVolume(t.Context(), &csi.CreateVolumeRequest{Name: "pvc-1", VolumeCapabilities: mountCapability})
	if status.Code(err) != codes.Aborted {
		t.Error(err)
	}
	unlock()
	c.testVolume(t, "pvc-1", nil)
}

func TestIDsOfOthersLeadNowhere(t *testing.T) {
	c := testController(t)
	outside := filepath.Join(c.volumes.dir, "..", "outside")
	if err := os.Mkdir(outside, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := write(outside, record{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.DeleteVolume(t.Context(), &csi.DeleteVolumeRequest{VolumeId: "../outside"}); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(outside); err != nil {
		t.Error(err)
	}
	if _, err := c.CreateSnapshot(t.Context(), &csi.CreateSnapshotRequest{Name: "s", SourceVolumeId: "../outside"}); status.Code(err) != codes.NotFound {
		t.Error(err)
	}
}

func TestStoreForgetsWhatWasNotFinished(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a" + partial, "b" + removed, "c"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := openStore(dir); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 || entries[0].Name() != "c" {
		t.Error(entries, err)
	}
}
