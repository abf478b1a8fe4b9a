package cluster

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"novasphere.io/e2e/cluster/internal/addons"
	"novasphere.io/e2e/cluster/internal/host"
	"novasphere.io/e2e/cluster/internal/nodens"
	"novasphere.io/e2e/cluster/internal/pki"
)

const (
	kubeletDir       = "/var/lib/kubelet"
	containerdDir    = "/var/lib/containerd"
	containerdSocket = "/run/containerd/containerd.sock"
	cniPlugins       = "/usr/lib/cni"
	clusterDomain    = "cluster.local"
	// podBridge is the link of the node that its Pods are on.
	podBridge = "cni0"
)

type object = map[string]any

func (c *Cluster) auditLog() string { return c.path("audit.log") }

// writeCertificates makes the authorities once, and the leaves each time: a node
// that is added later needs further names in them.
func (c *Cluster) writeCertificates() error {
	dir := c.path("pki")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	ca, err := pki.Open(dir, "ca")
	if err != nil {
		return err
	}
	frontProxy, err := pki.Open(dir, "front-proxy-ca")
	if err != nil {
		return err
	}
	if err := pki.EnsureKeyPair(dir, "service-account"); err != nil {
		return err
	}
	if err := frontProxy.Issue(pki.Leaf{Name: "front-proxy-client", CommonName: "front-proxy-client"}); err != nil {
		return err
	}
	node, nodeIP := c.nodeName(), c.state.Index.NodeIP().String()
	for _, leaf := range []pki.Leaf{
		{Name: apiserver, CommonName: apiserver, Hosts: []string{
			"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc." + clusterDomain,
			"localhost", "127.0.0.1", nodeIP, c.state.Index.APIServerServiceIP().String()}},
		{Name: "kubelet-client", CommonName: addons.KubeletClient},
		{Name: "admin", CommonName: "novacluster-admin", Organizations: []string{"system:masters"}},
		{Name: controllerManager, CommonName: "system:kube-controller-manager"},
		{Name: scheduler, CommonName: "system:kube-scheduler"},
		{Name: kubeProxy, CommonName: "system:kube-proxy"},
		{Name: kubelet, CommonName: "system:node:" + node, Organizations: []string{"system:nodes"}},
		{Name: "kubelet-server", CommonName: node, Hosts: []string{node, nodeIP}},
	} {
		if err := ca.Issue(leaf); err != nil {
			return err
		}
	}
	return nil
}

// writeFiles writes all configuration; it depends on the state alone.
func (c *Cluster) writeFiles() error {
	if err := os.MkdirAll(c.path("etc", "cni"), 0o755); err != nil {
		return err
	}
	for _, user := range []string{"admin", controllerManager, scheduler, kubelet, kubeProxy} {
		if err := c.writeKubeconfig(user); err != nil {
			return err
		}
	}
	files := map[string]object{
		"audit-policy.json":      auditPolicy(),
		"kubelet.json":           c.kubeletConfiguration(),
		"kube-proxy.json":        c.kubeProxyConfiguration(),
		"cni/10-bridge.conflist": c.cniConfiguration(),
	}
	for name, content := range files {
		if err := writeJSON(c.path("etc", name), content, 0o644); err != nil {
			return err
		}
	}
	if err := os.WriteFile(c.path("etc", "containerd.toml"), []byte(c.containerdConfiguration()), 0o644); err != nil {
		return err
	}
	// Pods get this when they ask for the node's DNS; there is none.
	return os.WriteFile(c.path("etc", "resolv.conf"), nil, 0o644)
}

func (c *Cluster) writeKubeconfig(user string) error {
	ca, err := os.ReadFile(c.pki("ca.crt"))
	if err != nil {
		return err
	}
	certificate, err := os.ReadFile(c.pki(user + ".crt"))
	if err != nil {
		return err
	}
	key, err := os.ReadFile(c.pki(user + ".key"))
	if err != nil {
		return err
	}
	name := "novacluster-" + c.state.Name
	return writeJSON(c.kubeconfig(user), object{
		"apiVersion": "v1", "kind": "Config", "current-context": name,
		"clusters": []object{{"name": name, "cluster": object{"server": c.serverURL(), "certificate-authority-data": ca}}},
		"users":    []object{{"name": user, "user": object{"client-certificate-data": certificate, "client-key-data": key}}},
		"contexts": []object{{"name": name, "context": object{"cluster": name, "user": user}}},
	}, 0o600)
}

