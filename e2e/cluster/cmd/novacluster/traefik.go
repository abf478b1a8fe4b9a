package main

import (
	"github.com/spf13/cobra"

	"novasphere.io/e2e/cluster/internal/traefik"
)

func (a *app) traefikImageCommand() *cobra.Command {
	var name, out string
	command := &cobra.Command{
		Use:   "traefik-image",
		Short: "Make an image of Traefik, a docker archive, from its vendor's program",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			builder, err := a.builder()
			if err != nil {
				return err
			}
			return traefik.Archive(command.Context(), builder, name, out)
		},
	}
	command.Flags().StringVar(&name, "image", "localhost/traefik:e2e", "name and tag of the image")
	command.Flags().StringVar(&out, "out", "target/images/traefik.tar", "where to write the archive")
	return command
}
