package cluster

import (
	"slices"
	"strings"
	"testing"

	"novasphere.io/e2e/cluster/internal/daemon"
)

func TestCheckName(t *testing.T) {
	for _, name := range []string{"a", "default", "e2e-1", strings.Repeat("x", 40)} {
		if err := CheckName(name); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{"", "-a", "a-", "A", "a.b", "../a", strings.Repeat("x", 41)} {
		if CheckName(name) == nil {
			t.Errorf("%q was accepted", name)
		}
	}
}

func TestUnknownPartSaysWhatThereIs(t *testing.T) {
	c := &Cluster{state: State{Name: "a"}}
	if err := c.checkPart("kubelet"); err == nil || !strings.Contains(err.Error(), "up --node") {
		t.Errorf("%v", err)
	}
	if err := c.checkPart("dns"); err == nil || !strings.Contains(err.Error(), "kube-apiserver") {
		t.Errorf("%v", err)
	}
	c.state.Node = &daemon.Process{}
	if err := c.checkPart("kubelet"); err != nil {
		t.Error(err)
	}
	if err := c.checkPart("csi-driver"); err == nil || !strings.Contains(err.Error(), "up --csi") {
		t.Errorf("%v", err)
	}
	c.state.CSI = "/cache/bin/csi"
	if err := c.checkPart("csi-driver"); err != nil {
		t.Error(err)
	}
	if err := c.checkPart("network-policy"); err == nil || !strings.Contains(err.Error(), "up --network-policy") {
		t.Errorf("%v", err)
	}
	c.state.NetworkPolicy = "/cache/bin/network-policy"
	if err := c.checkPart("network-policy"); err != nil {
		t.Error(err)
	}
}

func TestQueueIsAnsweredWhenTheKernelSaysSo(t *testing.T) {
	const list = "   12   4032     0 2   128     0     0        0  1\n  100  4033     0 2   128     0     0        7  1\n"
	for queue, expected := range map[int]bool{12: true, 100: true, 1: false, 2: false, 4033: false} {
		if answersQueue(list, queue) != expected {
			t.Errorf("%d: %v expected", queue, expected)
		}
	}
}

func TestEveryPartHasArguments(t *testing.T) {
	c := &Cluster{dir: "/state/a", state: State{
		Name: "a", Index: 3, CSI: "/cache/bin/csi", NetworkPolicy: "/cache/bin/network-policy", Node: &daemon.Process{},
	}}
	if parts := c.Parts(); !slices.Equal(parts, AllParts()) {
		t.Errorf("not all parts: %v", parts)
	}
	for _, part := range c.Parts() {
		if len(c.arguments(part)) == 0 {
			t.Errorf("%s has no arguments", part)
		}
	}
	for part, expected := range map[string]string{
		"csi-snapshotter": "/cache/bin/csi/csi-snapshotter",
		"network-policy":  "/cache/bin/network-policy/network-policy",
	} {
		if path := c.spec(part).Path; path != expected {
			t.Error(path)
		}
	}
}

func TestPlaneStaysOnLoopbackWithoutNode(t *testing.T) {
	c := &Cluster{dir: "/state/a", state: State{Name: "a", Index: 3, EtcdPort: 1, EtcdPeerPort: 2, APIServerPort: 4}}
	arguments := c.apiserverArguments()
	for _, wanted := range []string{"--bind-address=127.0.0.1", "--secure-port=4", "--service-cluster-ip-range=10.103.0.0/16"} {
		if !slices.Contains(arguments, wanted) {
			t.Errorf("lacks %s", wanted)
		}
	}
	c.state.Node = &daemon.Process{}
	arguments = c.apiserverArguments()
	if slices.Contains(arguments, "--bind-address=127.0.0.1") || !slices.Contains(arguments, "--advertise-address=10.99.3.1") {
		t.Errorf("with a node: %v", arguments)
	}
}

func TestNotReadyPicksTheFailingChecks(t *testing.T) {
	got := notReady("[+]ping ok\n[-]etcd failed: reason withheld\n[+]log ok\nreadyz check failed\n")
	if got != "[-]etcd failed: reason withheld" {
		t.Errorf("%q", got)
	}
}

func TestFreePortsDiffer(t *testing.T) {
	ports, err := freePorts(3)
	if err != nil || len(ports) != 3 {
		t.Fatal(ports, err)
	}
	slices.Sort(ports)
	if len(slices.Compact(ports)) != 3 {
		t.Error(ports)
	}
}
