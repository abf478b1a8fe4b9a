package main

import (
	"context"
	"fmt"
	"os"

	"novasphere.io/e2e/cluster/internal/crds"
	"novasphere.io/e2e/cluster/internal/guest"
	"novasphere.io/e2e/cluster/internal/host"
	"novasphere.io/e2e/cluster/internal/kubevirt"
)

func main() {
	b, err := host.NewBuilder(host.NewProgress(os.Stderr))
	if err != nil {
		panic(err)
	}
	fmt.Println(guest.Archive(context.Background(), b))
	fmt.Println(kubevirt.Archive(context.Background(), b))
	for _, n := range crds.Names() {
		fmt.Println(crds.Dir(context.Background(), b, n))
	}
}
