package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"novasphere.io/e2e/cluster/internal/api"
	"novasphere.io/e2e/cluster/internal/console"
)

func (a *app) consoleCommand() *cobra.Command {
	var until, send string
	var timeout time.Duration
	command := &cobra.Command{
		Use:   "console NAMESPACE/NAME --until TEXT",
		Short: "Print the serial console of a virtual machine until a text appears",
		Long: `Prints what the guest writes to its serial console until TEXT appears. A machine
that does not run yet is waited for. KubeVirt does not repeat what was written
before, so attach before the boot, or type something: --send '' types a newline.
Whoever has the console open is cut.`,
		Args: cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, arguments []string) error {
			namespace, name, found := strings.Cut(arguments[0], "/")
			if !found {
				return fmt.Errorf("%q: want NAMESPACE/NAME", arguments[0])
			}
			c, err := a.existing()
			if err != nil {
				return err
			}
			credentials, err := api.ReadKubeconfig(c.Handle("").Kubeconfig())
			if err != nil {
				return err
			}
			session := console.Session{Credentials: credentials, Namespace: namespace, Name: name, Out: os.Stdout}
			if command.Flags().Changed("send") {
				session.Send = send + "\n"
			}
			ctx, cancel := context.WithTimeout(command.Context(), timeout)
			defer cancel()
			return session.Until(ctx, until)
		},
	}
	command.Flags().StringVar(&until, "until", "", "text to wait for")
	command.Flags().StringVar(&send, "send", "", "line to type at first")
	command.Flags().DurationVar(&timeout, "timeout", 2*time.Minute, "longest time to wait")
	if err := command.MarkFlagRequired("until"); err != nil {
		panic(err)
	}
	return command
}
