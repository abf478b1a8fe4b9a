package cluster

import (
	"fmt"
	"io"

	"novasphere.io/e2e/cluster/internal/host"
)

// Status is what `novacluster status --output json` prints.
type Status struct {
	Name          string       `json:"name"`
	Dir           string       `json:"dir"`
	Kubeconfig    string       `json:"kubeconfig"`
	APIServer     string       `json:"apiserver"`
	AuditLog      string       `json:"auditLog"`
	Node          *NodeStatus  `json:"node"`
	KubeVirt      bool         `json:"kubevirt"`
	CSI           bool         `json:"csi"`
	NetworkPolicy bool         `json:"networkPolicy"`
	Parts         []PartStatus `json:"parts"`
}

// NodeStatus describes the node.
type NodeStatus struct {
	Name        string `json:"name"`
	IP          string `json:"ip"`
	Gateway     string `json:"gateway"`
	PodCIDR     string `json:"podCIDR"`
	ServiceCIDR string `json:"serviceCIDR"`
}

// PartStatus is one part; Pid is 0 when it was never started.
type PartStatus struct {
	Name    string `json:"name"`
	Pid     int    `json:"pid"`
	Running bool   `json:"running"`
}

// Status looks at the cluster's files and processes; it asks no server.
func (c *Cluster) Status() Status {
	status := Status{
		Name: c.state.Name, Dir: c.dir, Kubeconfig: c.kubeconfig("admin"), APIServer: c.serverURL(),
		AuditLog: c.auditLog(), KubeVirt: c.state.KubeVirt, CSI: c.hasCSI(), NetworkPolicy: c.hasNetworkPolicy(),
	}
	if c.hasNode() {
		index := c.state.Index
		status.Node = &NodeStatus{
			Name: c.nodeName(), IP: index.NodeIP().String(), Gateway: index.Gateway().String(),
			PodCIDR: index.PodNet().String(), ServiceCIDR: index.ServiceNet().String(),
		}
	}
	for _, part := range c.Parts() {
		process, runs := c.running(part)
		status.Parts = append(status.Parts, PartStatus{part, process.Pid, runs})
	}
	return status
}

// Running says whether all parts run.
func (s Status) Running() bool {
	for _, part := range s.Parts {
		if !part.Running {
			return false
		}
	}
	return true
}

// Print writes the status for people.
func (s Status) Print(out io.Writer) {
	fmt.Fprintf(out, "cluster     %s\nfolder      %s\nkubeconfig  %s\nAPI server  %s\naudit log   %s\n", s.Name, s.Dir, s.Kubeconfig, s.APIServer, s.AuditLog)
	if s.Node == nil {
		fmt.Fprintln(out, "node        none")
	} else {
		fmt.Fprintf(out, "node        %s at %s (this machine is %s; Pods %s, Services %s)\n", s.Node.Name, s.Node.IP, s.Node.Gateway, s.Node.PodCIDR, s.Node.ServiceCIDR)
	}
	fmt.Fprintf(out, "KubeVirt    %s\n", map[bool]string{true: "installed", false: "not installed"}[s.KubeVirt])
	for _, part := range s.Parts {
		state := "stopped"
		if part.Running {
			state = fmt.Sprintf("running, process %d", part.Pid)
		}
		fmt.Fprintf(out, "  %-24s %s\n", part.Name, state)
	}
}

// Dir is the cluster's folder.
func (c *Cluster) Dir() string { return c.dir }

// NodePid is the node's first process, or an error that says what to do.
func (c *Cluster) NodePid() (int, error) {
	if !c.nodeRuns() {
		return 0, fmt.Errorf("cluster %q has no running node; start one with: novacluster up --node --name %s", c.state.Name, c.state.Name)
	}
	return c.state.Node.Pid, nil
}

// SetKubeVirt records that KubeVirt is installed.
func (c *Cluster) SetKubeVirt() error {
	c.state.KubeVirt = true
	return c.save()
}

// HasKubeVirt says whether KubeVirt was installed.
func (c *Cluster) HasKubeVirt() bool { return c.state.KubeVirt }

// Progress shows what goes on.
func (c *Cluster) Progress() *host.Progress { return c.progress }
