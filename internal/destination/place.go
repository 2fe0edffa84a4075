package destination

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// place is what a client names: an address, or a name that is none.
type place struct {
	ip   netip.Addr // never IPv4 in IPv6, never with a zone
	name string
}

// placeOf reads what a client names. Nothing else is ever sent on to a host.
func placeOf(host string) (place, bool) {
	ip, err := netip.ParseAddr(host)
	if err != nil {
		name, err := Name(host)
		return place{name: name}, err == nil
	}
	// A zone chooses among links, which only link-local addresses need.
	if ip.Zone() != "" && (ip.Is4In6() || !ip.IsLinkLocalUnicast()) {
		return place{}, false
	}
	return place{ip: ip.WithZone("").Unmap()}, true
}

// Name reads a host's name and returns it as it is compared: in lower case, without the dot that ends it. A name that a
// resolver may take for an address is none.
func Name(text string) (string, error) {
	name := strings.TrimSuffix(text, ".")
	if name == "" || len(name) > 253 {
		return "", fmt.Errorf("%.100q is not a host name", text)
	}
	labels := strings.Split(name, ".")
	for _, label := range labels {
		if label == "" || len(label) > 63 || label[0] == '-' {
			return "", fmt.Errorf("%.100q is not a host name", text)
		}
		for _, r := range label { // before changing the case: some letters outside ASCII become others inside it
			if !nameRune(r) {
				return "", fmt.Errorf("%.100q is not a host name: it holds %q", text, r)
			}
		}
	}
	if number(labels[len(labels)-1]) {
		return "", fmt.Errorf("%.100q is neither an IP address nor a host name", text)
	}
	return strings.ToLower(name), nil
}

func nameRune(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '_' || r == '-'
}

// number reports whether a label is one in any base that inet_aton reads. If the last label is, the whole is an address or
// nothing: no top-level domain is a number.
func number(label string) bool {
	digits, hex := strings.CutPrefix(strings.ToLower(label), "0x")
	return !strings.ContainsFunc(digits, func(r rune) bool {
		return !('0' <= r && r <= '9' || hex && 'a' <= r && r <= 'f')
	})
}

// specialBlocks are addresses that lead to the host itself, to its own link, to many at once, or to who hands out its cloud
// credentials. The narrower stands before the wider.
var specialBlocks = parsePrefixes(
	"0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4",
	"100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32", // metadata of Alibaba, Azure and Oracle
	"fd00:ec2::254/128", "fd20:ce::254/128", // and of Amazon and Google
	"::/128", "::1/128", "fe80::/10", "ff00::/8",
	"::/96", "64:ff9b::/96", "64:ff9b:1::/48", "2001::/32", "2002::/16", // IPv4 within IPv6: the above in another form
)

func parsePrefixes(texts ...string) []netip.Prefix {
	prefixes := make([]netip.Prefix, len(texts))
	for i, text := range texts {
		prefixes[i] = netip.MustParsePrefix(text)
	}
	return prefixes
}

func specialBlock(ip netip.Addr) (netip.Prefix, bool) {
	i := slices.IndexFunc(specialBlocks, func(b netip.Prefix) bool { return b.Contains(ip) })
	if i < 0 {
		return netip.Prefix{}, false
	}
	return specialBlocks[i], true
}

// Names that lead to special addresses on every machine, or on every machine of a cloud, of a distribution, with systemd.
var (
	specialNames = []string{
		"localhost", "localhost4", "localhost6", "ip6-localhost", "ip6-loopback", "ip6-localnet", "ip6-mcastprefix", "ip6-allnodes", "ip6-allrouters",
		"metadata", "metadata.google.internal", "instance-data", "instance-data.ec2.internal",
		"_gateway", "_outbound", "_localdnsstub", "_localdnsproxy",
	}
	specialDomains = []string{".localhost", ".localdomain", ".localdomain4", ".localdomain6"}
)

func specialName(name string) bool {
	return slices.Contains(specialNames, name) ||
		slices.ContainsFunc(specialDomains, func(domain string) bool { return strings.HasSuffix(name, domain) })
}
