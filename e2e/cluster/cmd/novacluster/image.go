package main

import (
	"github.com/spf13/cobra"

	"novasphere.io/e2e/cluster/internal/program"
)

func (a *app) imageCommand() *cobra.Command {
	var binary, name, out string
	command := &cobra.Command{
		Use:   "image",
		Short: "Make the image of the novasphere program, a docker archive, without a container engine",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			builder, err := a.builder()
			if err != nil {
				return err
			}
			return program.Archive(command.Context(), builder, binary, name, out)
		},
	}
	command.Flags().StringVar(&binary, "binary", "target/debug/novasphere", "the program")
	command.Flags().StringVar(&name, "image", "localhost/novasphere:dev", "name and tag of the image")
	command.Flags().StringVar(&out, "out", "target/images/novasphere.tar", "where to write the archive")
	return command
}
