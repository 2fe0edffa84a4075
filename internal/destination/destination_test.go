package destination

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"strings"
	"testing"
)

func mustParse(t testing.TB, text string) Pattern {
	t.Helper()
	p, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestParse(t *testing.T) {
	for text, canonical := range map[string]string{
		"db.internal:5432":              "db.internal:5432",
		"DB.Internal.:5432":             "db.internal:5432",
		"db:*":                          "db:*",
		"cafe:80":                       "cafe:80", // hexadecimal, and still a name
		"127.0.0.1:5432":                "127.0.0.1:5432",
		"127.0.0.1/32:5432":             "127.0.0.1:5432",
		"10.0.0.0/8:443":                "10.0.0.0/8:443",
		"169.254.169.254:80":            "169.254.169.254:80",
		"[2001:DB8:0::1]:443":           "[2001:db8::1]:443",
		"[2001:db8::/32]:*":             "[2001:db8::/32]:*",
		"[::1]:5432":                    "[::1]:5432",
		"*:443":                         "*:443",
		"*:*":                           "*:*",
		"/run/postgresql/.s.PGSQL.5432": "/run/postgresql/.s.PGSQL.5432",
	} {
		p, err := Parse(text)
		if err != nil || p.String() != canonical {
			t.Errorf("%s: %q, %v; want %s", text, p, err, canonical)
		}
		if again := mustParse(t, canonical); again != p {
			t.Errorf("%s and %s are not the same", text, canonical)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"":                             `"" has no port`,
		"db":                           `"db" has no port; write db:443, or db:* for every port`,
		"10.0.0.0/8":                   `"10.0.0.0/8" has no port`,
		"[::1]":                        `"[::1]" has no port`,
		"::1":                          `IPv6 stands in brackets`,
		"2001:db8::/32:443":            `IPv6 stands in brackets`,
		":443":                         `"" is not a host name`,
		"db:":                          `"" is not a port`,
		"db:0":                         `"0" is not a port`,
		"db:65536":                     `"65536" is not a port`,
		"db:+80":                       `"+80" is not a port`,
		"db:080":                       `"080" is not a port`,
		"db:http":                      `"http" is not a port (1 to 65535, or * for every one)`,
		"*.internal:443":               `* stands for every name and address, never for a part of one`,
		"10.0.0.0/8*:443":              `neither an IP address nor a range`,
		"10.0.0.1/8:443":               `10.0.0.1/8 has bits set outside its mask; write 10.0.0.0/8`,
		"0.0.0.0/0:443":                `0.0.0.0/0 is every address there is; that is written *`,
		"[::/0]:443":                   `::/0 is every address there is`,
		"[::ffff:10.0.0.1]:80":         `write IPv4 as such`,
		"[::ffff:10.0.0.0/104]:80":     `write IPv4 as such`,
		"[10.0.0.1]:80":                `not an IPv6 address or range in brackets`,
		"[fe80::1%eth0]:22":            `leave the zone %eth0 out`,
		"[::1:443":                     `not an IPv6 address or range in brackets`,
		"127.1:80":                     `"127.1" is neither an IP address nor a host name`,
		"0x7f000001:80":                `neither an IP address nor a host name`,
		"2130706433:80":                `neither an IP address nor a host name`,
		"127.0.0.01:80":                `neither an IP address nor a host name`,
		"db..internal:80":              `not a host name`,
		"-oProxyCommand:80":            `not a host name`,
		"db internal:80":               `it holds ' '`,
		"d\u00fc:80":                   `it holds 'ü'`,
		"\u212aube:80":                 `it holds`, // the Kelvin sign is a k in lower case
		"/":                            `not the plain path`,
		"/run/../etc/x":                `not the plain path`,
		"/run//x":                      `not the plain path`,
		"/run/x/":                      `not the plain path`,
		"run/x":                        `has no port`,
		"/run/a b":                     `a space, comma`,
		"/run/\x00":                    `a space, comma`,
		"/" + strings.Repeat("a", 107): `longer than 107 bytes`,
	} {
		if p, err := Parse(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, %v; want %s", text, p, err, want)
		}
	}
}

// everywhere are the widest patterns there are.
var everywhere = []string{"*:*", "0.0.0.0/1:*", "128.0.0.0/1:*", "[::/1]:*", "[8000::/1]:*"}

func TestHost(t *testing.T) {
	for _, c := range []struct {
		pattern, hosts string // at port 443; ! is not let through
	}{
		{"db.internal:443", "db.internal DB.INTERNAL db.internal. !db !db.internal.example !xdb.internal !db.internal.. !10.0.0.1"},
		{"db.internal:80", "!db.internal"},
		{"db.internal:*", "db.internal"},
		{"10.1.2.3:443", "10.1.2.3 ::ffff:10.1.2.3 ::ffff:a01:203 !10.1.2.4 !::10.1.2.3 !10.1.515 !0xa.1.2.3 !167838211 !10.1.2.3. !10.1.2.03 !012.1.2.3"},
		{"10.0.0.0/8:443", "10.255.0.1 ::ffff:10.9.9.9 !11.0.0.1 !10.1"},
		{"[2001:db8::/32]:443", "2001:db8::1 2001:DB8:0:0::2 !2001:db9::1 ![2001:db8::1] !2001:db8::1%eth0"},

		{"*:443", "db 10.0.0.1 8.8.8.8 2001:db8::1 fd00::1 dead.beef xn--d-xga"},
		{"*:443", "!127.0.0.1 !127.255.0.9 !::1 !0.0.0.0 !0.1.2.3 !:: !169.254.169.254 !169.254.0.1 !fe80::1 !fe80::1%eth0 !224.0.0.1 !255.255.255.255 !ff02::1"},
		{"*:443", "!::ffff:127.0.0.1 !::ffff:7f00:1 !::127.0.0.1 !::ffff:169.254.169.254 !64:ff9b::7f00:1 !2002:7f00:1::1 !::ffff:0:0 !0:0:0:0:0:ffff:7f00:0001"},
		{"*:443", "!127.1 !127.0.1 !0 !0x7f000001 !0X7F000001 !0x7f.1 !2130706433 !017700000001 !0177.0.0.1 !127.0.0.0x1 !127.0.0.1. !0x !1.2.3.4.5 !00.0.0.0"},
		{"*:443", "!localhost !LOCALHOST !localhost. !a.localhost !localhost.localdomain !ip6-localhost !metadata.google.internal !fd00:ec2::254 !100.100.100.200"},

		{"127.0.0.1:443", "127.0.0.1 ::ffff:127.0.0.1 !127.0.0.2 !127.1 !localhost !::1"},
		{"127.0.0.0/8:443", "127.0.0.1 127.8.8.8 !127.1"},
		{"localhost:443", "localhost LocalHost. !a.localhost !127.0.0.1"},
		{"169.254.169.254:443", "169.254.169.254 !169.254.169.253"},
		{"169.254.0.0/16:443", "169.254.169.254"},
		{"168.0.0.0/6:443", "170.1.1.1 !169.254.169.254 !168.63.129.16"}, // not written with those in mind
		{"[fe80::/10]:443", "fe80::1 fe80::1%eth0 !fe80::1%"},
		{"[fe80::1]:443", "fe80::1 fe80::1%2 !fe80::2"},
		{"[::1]:443", "::1 0:0:0:0:0:0:0:1 !::1%lo !127.0.0.1"},
		{"0.0.0.0:443", "0.0.0.0 !127.0.0.1 !::"},

		{"/run/x:443", "!/run/x !db"},
	} {
		p := mustParse(t, c.pattern)
		for host := range strings.FieldsSeq(c.hosts) {
			host, not := strings.CutPrefix(host, "!")
			if p.Host(host, 443) == not {
				t.Errorf("%s lets %s through: %v", c.pattern, host, !not)
			}
		}
		for _, host := range []string{"", " ", ".", "127.0.0.1 ", " db", "db\n", "db\x00", "\u212a", "１２７.0.0.1", "db/x", "a@b", "/run/x", strings.Repeat("a", 64)} {
			if p.Host(host, 443) {
				t.Errorf("%s lets %q through", c.pattern, host)
			}
		}
	}
}

func TestPortsAreThoseOfTheProtocol(t *testing.T) {
	one, every := mustParse(t, "db:443"), mustParse(t, "db:*")
	for port, want := range map[uint32][2]bool{443: {true, true}, 1: {false, true}, 65535: {false, true}, 0: {}, 65536: {}, 65536 + 443: {}, 1<<32 - 1: {}} {
		if got := [2]bool{one.Host("db", port), every.Host("db", port)}; got != want {
			t.Errorf("port %d: %v, want %v", port, got, want)
		}
	}
}

func TestSocket(t *testing.T) {
	p := mustParse(t, "/run/postgresql/.s.PGSQL.5432")
	for name, want := range map[string]bool{
		"/run/postgresql/.s.PGSQL.5432": true, "/run//postgresql/./.s.PGSQL.5432": true,
		"/run/postgresql/../postgresql/.s.PGSQL.5432": false, "run/postgresql/.s.PGSQL.5432": false,
		"/run/postgresql/.s.PGSQL.5432\x00": false, "/run/postgresql/.s.PGSQL.54321": false, "": false, "/": false, ".": false,
	} {
		if p.Socket(name) != want {
			t.Errorf("%q: %v", name, !want)
		}
	}
	for _, other := range append(everywhere, "localhost:*") {
		if mustParse(t, other).Socket("/run/x") || mustParse(t, other).Socket("") {
			t.Errorf("%s lets a socket through", other)
		}
	}
}

func TestList(t *testing.T) {
	list, err := ParseList([]string{"127.0.0.1:5432", "db:443", "/run/x"})
	if err != nil {
		t.Fatal(err)
	}
	if !list.Host("127.0.0.1", 5432) || !list.Host("db", 443) || list.Host("db", 5432) || list.Host("127.1", 5432) || !list.Socket("/run/x") || list.Socket("/run/y") {
		t.Error("the list lets through what none of its patterns does, or the other way round")
	}
	if (List{}).Host("db", 443) || (List{}).Socket("/run/x") {
		t.Error("nothing lets something through")
	}
	if _, err := ParseList([]string{"db:443", "db"}); err == nil {
		t.Error("a list with a bad pattern")
	}
}

// What parses encodes back to what parses to the same, once.
func FuzzParse(f *testing.F) {
	for _, seed := range append(everywhere, "db.Internal.:5432", "10.0.0.0/8:443", "[2001:db8::1]:*", "[fe80::1%x]:1", "/run/x", "0x7f.1:80", "a:b:c") {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := Parse(text)
		if err != nil {
			return
		}
		again, err := Parse(p.String())
		if err != nil || again != p {
			t.Fatalf("%q parses to %q, and that to %q, %v", text, p, again, err)
		}
	})
}

// What a resolver without a network takes for a special address passes no pattern, however wide, unless it is written as
// what it is.
func FuzzHost(f *testing.F) {
	for _, seed := range strings.Fields("127.1 0x7f000001 0177.1 2130706433 ::ffff:127.0.0.1 fe80::1%eth0 169.254.43518 localhost db 127.0.0.1. 0 00.0x0 10.1") {
		f.Add(seed)
	}
	var wide List
	for _, text := range everywhere {
		wide = append(wide, mustParse(f, text))
	}
	f.Fuzz(func(t *testing.T, host string) {
		if !wide.Host(host, 443) {
			return
		}
		ip, numeric := inetAton(host)
		if plain, err := netip.ParseAddr(host); err == nil {
			ip, numeric = plain.Unmap(), true
		} else if numeric {
			t.Fatalf("%q is %s to a resolver, and passed as a name", host, ip)
		}
		if numeric && (ip.IsLoopback() || ip.IsLinkLocalUnicast() || ip.IsMulticast() || ip.IsUnspecified()) {
			t.Fatalf("%q passed", host)
		}
		if strings.TrimSuffix(strings.ToLower(host), ".") == "localhost" {
			t.Fatalf("%q passed", host)
		}
	})
}

// inetAton reads an address as the C library does: up to four numbers in octal, decimal or hexadecimal, the last of which fills the rest.
func inetAton(text string) (netip.Addr, bool) {
	parts := strings.Split(strings.TrimRight(text, " \t\n\v\f\r"), ".")
	if len(parts) > 4 {
		return netip.Addr{}, false
	}
	var value uint64
	for i, part := range parts {
		if part == "" || part[0] < '0' || part[0] > '9' || strings.Contains(part, "_") || strings.ContainsAny(part[1:], "bBoO") && !strings.HasPrefix(strings.ToLower(part), "0x") {
			return netip.Addr{}, false
		}
		n, err := strconv.ParseUint(part, 0, 32)
		last := i == len(parts)-1
		if err != nil || !last && n > 255 || last && n >= 1<<(8*(5-len(parts))) {
			return netip.Addr{}, false
		}
		if last {
			value |= n
		} else {
			value |= n << (8 * (3 - i))
		}
	}
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], uint32(value))
	return netip.AddrFrom4(b), true
}
