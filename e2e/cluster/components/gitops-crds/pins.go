// Package crds imports the API types that a CRD is made from.
package crds

import _ "github.com/fluxcd/helm-controller/api/v2"
