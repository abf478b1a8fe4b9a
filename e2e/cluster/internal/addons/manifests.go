package addons

import (
	"bytes"
	_ "embed"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"text/template"
)

// KubeletClient is the user as which kube-apiserver calls the kubelet.
const KubeletClient = "kube-apiserver-kubelet-client"

// volumeCount is the size of the pool of local volumes.
const volumeCount = 32

// Base are the values of the manifests for a cluster with a node.
type Base struct {
	ClusterDomain string
	DNSServiceIP  netip.Addr
	NodeName      string
	// VolumesDir is where the folders of the local volumes are made.
	VolumesDir string
}

//go:embed manifests/base.yaml
var baseTemplate string

type volume struct{ Name, Path string }

// Manifests renders the objects and makes the folders of the volumes.
func (base Base) Manifests() ([]byte, error) {
	var volumes []volume
	for i := range volumeCount {
		name := fmt.Sprintf("local-%02d", i+1)
		path := filepath.Join(base.VolumesDir, name)
		if err := os.MkdirAll(path, 0o777); err != nil {
			return nil, err
		}
		volumes = append(volumes, volume{name, path})
	}
	parsed, err := template.New("base").Option("missingkey=error").Parse(baseTemplate)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = parsed.Execute(&out, struct {
		Base
		KubeletClient, CoreDNSImage string
		Volumes                     []volume
	}{base, KubeletClient, coreDNSImage, volumes})
	return out.Bytes(), err
}
