package main

import (
	"bytes"
	"fmt"
	"os/exec"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// chain is the chain of this program in the table mangle, which packets pass
// when kube-proxy has put the address of a Pod in the place of a Service's.
const chain = "NOVACLUSTER-POLICY"

const table = "mangle"

// redirect is how packets get to the queue.
type redirect struct {
	bridge, trusted string
	queue           int
}

// entries lead into the chain: what passes through the node, and what its own
// Pods send to the node itself.
func (r redirect) entries() [][]string {
	return [][]string{
		{"FORWARD", "-j", chain},
		{"INPUT", "-i", r.bridge, "-j", chain},
	}
}

// rules are those of the chain.
func (r redirect) rules(kernel [2]int) [][]string {
	rules := [][]string{
		// A connection is looked at once, as docs of NetworkPolicy have it.
		{"-m", "conntrack", "!", "--ctstate", "NEW", "-j", "RETURN"},
	}
	if r.trusted != "" {
		rules = append(rules, []string{"-s", r.trusted, "-j", "RETURN"})
	}
	// Before Linux 6.12, of two queries of one resolver at the same time one
	// was lost on its way back from the queue:
	// https://bugzilla.netfilter.org/show_bug.cgi?id=1766
	if kernel[0] < 6 || kernel[0] == 6 && kernel[1] < 12 {
		rules = append(rules, []string{"-p", "udp", "--dport", "53", "-j", "RETURN"})
	}
	// With nobody at the queue packets pass: a program that has ended breaks
	// the tests of policies alone, and not the whole cluster.
	return append(rules, []string{"-j", "NFQUEUE", "--queue-num", strconv.Itoa(r.queue), "--queue-bypass"})
}

// install makes the chain. What a killed process left goes first.
func (r redirect) install() error {
	r.remove()
	kernel, err := kernelVersion()
	if err != nil {
		return err
	}
	if err := iptables("-N", chain); err != nil {
		return err
	}
	for _, rule := range r.rules(kernel) {
		if err := iptables(append([]string{"-A", chain}, rule...)...); err != nil {
			return err
		}
	}
	for _, entry := range r.entries() {
		if err := iptables(append([]string{"-A"}, entry...)...); err != nil {
			return err
		}
	}
	return nil
}

// remove takes the chain away. It is no error when it is not there.
func (r redirect) remove() {
	for _, entry := range r.entries() {
		for iptables(append([]string{"-D"}, entry...)...) == nil {
		}
	}
	_ = iptables("-F", chain)
	_ = iptables("-X", chain)
}

// iptables changes the table, and waits for others that do.
func iptables(arguments ...string) error {
	cmd := exec.Command("iptables", append([]string{"--wait", "10", "--table", table}, arguments...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("iptables %s: %w: %s", strings.Join(arguments, " "), err, strings.TrimSpace(stderr.String()))
	}
	return nil
}

// kernelVersion is the first two numbers of the kernel's release.
func kernelVersion() ([2]int, error) {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return [2]int{}, err
	}
	return parseKernel(unix.ByteSliceToString(name.Release[:]))
}

func parseKernel(release string) ([2]int, error) {
	var version [2]int
	if _, err := fmt.Sscanf(release, "%d.%d", &version[0], &version[1]); err != nil {
		return version, fmt.Errorf("the release of the kernel, %q, does not begin with two numbers: %w", release, err)
	}
	return version, nil
}
