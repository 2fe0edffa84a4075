package policy

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"postern/internal/destination"
)

const defaultPort = "22"

// parseAddress reads host, host:port, an IP address, or [IPv6]:port, and returns host:port.
func parseAddress(text string) (string, error) {
	host, port := text, defaultPort
	if ip, err := netip.ParseAddr(text); err == nil {
		return joinAddress(ip.String(), port)
	}
	if strings.Contains(text, "/") {
		return "", fmt.Errorf("%.100q is not host, host:port or [IPv6]:port", text)
	}
	if strings.Contains(text, ":") {
		var err error
		if host, port, err = net.SplitHostPort(text); err != nil {
			return "", fmt.Errorf("%.100q is not host, host:port or [IPv6]:port", text)
		}
	}
	return joinAddress(host, port)
}

func joinAddress(host, port string) (string, error) {
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 || port[0] == '+' {
		return "", fmt.Errorf("%.20q is not a port (1 to 65535)", port)
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		if ip.IsUnspecified() || ip.IsMulticast() {
			return "", fmt.Errorf("%s is not the address of one machine", ip)
		}
		host = ip.Unmap().String()
	} else if host, err = destination.Name(host); err != nil {
		return "", err
	}
	return net.JoinHostPort(host, strconv.FormatUint(n, 10)), nil
}

// parseSource reads an address or range from which a bastion comes. It goes into the source-address option of
// certificates, where sshd refuses the whole certificate over a range with host bits set.
func parseSource(text string) (string, error) {
	if ip, err := netip.ParseAddr(text); err == nil {
		if ip.Zone() != "" || ip.Is4In6() || ip.IsUnspecified() || ip.IsMulticast() {
			return "", fmt.Errorf("%s cannot be the source of a connection", text)
		}
		return ip.String(), nil
	}
	prefix, err := netip.ParsePrefix(text)
	switch {
	case err != nil:
		return "", fmt.Errorf("%.100q is neither an IP address nor a range such as 10.1.2.0/24", text)
	case prefix.Bits() == 0:
		return "", fmt.Errorf("%s is every address there is", text)
	case prefix.Addr().Is4In6():
		return "", fmt.Errorf("%s: write IPv4 ranges as such", text)
	case prefix.Masked() != prefix:
		return "", fmt.Errorf("%s has bits set outside its mask; write %s", text, prefix.Masked())
	}
	return prefix.String(), nil
}