// auditPolicy logs every write, of questions about rights what was asked, and of reads those of the programs that novasphere's chart
// installs: a test compares them with their rights.
func auditPolicy() object {
	const account = "system:serviceaccount:novasphere-system:novasphere-"
	return object{
		"apiVersion": "audit.k8s.io/v1", "kind": "Policy",
		"omitStages": []string{"RequestReceived"},
		"rules": []object{
			{
				"level": "Request", "verbs": []string{"create"},
				"resources": []object{{"group": "authorization.k8s.io", "resources": []string{"subjectaccessreviews"}}},
			},
			{"level": "Metadata", "verbs": []string{"create", "update", "patch", "delete", "deletecollection"}},
			{
				"level": "Metadata", "verbs": []string{"get", "list", "watch"},
				"users": []string{account + "controller", account + "console", account + "apiserver"},
			},
			{"level": "None"},
		},
	}
}

func (c *Cluster) kubeletConfiguration() object {
	return object{
		"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
		"failCgroupV1": false, "cgroupDriver": "cgroupfs", "cgroupRoot": "/" + nodens.CgroupName(c.state.Index),
		"failSwapOn": false, "enforceNodeAllocatable": []string{"pods"},
		// A full disk of a developer's machine must not evict Pods.
		"evictionHard":                object{"memory.available": "0%", "nodefs.available": "0%", "nodefs.inodesFree": "0%", "imagefs.available": "0%"},
		"imageGCHighThresholdPercent": 100,
		"containerRuntimeEndpoint":    "unix://" + containerdSocket,
		"clusterDNS":                  []string{c.state.Index.DNSServiceIP().String()}, "clusterDomain": clusterDomain,
		"resolvConf":        c.path("etc", "resolv.conf"),
		"authentication":    object{"anonymous": object{"enabled": false}, "webhook": object{"enabled": true}, "x509": object{"clientCAFile": c.pki("ca.crt")}},
		"authorization":     object{"mode": "Webhook"},
		"tlsCertFile":       c.pki("kubelet-server.crt"),
		"tlsPrivateKeyFile": c.pki("kubelet-server.key"),
		// The default is a folder of this machine outside of the node's own.
		"volumePluginDir": kubeletDir + "/volumeplugins",
		"kubeAPIQPS":      500, "kubeAPIBurst": 1000,
	}
}

func (c *Cluster) kubeProxyConfiguration() object {
	return object{
		"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration",
		"clientConnection": object{"kubeconfig": c.kubeconfig(kubeProxy)},
		"mode":             "nftables", "clusterCIDR": c.state.Index.PodNet().String(), "hostnameOverride": c.nodeName(),
		// nf_conntrack_max cannot be written in a network namespace.
		"conntrack": object{"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
		// The default of 1 s is time in which a new Service drops packets.
		"nftables": object{"minSyncPeriod": "50ms"}, "iptables": object{"minSyncPeriod": "50ms"},
	}
}

func (c *Cluster) cniConfiguration() object {
	return object{
		"cniVersion": "1.0.0", "name": "novacluster",
		"plugins": []object{
			{"type": "bridge", "bridge": podBridge, "isGateway": true, "hairpinMode": true, "ipMasq": false, "mtu": 1400,
				"ipam": object{
					"type": "host-local", "dataDir": "/run/cni",
					"ranges": [][]object{{{"subnet": c.state.Index.PodNet().String()}}},
					"routes": []object{{"dst": "0.0.0.0/0"}},
				}},
			{"type": "portmap", "capabilities": object{"portMappings": true}},
		},
	}
}

func (c *Cluster) containerdConfiguration() string {
	// The "opt" plug-in would make /opt/containerd on this machine.
	// restrict_oom_score_adj: without CAP_SYS_RESOURCE runc cannot lower a
	// score, and every Pod would fail with "can't get final child's PID".
	return fmt.Sprintf(`version = 2
root = %q
state = "/run/containerd"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs"]

[grpc]
  address = %q

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = %q
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = %q
    conf_dir = %q
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
`, containerdDir, containerdSocket, addons.PauseImage, cniPlugins, c.path("etc", "cni"))
}

func writeJSON(path string, content object, mode os.FileMode) error {
	data, err := json.MarshalIndent(content, "", "  ")
	if err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(path), err)
	}
	return host.WriteFile(path, append(data, '\n'), mode)
}
