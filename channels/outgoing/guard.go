package outgoing

import (
	"errors"
	"net/netip"
	"strings"
	"syscall"
)

var errForbidden = errors.New("the address is none that may be called")

// guard looks at the address of each connection just before it is made, when
// every name has been looked up: a name that resolves to another address the
// second time gains nothing.
func guard(permits func(netip.Addr) bool) func(network, address string, _ syscall.RawConn) error {
	return func(network, address string, _ syscall.RawConn) error {
		to, err := netip.ParseAddrPort(address)
		if err != nil || !strings.HasPrefix(network, "tcp") || !permits(to.Addr()) {
			return errForbidden
		}
		return nil
	}
}

func (c *Client) permits(ip netip.Addr) bool { return public(ip) || c.permitsPlain(ip) }

func (c *Client) permitsPlain(ip netip.Addr) bool {
	ip = ip.Unmap().WithZone("")
	for _, network := range c.allowed {
		if network.Contains(ip) {
			return true
		}
	}
	return false
}

// special are the networks that are not the public Internet (IANA's registries of
// special-purpose addresses) and addresses of cloud providers' own services. Those
// that netip knows are not repeated.
var special = parse(
	"0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4",
	"168.63.129.16/32", // Azure's, at a public address
	"::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "3fff::/20", "5f00::/16", "fec0::/10",
)

func parse(networks ...string) []netip.Prefix {
	all := make([]netip.Prefix, len(networks))
	for i, n := range networks {
		all[i] = netip.MustParsePrefix(n)
	}
	return all
}

var (
	nat64 = netip.MustParsePrefix("64:ff9b::/96") // RFC 6052
	sixTo = netip.MustParsePrefix("2002::/16")    // RFC 3056
)

// public tells whether an address is one of the public Internet. One that carries
// an IPv4 address in it is judged by that.
func public(ip netip.Addr) bool {
	ip = ip.Unmap().WithZone("")
	switch b := ip.As16(); {
	case nat64.Contains(ip):
		return public(netip.AddrFrom4([4]byte(b[12:16])))
	case sixTo.Contains(ip):
		return public(netip.AddrFrom4([4]byte(b[2:6])))
	}
	if !ip.IsGlobalUnicast() || ip.IsPrivate() { // the first excludes loopback, link-local, multicast and unspecified
		return false
	}
	for _, network := range special {
		if network.Contains(ip) {
			return false
		}
	}
	return true
}
