// Package destination says where forwarded connections may lead: what a permit's @destinations may name, and whether
// what a client asks for is among it. Start with [Parse]. docs/policy.md, section Destinations, is the reference.
//
// The host that makes the connection resolves what it is given, and takes 127.1, 0x7f000001 and 2130706433 for
// addresses. So a text is an address here only in its usual form, a name only if nobody could take it for an address, and
// anything else leads nowhere.
package destination

import (
	"fmt"
	"net"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Pattern is one destination or a set of them. Equal patterns are equal values.
type Pattern struct {
	path   string // of a socket: nothing else is set then
	any    bool   // every name and address that is not special
	name   string
	prefix netip.Prefix // an address is the range of its own
	port   uint16       // 0: any
}

// maxPath is what a Unix socket's address has room for.
const maxPath = 107

// Parse reads host:port, address:port, [IPv6]:port, range:port, [IPv6 range]:port, *:port or the absolute path of a socket. The port * is any.
func Parse(text string) (Pattern, error) {
	if strings.HasPrefix(text, "/") {
		return parsePath(text)
	}
	at := strings.LastIndexByte(text, ':')
	if at < 0 || strings.HasSuffix(text, "]") {
		return Pattern{}, fmt.Errorf("%.100q has no port; write %.100s:443, or %.100s:* for every port", text, text, text)
	}
	p, err := parseHost(text[:at])
	if err != nil {
		return Pattern{}, err
	}
	p.port, err = parsePort(text[at+1:])
	return p, err
}

func parsePath(text string) (Pattern, error) {
	odd := func(r rune) bool { return r <= ' ' || r == ',' || r > '~' }
	switch {
	case path.Clean(text) != text || text == "/":
		return Pattern{}, fmt.Errorf("%.120q is not the plain path of a socket: no .., no doubled or last slash", text)
	case strings.ContainsFunc(text, odd):
		return Pattern{}, fmt.Errorf("the path %.120q holds a space, comma or character outside ASCII", text)
	case len(text) > maxPath:
		return Pattern{}, fmt.Errorf("the path %.120q is longer than %d bytes, which no socket's can be", text, maxPath)
	}
	return Pattern{path: text}, nil
}

func parsePort(text string) (uint16, error) {
	if text == "*" {
		return 0, nil
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 || text != strconv.FormatUint(n, 10) {
		return 0, fmt.Errorf("%.20q is not a port (1 to 65535, or * for every one)", text)
	}
	return uint16(n), nil
}

func parseHost(text string) (Pattern, error) {
	if text == "*" {
		return Pattern{any: true}, nil
	}
	inner, bracketed := strings.CutPrefix(text, "[")
	if bracketed {
		var closed bool
		if inner, closed = strings.CutSuffix(inner, "]"); !closed || !strings.Contains(inner, ":") {
			return Pattern{}, fmt.Errorf("%.100q is not an IPv6 address or range in brackets", text)
		}
	} else if strings.Contains(text, ":") {
		return Pattern{}, fmt.Errorf("%.100q: IPv6 stands in brackets, as in [2001:db8::1]:443 and [2001:db8::/32]:443", text)
	}
	if bracketed || strings.Contains(inner, "/") {
		return parseRange(inner)
	}
	if ip, err := netip.ParseAddr(inner); err == nil {
		return Pattern{prefix: netip.PrefixFrom(ip, ip.BitLen())}, nil
	}
	if strings.Contains(text, "*") {
		return Pattern{}, fmt.Errorf("%.100q: * stands for every name and address, never for a part of one", text)
	}
	name, err := Name(text)
	return Pattern{name: name}, err
}

func parseRange(text string) (Pattern, error) {
	prefix, err := netip.ParsePrefix(text)
	if ip, ierr := netip.ParseAddr(text); ierr == nil {
		prefix, err = netip.PrefixFrom(ip.WithZone(""), ip.BitLen()), nil
		if ip.Zone() != "" {
			return Pattern{}, fmt.Errorf("%.100q: leave the zone %%%.50s out", text, ip.Zone())
		}
	}
	switch {
	case err != nil:
		return Pattern{}, fmt.Errorf("%.100q is neither an IP address nor a range such as 10.1.2.0/24", text)
	case prefix.Bits() == 0:
		return Pattern{}, fmt.Errorf("%s is every address there is; that is written *", prefix)
	case prefix.Addr().Is4In6():
		return Pattern{}, fmt.Errorf("%s: write IPv4 as such", text)
	case prefix.Masked() != prefix:
		return Pattern{}, fmt.Errorf("%s has bits set outside its mask; write %s", text, prefix.Masked())
	}
	return Pattern{prefix: prefix}, nil
}

// String is the one way to write the pattern; [Parse] reads it.
func (p Pattern) String() string {
	host := p.name
	switch {
	case p.path != "":
		return p.path
	case p.any:
		host = "*"
	case p.prefix.IsValid() && p.prefix.IsSingleIP():
		host = p.prefix.Addr().String()
	case p.prefix.IsValid():
		host = p.prefix.String()
	}
	port := "*"
	if p.port != 0 {
		port = strconv.Itoa(int(p.port))
	}
	return net.JoinHostPort(host, port)
}

// Host reports whether the pattern lets a connection to host and port through, both as the client names them: the port is
// that of the protocol, because one cut down to 16 bits would be another.
func (p Pattern) Host(host string, port uint32) bool {
	place, ok := placeOf(host)
	return ok && p.admits(place, port)
}

func (p Pattern) admits(to place, port uint32) bool {
	switch {
	case p.path != "" || port == 0 || port > 65535 || p.port != 0 && uint32(p.port) != port:
		return false
	case !to.ip.IsValid():
		return p.name == to.name || p.any && !specialName(to.name)
	}
	block, special := specialBlock(to.ip)
	if p.any {
		return !special
	}
	// A range that reaches beyond the special block around an address was not written with that address in mind.
	return p.prefix.Contains(to.ip) && (!special || p.prefix.Bits() >= block.Bits())
}

// Socket reports whether the pattern lets a connection to the Unix socket through.
func (p Pattern) Socket(name string) bool {
	if p.path == "" || slices.Contains(strings.Split(name, "/"), "..") { // which a symbolic link may lead anywhere
		return false
	}
	return p.path == path.Clean(name)
}

// List is what a session may reach: whatever one of its patterns lets through.
type List []Pattern

// ParseList reads several patterns.
func ParseList(texts []string) (List, error) {
	list := make(List, 0, len(texts))
	for _, text := range texts {
		p, err := Parse(text)
		if err != nil {
			return nil, fmt.Errorf("destination %w", err)
		}
		list = append(list, p)
	}
	return list, nil
}

// Host is [Pattern.Host] for any of them.
func (l List) Host(host string, port uint32) bool {
	to, ok := placeOf(host)
	return ok && slices.ContainsFunc(l, func(p Pattern) bool { return p.admits(to, port) })
}

// Socket is [Pattern.Socket] for any of them.
func (l List) Socket(name string) bool {
	return slices.ContainsFunc(l, func(p Pattern) bool { return p.Socket(name) })
}
