package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"novasphere.io/e2e/cluster/internal/cluster"
)

// toolPathCommand serves what needs kubectl and helm but no cluster, such as
// rendering a chart.
func (a *app) toolPathCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "tool-path",
		Short: `Build kubectl and helm and print their folders: PATH="$(novacluster tool-path):$PATH"`,
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			builder, err := a.builder()
			if err != nil {
				return err
			}
			kube, err := cluster.Kube(command.Context(), builder)
			if err != nil {
				return err
			}
			helm, err := cluster.Helm(command.Context(), builder)
			if err != nil {
				return err
			}
			fmt.Println(kube + ":" + helm)
			return nil
		},
	}
}
