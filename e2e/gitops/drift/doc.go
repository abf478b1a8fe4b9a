// Package drift holds the test of Flux' own apply and diff on a cluster with a
// controller at work; it is behind the build tag "cluster". hack/test-gitops runs it.
package drift
