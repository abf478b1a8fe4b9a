package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"novasphere.io/e2e/cluster/internal/cluster"
	"novasphere.io/e2e/cluster/internal/host"
)

// tools are the programs that tool-path builds, in the order in which it
// prints their folders.
var tools = []struct {
	name  string
	build func(context.Context, *host.Builder) (string, error)
}{
	{"kubectl", cluster.Kube},
	{"helm", cluster.Helm},
}

// toolPathCommand serves what needs kubectl or helm but no cluster. Rendering
// the chart needs helm alone, which is built in a fraction of the time that
// Kubernetes takes.
func (a *app) toolPathCommand() *cobra.Command {
	var names []string
	for _, tool := range tools {
		names = append(names, tool.name)
	}
	return &cobra.Command{
		Use:       "tool-path [tool...]",
		Short:     `Build kubectl and helm, or the one named, and print their folders: PATH="$(novacluster tool-path):$PATH"`,
		ValidArgs: names,
		Args:      cobra.OnlyValidArgs,
		RunE: func(command *cobra.Command, chosen []string) error {
			builder, err := a.builder()
			if err != nil {
				return err
			}
			var folders []string
			for _, tool := range tools {
				if len(chosen) > 0 && !slices.Contains(chosen, tool.name) {
					continue
				}
				folder, err := tool.build(command.Context(), builder)
				if err != nil {
					return err
				}
				folders = append(folders, folder)
			}
			fmt.Println(strings.Join(folders, ":"))
			return nil
		},
	}
}
