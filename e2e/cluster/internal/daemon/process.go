// Package daemon starts, finds and stops the long-running programs of a
// cluster. They live in sessions of their own, so they outlast the program
// that starts them and a `timeout` around it.
package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Process names a process for good: process numbers are used again, the pair
// of number and start time is not.
type Process struct {
	Pid int `json:"pid"`
	// Start is in clock ticks since boot.
	Start uint64 `json:"start"`
}

// Find returns the process that has this number now.
func Find(pid int) (Process, error) {
	start, _, err := readStat(pid)
	return Process{Pid: pid, Start: start}, err
}

// Alive says whether it still runs; a zombie does not.
func (p Process) Alive() bool {
	if p.Pid <= 0 {
		return false
	}
	start, state, err := readStat(p.Pid)
	return err == nil && start == p.Start && state != 'Z' && state != 'X'
}

// Ending says whether it has been killed and is still being taken apart, which
// takes a while for the first process of a node. It then has no program.
func (p Process) Ending() bool {
	_, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(p.Pid), "exe"))
	return errors.Is(err, os.ErrNotExist)
}

// Signal sends a signal if the process still runs.
func (p Process) Signal(signal syscall.Signal) error {
	if !p.Alive() {
		return nil
	}
	if err := syscall.Kill(p.Pid, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
		return err
	}
	return nil
}

// Stop asks the process to end and kills it after grace.
func (p Process) Stop(ctx context.Context, grace time.Duration) error {
	if err := p.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	if p.waitGone(ctx, grace) {
		return nil
	}
	if err := p.Signal(syscall.SIGKILL); err != nil {
		return err
	}
	const killed = 10 * time.Second
	if p.waitGone(ctx, killed) {
		return nil
	}
	return fmt.Errorf("process %d did not end within %s of SIGKILL", p.Pid, killed)
}

func (p Process) waitGone(ctx context.Context, bound time.Duration) bool {
	deadline := time.Now().Add(bound)
	for p.Alive() {
		if time.Now().After(deadline) || ctx.Err() != nil {
			return false
		}
		time.Sleep(5 * time.Millisecond)
	}
	return true
}

// readStat reads the start time and the state of /proc/PID/stat. The second
// field, the name, may hold spaces and parentheses, so count from its end.
func readStat(pid int) (start uint64, state byte, err error) {
	data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0, 0, err
	}
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	const stateField, startField = 0, 19
	if len(fields) <= startField {
		return 0, 0, fmt.Errorf("/proc/%d/stat: too short", pid)
	}
	start, err = strconv.ParseUint(fields[startField], 10, 64)
	return start, fields[stateField][0], err
}

// withEnvironment lists the processes that were started with a variable
// ("NAME=value"). Processes of other users are not seen.
func withEnvironment(variable string) []Process {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var found []Process
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		environment, err := os.ReadFile(filepath.Join("/proc", entry.Name(), "environ"))
		if err != nil || !hasVariable(environment, variable) {
			continue
		}
		if process, err := Find(pid); err == nil && process.Alive() {
			found = append(found, process)
		}
	}
	return found
}

func hasVariable(environment []byte, variable string) bool {
	for entry := range bytes.SplitSeq(environment, []byte{0}) {
		if string(entry) == variable {
			return true
		}
	}
	return false
}
