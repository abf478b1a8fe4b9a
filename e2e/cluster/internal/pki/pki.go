// Package pki makes the certificates of a cluster: two authorities (cluster
// and front proxy) and the leaves that they sign.
package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// validity is far longer than a test bed lives.
const validity = 365 * 24 * time.Hour

// Leaf is a certificate to make.
type Leaf struct {
	// Name is the file name without ".crt" and ".key".
	Name          string
	CommonName    string
	Organizations []string
	// Hosts are DNS names and IP addresses. A leaf with hosts may serve; every
	// leaf may be a client.
	Hosts []string
}

// Authority signs leaves and keeps its files in a folder.
type Authority struct {
	dir         string
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// Open reads the authority <dir>/<name>.crt and .key, or makes it.
func Open(dir, name string) (*Authority, error) {
	certificate, key, err := load(filepath.Join(dir, name))
	if err == nil {
		return &Authority{dir, certificate, key}, nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("certificate authority %s: %w", name, err)
	}
	template, err := newTemplate(pkix.Name{CommonName: "novacluster-" + name})
	if err != nil {
		return nil, err
	}
	template.IsCA = true
	template.BasicConstraintsValid = true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
	if key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	if certificate, err = x509.ParseCertificate(der); err != nil {
		return nil, err
	}
	return &Authority{dir, certificate, key}, save(filepath.Join(dir, name), der, key)
}

// Issue makes the leaf's .crt and .key files, replacing older ones.
func (a *Authority) Issue(leaf Leaf) error {
	template, err := newTemplate(pkix.Name{CommonName: leaf.CommonName, Organization: leaf.Organizations})
	if err != nil {
		return err
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if len(leaf.Hosts) > 0 {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	for _, host := range leaf.Hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, &key.PublicKey, a.key)
	if err != nil {
		return fmt.Errorf("certificate %s: %w", leaf.Name, err)
	}
	return save(filepath.Join(a.dir, leaf.Name), der, key)
}

// EnsureKeyPair makes <name>.key and <name>.pub unless they exist: the keys
// that sign and check ServiceAccount tokens.
func EnsureKeyPair(dir, name string) error {
	path := filepath.Join(dir, name)
	if _, err := os.Stat(path + ".pub"); err == nil {
		return nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return err
	}
	if err := writeKey(path+".key", key); err != nil {
		return err
	}
	return writePEM(path+".pub", "PUBLIC KEY", public, 0o644)
}

func newTemplate(subject pkix.Name) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: serial, Subject: subject,
		// A little back, for clocks that step.
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(validity),
	}, nil
}

func load(path string) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	der, err := readPEM(path + ".crt")
	if err != nil {
		return nil, nil, err
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, err
	}
	if der, err = readPEM(path + ".key"); err != nil {
		return nil, nil, err
	}
	key, err := x509.ParseECPrivateKey(der)
	return certificate, key, err
}

func save(path string, der []byte, key *ecdsa.PrivateKey) error {
	if err := writeKey(path+".key", key); err != nil {
		return err
	}
	return writePEM(path+".crt", "CERTIFICATE", der, 0o644)
}

func writeKey(path string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return writePEM(path, "EC PRIVATE KEY", der, 0o600)
}

func writePEM(path, kind string, der []byte, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), mode)
}

func readPEM(path string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("%s: not a PEM file", path)
	}
	return block.Bytes, nil
}
