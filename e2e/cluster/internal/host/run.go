package host

import (
	"bytes"
	"fmt"
	"os/exec"
	"strings"
)

// Output runs a command and returns what it wrote to standard output. The
// error holds the last lines of standard error. A Stderr that is already set
// stays in use.
func Output(cmd *exec.Cmd) ([]byte, error) {
	var stdout, stderr bytes.Buffer
	cmd.Stdout = &stdout
	if cmd.Stderr == nil {
		cmd.Stderr = &stderr
	}
	if err := cmd.Run(); err != nil {
		return stdout.Bytes(), fmt.Errorf("%s: %w%s", shortCommand(cmd.Args), err, tail(stderr.String(), 20))
	}
	return stdout.Bytes(), nil
}

func shortCommand(args []string) string {
	const longest = 200
	text := strings.Join(args, " ")
	if len(text) > longest {
		text = text[:longest] + "…"
	}
	return text
}

func tail(text string, lines int) string {
	text = strings.TrimSpace(text)
	if text == "" {
		return ""
	}
	all := strings.Split(text, "\n")
	if len(all) > lines {
		all = all[len(all)-lines:]
	}
	return "\n" + strings.Join(all, "\n")
}
