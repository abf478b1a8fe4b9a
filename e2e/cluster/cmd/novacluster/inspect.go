package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"novasphere.io/e2e/cluster/internal/cluster"
	"novasphere.io/e2e/cluster/internal/daemon"
	"novasphere.io/e2e/cluster/internal/host"
)

func (a *app) statusCommand() *cobra.Command {
	var output string
	command := &cobra.Command{
		Use:   "status",
		Short: "Show the cluster and its parts; status 1 when there is none",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			c, err := a.existing()
			if err != nil {
				return err
			}
			switch output {
			case "text":
				c.Status().Print(os.Stdout)
				return nil
			case "json":
				encoder := json.NewEncoder(os.Stdout)
				encoder.SetIndent("", "  ")
				return encoder.Encode(c.Status())
			}
			return fmt.Errorf("--output %q: use text or json", output)
		},
	}
	command.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	return command
}

func (a *app) kubeconfigCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "kubeconfig",
		Short: "Print the path of the administrator's kubeconfig",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			c, err := a.existing()
			if err != nil {
				return err
			}
			fmt.Println(c.Status().Kubeconfig)
			return nil
		},
	}
}

func (a *app) envCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "env",
		Short: `Print shell code for this cluster: eval "$(novacluster env)"`,
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			handle, err := a.handleWithHelm(command.Context())
			if err != nil {
				return err
			}
			for _, variable := range handle.Env() {
				name, value, _ := strings.Cut(variable, "=")
				fmt.Printf("export %s=%s\n", name, quote(value))
			}
			fmt.Printf("export PATH=%s:\"$PATH\"\n", quote(strings.Join(handle.ToolDirs(), ":")))
			return nil
		},
	}
}

// quote makes a word of the POSIX shell.
func quote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

func (a *app) logsCommand() *cobra.Command {
	var follow bool
	var lines int
	command := &cobra.Command{
		Use:       "logs PART",
		Short:     "Show the log of a part: " + strings.Join(cluster.AllParts(), ", "),
		ValidArgs: cluster.AllParts(),
		Args:      cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, arguments []string) error {
			c, err := a.existing()
			if err != nil {
				return err
			}
			file := daemon.LogFile(c.Dir(), filepath.Base(arguments[0]))
			if _, err := os.Stat(file); err != nil {
				return fmt.Errorf("there is no log of %q in this cluster; the parts are %s", arguments[0], strings.Join(c.Parts(), ", "))
			}
			count := "+1"
			if lines >= 0 {
				count = strconv.Itoa(lines)
			}
			command := []string{"tail", "--lines=" + count}
			if follow {
				command = append(command, "--follow=name")
			}
			return replaceBy(append(command, "--", file), os.Environ())
		},
	}
	command.Flags().BoolVarP(&follow, "follow", "f", false, "go on with what is added")
	command.Flags().IntVar(&lines, "tail", -1, "only the last lines; -1 is all")
	return command
}

// replaceBy turns this process into a program, so that signals, input and the
// status are the program's own.
func replaceBy(command, environment []string) error {
	path, err := exec.LookPath(command[0])
	if err != nil {
		return err
	}
	return fmt.Errorf("%s: %w", path, unix.Exec(path, command, environment))
}

func replaceByCommand(command *exec.Cmd) error {
	return replaceBy(slices.Concat([]string{command.Path}, command.Args[1:]), command.Env)
}

func (a *app) builder() (*host.Builder, error) { return host.NewBuilder(a.progress) }
