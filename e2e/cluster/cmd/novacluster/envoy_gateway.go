package main

import (
	"github.com/spf13/cobra"

	"novasphere.io/e2e/cluster/internal/envoygateway"
)

func (a *app) envoyGatewayCommand() *cobra.Command {
	var gateway, proxy, out string
	command := &cobra.Command{
		Use:   "envoy-gateway",
		Short: "Make what an Envoy Gateway is installed from: a docker archive with its images, and its chart",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			builder, err := a.builder()
			if err != nil {
				return err
			}
			return envoygateway.Files(command.Context(), builder, gateway, proxy, out)
		},
	}
	command.Flags().StringVar(&gateway, "image", "localhost/envoy-gateway:e2e", "name and tag of the image of Envoy Gateway")
	command.Flags().StringVar(&proxy, "proxy-image", "localhost/envoy:e2e", "name and tag of the image of its proxy")
	command.Flags().StringVar(&out, "out", "target/envoy-gateway", "folder for images.tar and chart/")
	return command
}
