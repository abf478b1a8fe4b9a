package cluster

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"strings"

	"novasphere.io/e2e/cluster/internal/host"
)

// KubernetesVariable names the environment variable that chooses a version.
const KubernetesVariable = "NOVACLUSTER_KUBERNETES"

// kubernetesRelease is a version of Kubernetes that the test bed can be made of.
type kubernetesRelease struct {
	version string
	// module is the file of its dependencies, relative to e2e/cluster; empty for components/kube/go.mod. Its sums lie beside it.
	module string
}

// kubernetesReleases are all of them. A new one needs a module file: that of components/kube with other versions, by
// `go mod tidy -modfile=../kubernetes/VERSION.mod` in that folder.
var kubernetesReleases = []kubernetesRelease{
	{version: "1.35.4"},
	{version: "1.36.3", module: "components/kubernetes/1.36.3.mod"},
	{version: "1.37.2", module: "components/kubernetes/1.37.2.mod"},
}

// defaultKubernetes is the version that is taken when KubernetesVariable is not set.
const defaultKubernetes = "1.37.2"

// kubernetes finds the release of a version, or of a minor version: "1.37".
func kubernetes(wanted string) (kubernetesRelease, error) {
	var known []string
	for _, release := range kubernetesReleases {
		minor := release.version[:strings.LastIndex(release.version, ".")]
		if wanted == release.version || wanted == minor {
			return release, nil
		}
		known = append(known, release.version)
	}
	return kubernetesRelease{}, fmt.Errorf("%s=%q: the test bed has no such Kubernetes; use one of %s", KubernetesVariable, wanted, strings.Join(known, ", "))
}

// Kube builds the programs of Kubernetes.
func Kube(ctx context.Context, b *host.Builder) (string, error) {
	release, err := kubernetes(cmp.Or(os.Getenv(KubernetesVariable), defaultKubernetes))
	if err != nil {
		return "", err
	}
	return b.Go(ctx, release.build())
}

// build says how. It is part of the key in the cache.
func (r kubernetesRelease) build() host.GoBuild {
	const server, client = "k8s.io/component-base/version.", "k8s.io/client-go/pkg/version."
	numbers := strings.Split(r.version, ".")
	build := host.GoBuild{
		Name: "kube", Dir: "components/kube", Out: "kube",
		Links: append(AllProgramsOfKube(), "kubectl"),
		Ldflags: fmt.Sprintf("-X %[1]sgitVersion=v%[3]s -X %[1]sgitMajor=%[4]s -X %[1]sgitMinor=%[5]s -X %[2]sgitVersion=v%[3]s",
			server, client, r.version, numbers[0], numbers[1]),
	}
	if r.module != "" {
		// Relative to Dir, in which the compiler runs.
		build.Env = []string{"GOFLAGS=-modfile=../../" + r.module}
		build.Inputs = []string{r.module, r.sums()}
	}
	return build
}

// sums is the file that Go reads beside the module file.
func (r kubernetesRelease) sums() string { return strings.TrimSuffix(r.module, ".mod") + ".sum" }
