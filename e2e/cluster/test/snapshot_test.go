//go:build cluster

package test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// home is a claim; source is empty or "Kind/name" of what it starts as.
func home(name, source string) string {
	claim := fmt.Sprintf(`---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: %s, namespace: default}
spec:
  storageClassName: csi
  accessModes: [ReadWriteOnce]
  resources: {requests: {storage: 1Gi}}
`, name)
	switch kind, from, _ := strings.Cut(source, "/"); kind {
	case "VolumeSnapshot":
		claim += fmt.Sprintf("  dataSource: {apiGroup: snapshot.storage.k8s.io, kind: VolumeSnapshot, name: %s}\n", from)
	case "PersistentVolumeClaim":
		claim += fmt.Sprintf("  dataSource: {kind: PersistentVolumeClaim, name: %s}\n", from)
	}
	return claim
}

func snapshot(name, class, claim string) string {
	return fmt.Sprintf(`---
apiVersion: snapshot.storage.k8s.io/v1
kind: VolumeSnapshot
metadata: {name: %s, namespace: default}
spec:
  volumeSnapshotClassName: %s
  source: {persistentVolumeClaimName: %s}
`, name, class, claim)
}

func class(name, parameter, value string) string {
	return fmt.Sprintf(`---
apiVersion: snapshot.storage.k8s.io/v1
kind: VolumeSnapshotClass
metadata: {name: %s}
driver: csi.novacluster.novasphere.io
deletionPolicy: Delete
parameters: {%s: %q}
`, name, parameter, value)
}

// inHome runs a script as user 1000 in a Pod that has the claim at /home, and
// returns what it prints.
func (b *bed) inHome(claim, pod, script string) string {
	b.t.Helper()
	b.apply(fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: %s, namespace: default}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 0
  securityContext: {runAsUser: 1000, runAsGroup: 1000, runAsNonRoot: true, fsGroup: 1000}
  containers:
    - name: shell
      image: %s
      imagePullPolicy: Never
      args: [%q]
      volumeMounts: [{name: home, mountPath: /home}]
  volumes: [{name: home, persistentVolumeClaim: {claimName: %s}}]
`, pod, shellImage, "set -e; "+script, claim))
	b.wait("pod/"+pod, ".status.phase", "Succeeded")
	printed := b.kubectl("logs", pod)
	b.kubectl("delete", "pod", pod)
	return strings.TrimSpace(printed)
}

func TestSnapshots(t *testing.T) {
	b := up(t, "testbed-csi", "--csi")
	b.loadShell()

	b.apply(home("first", ""))
	if got := b.inHome("first", "writer", "echo kept >/home/file; /bin/busybox stat -c %u:%g /home/file"); got != "1000:1000" {
		t.Errorf("the file belongs to %q", got)
	}

	b.apply(snapshot("ready", "csi", "first"))
	b.wait("volumesnapshot/ready", ".status.readyToUse", "true")
	b.inHome("first", "changer", "echo lost >/home/file")
	b.apply(home("restored", "VolumeSnapshot/ready"))
	if got := b.inHome("restored", "reader", "/bin/busybox cat /home/file; echo more >>/home/file"); got != "kept" {
		t.Errorf("restored %q", got)
	}
	b.apply(home("clone", "PersistentVolumeClaim/first"))
	if got := b.inHome("clone", "clone-reader", "/bin/busybox cat /home/file"); got != "lost" {
		t.Errorf("cloned %q", got)
	}

	b.kubectl("patch", "pvc", "first", "--patch", `{"spec": {"resources": {"requests": {"storage": "2Gi"}}}}`)
	b.wait("pvc/first", ".status.capacity.storage", "2Gi")

	b.faults()
	b.driverRestarts()

	b.kubectl("delete", "volumesnapshot,pvc", "--all", "--timeout=60s")
	b.kubectl("wait", "pv", "--all", "--for=delete", "--timeout=60s")
	b.kubectl("wait", "volumesnapshotcontents", "--all", "--for=delete", "--timeout=60s")
	for _, kind := range []string{"volumes", "snapshots"} {
		left, err := os.ReadDir(filepath.Join(b.folder(), "csi", kind))
		if err != nil || len(left) > 0 {
			t.Errorf("%s left: %v, %v", kind, left, err)
		}
	}
}

// faults are what classes ask for.
func (b *bed) faults() {
	b.t.Helper()
	const delay = 5 * time.Second
	b.apply(class("slow", "delay", delay.String()) + snapshot("slow", "slow", "first") +
		class("failing", "fail", "true") + snapshot("failing", "failing", "first"))
	begin := time.Now()
	b.wait("volumesnapshot/slow", ".status.readyToUse", "false")
	b.wait("volumesnapshot/slow", ".status.readyToUse", "true")
	if took := time.Since(begin); took < delay {
		b.t.Errorf("ready after %s, before its delay", took)
	}
	b.kubectl("wait", "volumesnapshot/failing", "--for=jsonpath={.status.error.message}", "--timeout=60s")
	if message := b.get("volumesnapshot/failing", ".status.error.message"); !strings.Contains(message, "the parameter fail") {
		b.t.Errorf("error %q", message)
	}
	if ready := b.get("volumesnapshot/failing", ".status.readyToUse"); ready == "true" {
		b.t.Error("ready although it failed")
	}
	// Who repairs the class gets the snapshot without asking again.
	b.apply(class("failing", "fail", "false"))
	b.wait("volumesnapshot/failing", ".status.readyToUse", "true")
}

func (b *bed) driverRestarts() {
	b.t.Helper()
	b.run(nil, "restart", "csi-driver")
	if status := b.run(nil, "status"); strings.Contains(status, "stopped") {
		b.t.Errorf("after a restart:\n%s", status)
	}
	b.apply(snapshot("later", "csi", "restored"))
	b.wait("volumesnapshot/later", ".status.readyToUse", "true")
	b.apply(home("last", "VolumeSnapshot/later"))
	if got := b.inHome("last", "last-reader", "/bin/busybox cat /home/file"); got != "kept\nmore" {
		b.t.Errorf("restored %q", got)
	}
}
