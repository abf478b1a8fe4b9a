// Package network gives each cluster address ranges of its own and connects
// its node to this machine.
package network

import (
	"fmt"
	"hash/fnv"
	"net/netip"
)

// MaxIndex is how many clusters with a node fit side by side.
const MaxIndex = 60

// Index is the number of a cluster, 1 to MaxIndex; all its addresses follow
// from it. The ranges are private ones (RFC 1918).
type Index int

// DefaultIndex spreads clusters over the numbers by name, so that two that
// start at once seldom want the same one.
func DefaultIndex(dir string) Index {
	sum := fnv.New32a()
	sum.Write([]byte(dir))
	return Index(sum.Sum32()%MaxIndex) + 1
}

// Next is the number to try after this one.
func (i Index) Next() Index { return i%MaxIndex + 1 }

// NodeNet is the link between the host (.2) and the node (.1).
func (i Index) NodeNet() netip.Prefix { return prefix(24, 10, 99, int(i), 0) }

// NodeIP is the node's address.
func (i Index) NodeIP() netip.Addr { return address(10, 99, int(i), 1) }

// Gateway is this machine's address as the node sees it.
func (i Index) Gateway() netip.Addr { return address(10, 99, int(i), 2) }

// PodNet holds the Pods of the one node.
func (i Index) PodNet() netip.Prefix { return prefix(24, 10, 98, int(i), 0) }

// ServiceNet holds the ClusterIPs. It is large because the benchmarks make ten
// thousand Services.
func (i Index) ServiceNet() netip.Prefix { return prefix(16, 10, 100+int(i), 0, 0) }

// APIServerServiceIP is the first ClusterIP, which Kubernetes gives to the
// Service "kubernetes".
func (i Index) APIServerServiceIP() netip.Addr { return address(10, 100+int(i), 0, 1) }

// DNSServiceIP is the ClusterIP of the cluster's DNS.
func (i Index) DNSServiceIP() netip.Addr { return address(10, 100+int(i), 0, 10) }

// HostLink is the name of this machine's end of the link.
func (i Index) HostLink() string { return fmt.Sprintf("nova%d", int(i)) }

// Ranges are all ranges of the cluster.
func (i Index) Ranges() []netip.Prefix {
	return []netip.Prefix{i.NodeNet(), i.PodNet(), i.ServiceNet()}
}

func address(a, b, c, d int) netip.Addr {
	return netip.AddrFrom4([4]byte{byte(a), byte(b), byte(c), byte(d)})
}

func prefix(bits, a, b, c, d int) netip.Prefix {
	return netip.PrefixFrom(address(a, b, c, d), bits)
}
