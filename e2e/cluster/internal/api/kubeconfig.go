package api

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"time"
)

// Credentials are the server and the TLS settings of a kubeconfig.
type Credentials struct {
	Server string
	TLS    *tls.Config
}

// kubeconfig is the part that novacluster writes: JSON, one cluster, one user.
type kubeconfig struct {
	Clusters []struct {
		Cluster struct {
			Server string `json:"server"`
			CA     []byte `json:"certificate-authority-data"`
		} `json:"cluster"`
	} `json:"clusters"`
	Users []struct {
		User struct {
			Certificate []byte `json:"client-certificate-data"`
			Key         []byte `json:"client-key-data"`
		} `json:"user"`
	} `json:"users"`
}

// ReadKubeconfig reads a kubeconfig that novacluster wrote.
func ReadKubeconfig(path string) (Credentials, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Credentials{}, err
	}
	var config kubeconfig
	if err := json.Unmarshal(data, &config); err != nil || len(config.Clusters) != 1 || len(config.Users) != 1 {
		return Credentials{}, fmt.Errorf("%s is not a kubeconfig written by novacluster (JSON with one cluster and one user)", path)
	}
	cluster, user := config.Clusters[0].Cluster, config.Users[0].User
	pair, err := tls.X509KeyPair(user.Certificate, user.Key)
	if err != nil {
		return Credentials{}, fmt.Errorf("%s: %w", path, err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(cluster.CA) {
		return Credentials{}, fmt.Errorf("%s holds no certificate authority", path)
	}
	return Credentials{
		Server: cluster.Server,
		TLS:    &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}},
	}, nil
}

// FromKubeconfig makes a client with the credentials of a kubeconfig that
// novacluster wrote.
func FromKubeconfig(path string) (*Client, error) {
	credentials, err := ReadKubeconfig(path)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{TLSClientConfig: credentials.TLS, TLSHandshakeTimeout: 5 * time.Second}
	return &Client{credentials.Server, &http.Client{Transport: transport, Timeout: 10 * time.Second}}, nil
}
