package cluster

import (
	"fmt"
	"strconv"
)

// Ports inside the node's own network namespace, where they are always free.
const (
	nodeEtcdPort      = 2379
	nodeEtcdPeerPort  = 2380
	nodeAPIServerPort = 6443
)

func (c *Cluster) pki(name string) string { return c.path("pki", name) }

func (c *Cluster) kubeconfig(user string) string { return c.path(user + ".kubeconfig") }

func (c *Cluster) etcdURL() string {
	if c.hasNode() {
		return loopback("http", nodeEtcdPort)
	}
	return loopback("http", c.state.EtcdPort)
}

func (c *Cluster) etcdPeerURL() string {
	if c.hasNode() {
		return loopback("http", nodeEtcdPeerPort)
	}
	return loopback("http", c.state.EtcdPeerPort)
}

// serverURL is where the host, and the parts, reach kube-apiserver.
func (c *Cluster) serverURL() string {
	if c.hasNode() {
		return fmt.Sprintf("https://%s:%d", c.state.Index.NodeIP(), nodeAPIServerPort)
	}
	return loopback("https", c.state.APIServerPort)
}

func loopback(scheme string, port int) string { return scheme + "://127.0.0.1:" + strconv.Itoa(port) }

func (c *Cluster) etcdArguments() []string {
	const quota = 8 << 30 // bytes; the default of 2 GB is near what 10,000 objects and their history take
	return []string{
		"--name=etcd",
		"--data-dir=" + c.path("etcd"),
		"--listen-client-urls=" + c.etcdURL(),
		"--advertise-client-urls=" + c.etcdURL(),
		"--listen-peer-urls=" + c.etcdPeerURL(),
		"--initial-advertise-peer-urls=" + c.etcdPeerURL(),
		"--initial-cluster=etcd=" + c.etcdPeerURL(),
		// The data need not survive a power cut.
		"--unsafe-no-fsync",
		"--quota-backend-bytes=" + strconv.Itoa(quota),
		"--log-level=warn",
	}
}

func (c *Cluster) apiserverArguments() []string {
	arguments := []string{
		"--etcd-servers=" + c.etcdURL(),
		"--authorization-mode=Node,RBAC",
		"--enable-admission-plugins=NodeRestriction",
		"--allow-privileged=true",
		"--service-cluster-ip-range=" + c.state.Index.ServiceNet().String(),
		"--cert-dir=" + c.path("pki"),
		"--client-ca-file=" + c.pki("ca.crt"),
		"--tls-cert-file=" + c.pki("kube-apiserver.crt"),
		"--tls-private-key-file=" + c.pki("kube-apiserver.key"),
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file=" + c.pki("service-account.pub"),
		"--service-account-signing-key-file=" + c.pki("service-account.key"),
		"--requestheader-client-ca-file=" + c.pki("front-proxy-ca.crt"),
		"--requestheader-allowed-names=front-proxy-client",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--requestheader-group-headers=X-Remote-Group",
		"--requestheader-uid-headers=X-Remote-Uid",
		"--requestheader-username-headers=X-Remote-User",
		"--proxy-client-cert-file=" + c.pki("front-proxy-client.crt"),
		"--proxy-client-key-file=" + c.pki("front-proxy-client.key"),
		"--audit-policy-file=" + c.path("etc", "audit-policy.json"),
		"--audit-log-path=" + c.auditLog(),
		// A write is in the log before it is answered, so tests can count.
		"--audit-log-mode=blocking",
		// Megabytes; 0 would mean the default of 100 and a rotation.
		"--audit-log-maxsize=1000000",
		// Without it a stop takes a minute when anybody watches.
		"--shutdown-watch-termination-grace-period=2s",
	}
	if !c.hasNode() {
		return append(arguments,
			"--bind-address=127.0.0.1",
			"--advertise-address=127.0.0.1",
			"--secure-port="+strconv.Itoa(c.state.APIServerPort),
			// The Service "kubernetes" cannot have a loopback address.
			"--endpoint-reconciler-type=none",
			// Without kube-proxy an APIService or a webhook is reached by a
			// Service of type ExternalName, which routing to endpoints refuses.
			"--enable-aggregator-routing=false",
		)
	}
	return append(arguments,
		"--enable-aggregator-routing=true",
		"--advertise-address="+c.state.Index.NodeIP().String(),
		"--secure-port="+strconv.Itoa(nodeAPIServerPort),
		"--kubelet-certificate-authority="+c.pki("ca.crt"),
		"--kubelet-client-certificate="+c.pki("kubelet-client.crt"),
		"--kubelet-client-key="+c.pki("kubelet-client.key"),
		"--kubelet-preferred-address-types=InternalIP",
	)
}

// clientRate lifts the default of 20 requests a second, with which the
// controllers need 4.5 s longer to make their ServiceAccounts and tokens.
var clientRate = []string{"--kube-api-qps=1000", "--kube-api-burst=2000"}

func (c *Cluster) controllerManagerArguments() []string {
	return append([]string{
		"--kubeconfig=" + c.kubeconfig(controllerManager),
		"--leader-elect=false",
		// No port: nobody reads its metrics, and a fixed one could be taken.
		"--secure-port=0",
		"--use-service-account-credentials",
		"--service-account-private-key-file=" + c.pki("service-account.key"),
		"--root-ca-file=" + c.pki("ca.crt"),
		"--cluster-signing-cert-file=" + c.pki("ca.crt"),
		"--cluster-signing-key-file=" + c.pki("ca.key"),
		"--cluster-name=" + c.state.Name,
		"--allocate-node-cidrs",
		"--cluster-cidr=" + c.state.Index.PodNet().String(),
		"--node-cidr-mask-size=" + strconv.Itoa(c.state.Index.PodNet().Bits()),
		"--service-cluster-ip-range=" + c.state.Index.ServiceNet().String(),
	}, clientRate...)
}

func (c *Cluster) schedulerArguments() []string {
	return append([]string{
		"--kubeconfig=" + c.kubeconfig(scheduler),
		"--leader-elect=false",
		"--secure-port=0",
	}, clientRate...)
}

func (c *Cluster) kubeletArguments() []string {
	return []string{
		"--kubeconfig=" + c.kubeconfig(kubelet),
		"--config=" + c.path("etc", "kubelet.json"),
		"--root-dir=" + kubeletDir,
		"--cert-dir=" + kubeletDir + "/pki",
		"--hostname-override=" + c.nodeName(),
		"--node-ip=" + c.state.Index.NodeIP().String(),
	}
}
