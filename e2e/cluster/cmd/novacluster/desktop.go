package main

import (
	"strings"

	"github.com/spf13/cobra"

	"novasphere.io/e2e/cluster/internal/desktop"
)

func (a *app) desktopImageCommand() *cobra.Command {
	var variant, probe, name, out string
	command := &cobra.Command{
		Use:   "desktop-image",
		Short: "Make a desktop image, a docker archive, without a container engine",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			builder, err := a.builder()
			if err != nil {
				return err
			}
			if name == "" {
				name = "localhost/novasphere-" + variant + ":dev"
			}
			if out == "" {
				out = "target/images/" + variant + ".tar"
			}
			return desktop.Archive(command.Context(), builder, variant, probe, name, out)
		},
	}
	command.Flags().StringVar(&variant, "variant", desktop.Variants[0], strings.Join(desktop.Variants, " or "))
	command.Flags().StringVar(&probe, "probe", "target/debug/novasphere-probe", "the program novasphere-probe")
	command.Flags().StringVar(&name, "image", "", `name and tag of the image (default "localhost/novasphere-VARIANT:dev")`)
	command.Flags().StringVar(&out, "out", "", `where to write the archive (default "target/images/VARIANT.tar")`)
	return command
}
