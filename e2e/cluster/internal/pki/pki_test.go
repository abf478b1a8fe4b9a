package pki

import (
	"crypto/tls"
	"crypto/x509"
	"path/filepath"
	"testing"
)

func TestLeafVerifiesAfterReopen(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(dir, "ca"); err != nil {
		t.Fatal(err)
	}
	authority, err := Open(dir, "ca")
	if err != nil {
		t.Fatal(err)
	}
	if err := authority.Issue(Leaf{Name: "server", CommonName: "server", Hosts: []string{"localhost", "10.99.1.1"}}); err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "server.crt"), filepath.Join(dir, "server.key"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(authority.certificate)
	for _, name := range []string{"localhost", "10.99.1.1"} {
		if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: name}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: "10.99.1.2"}); err == nil {
		t.Error("a host that is not listed was accepted")
	}
}
