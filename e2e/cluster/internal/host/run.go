package host

import (
	"bytes"
	"fmt"
	"io"
	"os/exec"
	"strings"
)

// Output runs a command and returns what it wrote to standard output. The
// error holds the last lines of standard error. A Stderr that is already set
// stays in use.
func Output(cmd *exec.Cmd) ([]byte, error) {
	var stderr bytes.Buffer
	if cmd.Stderr == nil {
		cmd.Stderr = &stderr
	}
	return output(cmd, &stderr)
}

// OutputLines is Output, with each line of standard error given to look while
// the command runs.
func OutputLines(cmd *exec.Cmd, look func(line string)) ([]byte, error) {
	var stderr bytes.Buffer
	cmd.Stderr = io.MultiWriter(&stderr, &lines{look: look})
	return output(cmd, &stderr)
}

func output(cmd *exec.Cmd, stderr *bytes.Buffer) ([]byte, error) {
	var stdout bytes.Buffer
	cmd.Stdout = &stdout
	if err := cmd.Run(); err != nil {
		return stdout.Bytes(), fmt.Errorf("%s: %w%s", shortCommand(cmd.Args), err, tail(stderr.String(), 20))
	}
	return stdout.Bytes(), nil
}

// lines gives each whole line that is written to it to look.
type lines struct {
	look    func(string)
	partial []byte
}

func (l *lines) Write(data []byte) (int, error) {
	l.partial = append(l.partial, data...)
	for {
		line, rest, found := bytes.Cut(l.partial, []byte("\n"))
		if !found {
			return len(data), nil
		}
		l.look(string(line))
		l.partial = rest
	}
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
