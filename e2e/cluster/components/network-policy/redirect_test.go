package main

import (
	"slices"
	"strings"
	"testing"
)

func text(rules [][]string) []string {
	var lines []string
	for _, rule := range rules {
		lines = append(lines, strings.Join(rule, " "))
	}
	return lines
}

func TestOnlyNewConnectionsOfOthersAreQueued(t *testing.T) {
	rules := text(redirect{bridge: "cni0", trusted: "10.99.1.2", queue: 7}.rules([2]int{6, 12}))
	want := []string{
		"-m conntrack ! --ctstate NEW -j RETURN",
		"-s 10.99.1.2 -j RETURN",
		"-j NFQUEUE --queue-num 7 --queue-bypass",
	}
	if !slices.Equal(rules, want) {
		t.Errorf("%q", rules)
	}
}

func TestOldKernelsLoseNoQuery(t *testing.T) {
	const exempt = "-p udp --dport 53 -j RETURN"
	for kernel, expected := range map[[2]int]bool{
		{5, 15}: true, {6, 1}: true, {6, 11}: true, {6, 12}: false, {7, 0}: false,
	} {
		if slices.Contains(text(redirect{}.rules(kernel)), exempt) != expected {
			t.Errorf("%v: %v expected", kernel, expected)
		}
	}
}

func TestReleasesOfKernels(t *testing.T) {
	for release, expected := range map[string][2]int{
		"6.1.0-13-amd64": {6, 1}, "6.18.44-x": {6, 18}, "7.0": {7, 0},
	} {
		if version, err := parseKernel(release); err != nil || version != expected {
			t.Errorf("%s: %v %v", release, version, err)
		}
	}
	if _, err := parseKernel("linux"); err == nil {
		t.Error("taken")
	}
}
