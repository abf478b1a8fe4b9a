package cluster

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"novasphere.io/e2e/cluster/internal/host"
)

// networkPolicy is the part that enforces NetworkPolicies. The CNI plug-in of
// the node, bridge, knows none.
const networkPolicy = "network-policy"

// policyQueue is the number of the kernel's queue that the part answers. Queues
// belong to the network namespace of the node.
const policyQueue = 100

func (c *Cluster) hasNetworkPolicy() bool { return c.state.NetworkPolicy != "" }

func (c *Cluster) networkPolicyArguments() []string {
	return []string{
		"--kubeconfig=" + c.kubeconfig("admin"),
		"--bridge=" + podBridge,
		// Programs of tests run on this machine, as agents run on a node.
		"--trusted=" + c.state.Index.Gateway().String(),
		"--queue=" + strconv.Itoa(policyQueue),
	}
}

// upNetworkPolicy adds the part to a node that runs.
func (c *Cluster) upNetworkPolicy(ctx context.Context, needed programs, timeout time.Duration) error {
	done := c.progress.Step("NetworkPolicies")
	if !c.hasNetworkPolicy() {
		c.state.NetworkPolicy = needed.networkPolicy
		if err := c.save(); err != nil {
			return err
		}
	}
	if err := c.Start(ctx, networkPolicy, timeout); err != nil {
		return err
	}
	done()
	return nil
}

// waitPolicyQueue waits until the part answers the queue: it then knows the
// policies, and its rules lead packets there.
func (c *Cluster) waitPolicyQueue(ctx context.Context, timeout time.Duration) error {
	file := filepath.Join("/proc", strconv.Itoa(c.state.Node.Pid), "net/netfilter/nfnetlink_queue")
	return host.Wait(ctx, c.progress, "the queue of NetworkPolicies", timeout, func(context.Context) (bool, string, error) {
		if err := c.checkAlive(networkPolicy); err != nil {
			return false, "", err
		}
		queues, err := os.ReadFile(file)
		if err != nil {
			return false, err.Error(), nil
		}
		return answersQueue(string(queues), policyQueue), fmt.Sprintf("nobody answers queue %d", policyQueue), nil
	})
}

// answersQueue says whether a queue is in the kernel's list of those that
// somebody answers. A line begins with the queue's number.
func answersQueue(list string, queue int) bool {
	for line := range strings.Lines(list) {
		fields := strings.Fields(line)
		if len(fields) > 0 && fields[0] == strconv.Itoa(queue) {
			return true
		}
	}
	return false
}
