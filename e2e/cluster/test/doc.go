// Package test tries the test bed itself on a cluster of its own:
//
//	go test -tags cluster ./test
//
// It needs root and all that `novacluster up --csi` needs.
package test
