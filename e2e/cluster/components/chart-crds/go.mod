// Pins the modules that the definitions of kinds are taken from of which the
// chart alone makes objects, and only where its values ask for them (see
// ../../internal/crds). Their YAML is read out of the module cache, so nothing is
// built, and there is no `go mod tidy` here. Of the module of Prometheus' operator
// that has its YAML no newer version is served; the kinds that the chart makes
// are v1 there.
module novasphere.io/e2e/chart-crds

go 1.26.0

require (
	github.com/cert-manager/cert-manager v1.21.2
	github.com/prometheus-operator/prometheus-operator v0.85.0
	k8s.io/autoscaler/vertical-pod-autoscaler v1.8.1
)
