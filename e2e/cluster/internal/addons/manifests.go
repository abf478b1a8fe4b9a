package addons

import (
	"bytes"
	_ "embed"
	"net/netip"
	"text/template"
)

// KubeletClient is the user as which kube-apiserver calls the kubelet.
const KubeletClient = "kube-apiserver-kubelet-client"

// Base are the values of the manifests for a cluster with a node.
type Base struct {
	ClusterDomain string
	DNSServiceIP  netip.Addr
}

// CSI are the objects of storage with snapshots. The CRDs of snapshots must be
// there.
//
//go:embed manifests/csi.yaml
var CSI []byte

//go:embed manifests/base.yaml
var baseTemplate string

// Manifests renders the objects.
func (base Base) Manifests() ([]byte, error) {
	parsed, err := template.New("base").Option("missingkey=error").Parse(baseTemplate)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = parsed.Execute(&out, struct {
		Base
		KubeletClient, CoreDNSImage string
	}{base, KubeletClient, coreDNSImage})
	return out.Bytes(), err
}
