// Command kvgen prints KubeVirt's own manifests as one JSON List, made by the
// functions that KubeVirt's release process uses, so that no copy of them is
// kept here. encoding/json is used on purpose: KubeVirt's tools/util
// MarshallObject turns `default: ""` of a CRD schema into null.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
)

const usage = `usage:
  kvgen operator --namespace NS --registry REGISTRY --tag TAG
        everything that installs virt-operator: Namespace, PriorityClass,
        KubeVirt CRD, RBAC, Deployment
  kvgen crds
        all CRDs of KubeVirt, for clusters that need only the API
`

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "kvgen:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("no command given\n%s", usage)
	}
	var items []any
	var err error
	switch args[0] {
	case "operator":
		items, err = operatorFromFlags(args[1:])
	case "crds":
		items, err = crds()
	default:
		return fmt.Errorf("unknown command %q\n%s", args[0], usage)
	}
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]any{
		"apiVersion": "v1",
		"kind":       "List",
		"items":      items,
	})
}

func operatorFromFlags(args []string) ([]any, error) {
	flags := flag.NewFlagSet("operator", flag.ContinueOnError)
	namespace := flags.String("namespace", "kubevirt", "namespace to install KubeVirt into")
	registry := flags.String("registry", "", "prefix of the image names")
	tag := flags.String("tag", "", "tag of all images")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	if *registry == "" || *tag == "" {
		return nil, fmt.Errorf("operator needs --registry and --tag")
	}
	return operator(*namespace, *registry, *tag)
}
