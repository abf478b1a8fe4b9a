package daemon

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Markers in the environment of every daemon: they identify the daemons of a
// cluster even when the record of their process numbers was never written.
const (
	clusterMarker = "NOVACLUSTER_DIR="
	launchMarker  = "NOVACLUSTER_LAUNCH="
)

// Spec says how to start a daemon.
type Spec struct {
	// Part is its name; the files of the daemon are called after it.
	Part string
	// Dir is the folder of the cluster.
	Dir  string
	Path string
	Args []string
	Env  []string
	// Namespaces is the process whose namespaces the daemon enters; 0 = none.
	Namespaces int
}

// LogFile is where a part's output goes.
func LogFile(dir, part string) string { return filepath.Join(dir, "logs", part+".log") }

func recordFile(dir, part string) string { return filepath.Join(dir, "parts", part+".json") }

// Start starts the daemon and records its process.
func Start(ctx context.Context, spec Spec) (Process, error) {
	process, err := launch(ctx, spec)
	if err != nil {
		return Process{}, fmt.Errorf("start %s: %w (see %s)", spec.Part, err, LogFile(spec.Dir, spec.Part))
	}
	data, err := json.Marshal(process)
	if err != nil {
		return Process{}, err
	}
	record := recordFile(spec.Dir, spec.Part)
	if err := os.MkdirAll(filepath.Dir(record), 0o755); err != nil {
		return Process{}, err
	}
	return process, os.WriteFile(record, data, 0o644)
}

func launch(ctx context.Context, spec Spec) (Process, error) {
	path := LogFile(spec.Dir, spec.Part)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return Process{}, err
	}
	log, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return Process{}, err
	}
	defer log.Close()
	id, err := launchID()
	if err != nil {
		return Process{}, err
	}
	cmd := exec.Command(spec.Path, spec.Args...)
	if spec.Namespaces != 0 {
		// setsid --fork: its parent and nsenter end at once, and the daemon
		// becomes a child of the namespace's first process, which reaps it.
		args := append(NsenterArgs(spec.Namespaces), "setsid", "--fork", spec.Path)
		cmd = exec.CommandContext(ctx, "nsenter", append(args, spec.Args...)...)
	}
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(append(Environment(spec.Dir), launchMarker+id), spec.Env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if spec.Namespaces == 0 {
		return startHere(cmd)
	}
	if err := cmd.Run(); err != nil {
		return Process{}, err
	}
	return findLaunched(ctx, id)
}

// findLaunched looks for the daemon, whose process number is known only in its
// namespace. In the middle of an exec a process shows no environment, so it
// looks again.
func findLaunched(ctx context.Context, id string) (Process, error) {
	const bound = 2 * time.Second
	deadline := time.Now().Add(bound)
	for {
		// The children of the daemon inherit the marker; the daemon is the oldest.
		var daemon Process
		for _, process := range withEnvironment(launchMarker + id) {
			if daemon.Pid == 0 || process.Start < daemon.Start || process.Start == daemon.Start && process.Pid < daemon.Pid {
				daemon = process
			}
		}
		if daemon.Pid != 0 {
			return daemon, nil
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			return Process{}, errors.New("it ended at once")
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func startHere(cmd *exec.Cmd) (Process, error) {
	if err := cmd.Start(); err != nil {
		return Process{}, err
	}
	process, err := Find(cmd.Process.Pid)
	// Reaps it if it ends while this program still runs.
	go func() { _ = cmd.Wait() }()
	return process, err
}

// NsenterArgs are the arguments of nsenter for all namespaces of a process.
func NsenterArgs(pid int) []string {
	return []string{"--target", strconv.Itoa(pid), "--net", "--mount", "--uts", "--ipc", "--pid", "--"}
}

// Environment is all that a process of the cluster in dir gets: not the user's
// own environment, whose proxies and credentials would change what it does.
func Environment(dir string) []string {
	return []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", clusterMarker + dir}
}

func launchID() (string, error) {
	id := make([]byte, 16)
	if _, err := rand.Read(id); err != nil {
		return "", err
	}
	return hex.EncodeToString(id), nil
}

// Recorded returns the process that was started last for a part.
func Recorded(dir, part string) (Process, bool) {
	var process Process
	data, err := os.ReadFile(recordFile(dir, part))
	if err != nil || json.Unmarshal(data, &process) != nil {
		return Process{}, false
	}
	return process, true
}

// KillAll kills every process that was started for the cluster in dir, also
// those of which no record was written, and waits until they are gone. The
// first process of a node is gone only after all others of the node.
func KillAll(ctx context.Context, dir string) error {
	const bound = 20 * time.Second
	deadline := time.Now().Add(bound)
	seen := map[Process]bool{}
	for quiet := 0; ; {
		// A process that is ending or in the middle of an exec shows no
		// environment: remember those once seen, and look twice for others.
		for _, process := range withEnvironment(clusterMarker + dir) {
			seen[process] = true
		}
		maps.DeleteFunc(seen, func(process Process, _ bool) bool { return !process.Alive() })
		if quiet++; len(seen) > 0 {
			quiet = 0
		}
		if quiet == 2 {
			return nil
		}
		for process := range seen {
			if time.Now().After(deadline) || ctx.Err() != nil {
				return fmt.Errorf("%d processes of %s, one of them %d, did not end within %s", len(seen), dir, process.Pid, bound)
			}
			if err := process.Signal(syscall.SIGKILL); err != nil {
				return fmt.Errorf("kill process %d: %w", process.Pid, err)
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// CloseOnExec keeps file descriptors from first on from the daemons: a pipe of
// the caller that a daemon holds open would never reach its end.
func CloseOnExec(first uint) error {
	if err := unix.CloseRange(first, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return fmt.Errorf("close file descriptors on exec: %w", err)
	}
	return nil
}
