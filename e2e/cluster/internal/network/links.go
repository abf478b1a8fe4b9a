package network

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// unreachableMetric is worse than that of any real route, so the unreachable
// routes count only while the node's link is gone.
const unreachableMetric = 4096

// Connect joins the network namespace of a process (the node's first one) to
// this machine: the node, its Pods and its Services become reachable from here.
//
// It first makes the ranges unreachable with a bad metric. Without that, a
// packet to a Pod of a cluster that is gone would leave by the default route.
func (i Index) Connect(nodePid int) error {
	for _, each := range i.Ranges() {
		route := &netlink.Route{Dst: ipNet(each), Type: unix.RTN_UNREACHABLE, Priority: unreachableMetric}
		if err := netlink.RouteReplace(route); err != nil {
			return fmt.Errorf("add unreachable route %s: %w", each, err)
		}
	}
	link := &netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: i.HostLink()},
		PeerName:  "eth0", PeerNamespace: netlink.NsPid(nodePid),
	}
	if err := netlink.LinkAdd(link); err != nil {
		return fmt.Errorf("add link %s: %w", i.HostLink(), err)
	}
	if err := i.configureNode(nodePid); err != nil {
		return fmt.Errorf("network of the node: %w", err)
	}
	if err := configureLink(&netlink.Handle{}, i.HostLink(), netip.PrefixFrom(i.Gateway(), i.NodeNet().Bits())); err != nil {
		return err
	}
	for _, each := range []netip.Prefix{i.PodNet(), i.ServiceNet()} {
		if err := netlink.RouteReplace(&netlink.Route{Dst: ipNet(each), Gw: i.NodeIP().AsSlice()}); err != nil {
			return fmt.Errorf("add route %s: %w", each, err)
		}
	}
	return nil
}

func (i Index) configureNode(pid int) error {
	namespace, err := netns.GetFromPid(pid)
	if err != nil {
		return err
	}
	defer namespace.Close()
	handle, err := netlink.NewHandleAt(namespace)
	if err != nil {
		return err
	}
	defer handle.Close()
	loopback, err := handle.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := handle.LinkSetUp(loopback); err != nil {
		return err
	}
	if err := configureLink(handle, "eth0", netip.PrefixFrom(i.NodeIP(), i.NodeNet().Bits())); err != nil {
		return err
	}
	// Without a default route a packet to a ClusterIP is "network
	// unreachable" before kube-proxy's rules see it.
	return handle.RouteReplace(&netlink.Route{Gw: i.Gateway().AsSlice()})
}

func configureLink(handle *netlink.Handle, name string, address netip.Prefix) error {
	link, err := handle.LinkByName(name)
	if err != nil {
		return fmt.Errorf("link %s: %w", name, err)
	}
	ip := &netlink.Addr{IPNet: &net.IPNet{IP: address.Addr().AsSlice(), Mask: net.CIDRMask(address.Bits(), 32)}}
	if err := handle.AddrReplace(link, ip); err != nil {
		return fmt.Errorf("address %s on %s: %w", address, name, err)
	}
	return handle.LinkSetUp(link)
}

// Disconnect removes what Connect made on this machine; it is no error when
// nothing is there.
func (i Index) Disconnect() error {
	if link, err := netlink.LinkByName(i.HostLink()); err == nil {
		if err := netlink.LinkDel(link); err != nil && !errors.Is(err, unix.ENODEV) {
			return fmt.Errorf("remove link %s: %w", i.HostLink(), err)
		}
	}
	for _, each := range i.Ranges() {
		route := &netlink.Route{Dst: ipNet(each), Type: unix.RTN_UNREACHABLE, Priority: unreachableMetric}
		if err := netlink.RouteDel(route); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("remove unreachable route %s: %w", each, err)
		}
	}
	return nil
}

// Conflict names a route of this machine that overlaps the cluster's ranges
// and is not our own, or "".
func (i Index) Conflict() (string, error) {
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return "", fmt.Errorf("list routes: %w", err)
	}
	for _, route := range routes {
		if route.Dst == nil || route.Type == unix.RTN_UNREACHABLE && route.Priority == unreachableMetric {
			continue
		}
		ip, ok := netip.AddrFromSlice(route.Dst.IP.To4())
		bits, _ := route.Dst.Mask.Size()
		if !ok || bits == 0 {
			continue
		}
		for _, each := range i.Ranges() {
			if each.Overlaps(netip.PrefixFrom(ip, bits)) {
				return route.Dst.String(), nil
			}
		}
	}
	return "", nil
}

func ipNet(prefix netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: prefix.Addr().AsSlice(), Mask: net.CIDRMask(prefix.Bits(), 32)}
}
