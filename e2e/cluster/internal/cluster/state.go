// Package cluster brings clusters up and down and works on their parts.
package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"

	"novasphere.io/e2e/cluster/internal/daemon"
	"novasphere.io/e2e/cluster/internal/host"
	"novasphere.io/e2e/cluster/internal/network"
)

// State is what a cluster's folder remembers.
type State struct {
	Name  string
	Index network.Index
	// Kube is the folder with the programs the cluster runs.
	Kube string
	// CSI is the folder with the programs of storage with snapshots; empty
	// without it.
	CSI string
	// NetworkPolicy is the folder with what enforces NetworkPolicies; empty
	// where nothing does.
	NetworkPolicy string
	// Ports of the control plane on loopback; unused with a node, which has
	// the usual ports in its own namespace.
	EtcdPort, EtcdPeerPort, APIServerPort int
	// Node is the node's first process; nil without a node.
	Node     *daemon.Process
	KubeVirt bool
	// Prepared says that the basic objects (DNS, storage, roles) are applied.
	Prepared bool
}

// Home is the folder of all clusters of this user:
// $NOVACLUSTER_HOME, by default ~/.local/state/novacluster.
func Home() (string, error) {
	if home := os.Getenv("NOVACLUSTER_HOME"); home != "" {
		return filepath.Abs(home)
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("no folder for clusters: set NOVACLUSTER_HOME or HOME: %w", err)
	}
	return filepath.Join(home, ".local", "state", "novacluster"), nil
}

// The name becomes part of the node's host name.
var validName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?$`)

// CheckName says what is wrong with a cluster's name.
func CheckName(name string) error {
	if !validName.MatchString(name) {
		return fmt.Errorf("cluster name %q: use 1 to 40 lower-case letters, digits and hyphens, with a letter or digit at both ends", name)
	}
	return nil
}

// List names the clusters of this user that have a folder.
func List() ([]string, error) {
	home, err := Home()
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(home)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var names []string
	for _, entry := range entries {
		if entry.IsDir() && validName.MatchString(entry.Name()) {
			names = append(names, entry.Name())
		}
	}
	return names, nil
}

// Cluster is one cluster, running or not.
type Cluster struct {
	dir      string
	state    State
	progress *host.Progress
}

// Open reads the state of a cluster. A cluster that does not exist yet has an
// empty one.
func Open(name string, progress *host.Progress) (*Cluster, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	home, err := Home()
	if err != nil {
		return nil, err
	}
	c := &Cluster{dir: filepath.Join(home, name), state: State{Name: name}, progress: progress}
	return c, c.load()
}

func (c *Cluster) load() error {
	data, err := os.ReadFile(c.path("state.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, &c.state); err != nil {
		return fmt.Errorf("%s: %w; remove the cluster with: novacluster down --name %s", c.path("state.json"), err, c.state.Name)
	}
	return nil
}

// Exists says whether the cluster has been made.
func (c *Cluster) Exists() bool { return c.state.Index != 0 }

// MustExist is the error to show when it has not.
func (c *Cluster) MustExist() error {
	if c.Exists() {
		return nil
	}
	return fmt.Errorf("there is no cluster %q; make it with: novacluster up --name %s", c.state.Name, c.state.Name)
}

// Handle is what the add-ons work with. helm may be empty.
func (c *Cluster) Handle(helm string) *host.Cluster {
	return host.NewCluster(c.state.Name, c.dir, host.Tools{Kube: c.state.Kube, Helm: helm}, c.progress)
}

func (c *Cluster) save() error {
	data, err := json.MarshalIndent(c.state, "", "  ")
	if err != nil {
		return err
	}
	return host.WriteFile(c.path("state.json"), data, 0o644)
}

func (c *Cluster) path(elements ...string) string {
	return filepath.Join(append([]string{c.dir}, elements...)...)
}

// lockFile lies beside the folder, because `down` removes the folder.
func (c *Cluster) lockFile() string {
	return filepath.Join(filepath.Dir(c.dir), ".locks", filepath.Base(c.dir))
}

// hasNode says whether the cluster has a node, running or crashed.
func (c *Cluster) hasNode() bool { return c.state.Node != nil }

func (c *Cluster) nodeRuns() bool {
	return c.hasNode() && c.state.Node.Alive() && !c.state.Node.Ending()
}

// NodeName is the name of the Node object.
func (c *Cluster) nodeName() string { return c.Handle("").NodeName() }
