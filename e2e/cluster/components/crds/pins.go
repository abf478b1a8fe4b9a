// Package crds imports one small package of each pinned module, only so that
// `go mod tidy` keeps the pin: the CRDs are files beside the code.
package crds

import (
	_ "github.com/kong/kubernetes-configuration/api/configuration/v1"
	_ "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	_ "github.com/traefik/traefik/v3/pkg/ip"
	_ "kubevirt.io/containerized-data-importer-api/pkg/apis/core/v1beta1"
	_ "sigs.k8s.io/gateway-api/apis/v1"
)
