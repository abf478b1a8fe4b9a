// Package api is a small client of kube-apiserver for the waits of the test
// bed: starting kubectl for each look would cost more than what is waited for.
package api

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// Client calls with the administrator's certificate.
type Client struct {
	server string
	http   *http.Client
}

// New reads ca.crt, admin.crt and admin.key from the folder pki.
func New(server, pki string) (*Client, error) {
	pair, err := tls.LoadX509KeyPair(filepath.Join(pki, "admin.crt"), filepath.Join(pki, "admin.key"))
	if err != nil {
		return nil, err
	}
	ca, err := os.ReadFile(filepath.Join(pki, "ca.crt"))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("%s/ca.crt holds no certificate", pki)
	}
	transport := &http.Transport{
		TLSClientConfig:     &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}},
		TLSHandshakeTimeout: 5 * time.Second,
	}
	return &Client{server, &http.Client{Transport: transport, Timeout: 10 * time.Second}}, nil
}

// Get reads a path. into may be nil, else it receives the JSON of a 200.
func (c *Client) Get(ctx context.Context, path string, into any) (status int, body string, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.server+path, nil)
	if err != nil {
		return 0, "", err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		return response.StatusCode, "", err
	}
	if into != nil && response.StatusCode == http.StatusOK {
		err = json.Unmarshal(data, into)
	}
	return response.StatusCode, string(data), err
}
