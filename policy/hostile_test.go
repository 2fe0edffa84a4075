package policy

import (
	"strings"
	"testing"
)

// The addresses of bastions bind the certificates of sessions: none may stand for more than it says.
func TestSources(t *testing.T) {
	for text, want := range map[string]string{
		"192.0.2.10": "192.0.2.10", "10.1.2.0/24": "10.1.2.0/24", "2001:db8::1": "2001:db8::1", "2001:DB8:0::/48": "2001:db8::/48",
		"fe80::1%eth0": "", "::ffff:10.0.0.1": "", "0.0.0.0": "", "::": "", "224.0.0.1": "", "ff02::1": "",
		"0.0.0.0/0": "", "::/0": "", "::ffff:10.0.0.0/104": "", "10.1.2.3/24": "", "010.1.2.3": "", "10.1.2": "", "*": "", "": "",
	} {
		if got, err := parseSource(text); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v, want %q", text, got, err, want)
		}
	}
}

// Names are lines of statements, principals and words of commands.
func TestNames(t *testing.T) {
	for _, name := range []string{"", ".", "..", ".ssh", "-x", "a b", "a\nb", "a@b", "a:b", "a/b", "a*", "A", "ä", "а", "a\u200b", "a\x00", strings.Repeat("a", maxName+1)} {
		if checkName(name) == nil {
			t.Errorf("%q is a name", name)
		}
	}
	for _, name := range []string{"a", "_", "0", "a.b-c_d", strings.Repeat("a", maxName)} {
		if err := checkName(name); err != nil {
			t.Error(err)
		}
	}
}

// Who had the name of the CA's clock or of its rules could say what only they say.
func TestNamesThatAreNobodys(t *testing.T) {
	minimal := directory(t, "testdata/minimal")
	for _, name := range []string{"ca", "policy"} {
		for _, edit := range [][2]string{{"people.yaml", "  alice:"}, {"hosts.yaml", "  phi1:"}, {"hosts.yaml", "  bastion-1:"}} {
			_, err := Load(minimal.with(t, edit[0], edit[1], "  "+name+":").fs())
			if err == nil || !strings.Contains(err.Error(), "is nobody's name") {
				t.Errorf("%s for %s: %v", name, edit[1], err)
			}
		}
	}
}

// What cannot be seen in a file of the policy is not in it.
func TestHiddenText(t *testing.T) {
	minimal := directory(t, "testdata/minimal")
	for what, edit := range map[string][3]string{
		"a line break":       {"phi1.internal", `"phi1.internal\nx"`, "holds a line break or control character"},
		"an escape":          {"phi1.internal", `"phi1.internal\e[2J"`, "holds a line break or control character"},
		"bastions nowhere":   {"[192.0.2.10]", "[]", "has no sources"},
		"a bastion anywhere": {"192.0.2.10", `"::ffff:192.0.2.10"`, "cannot be the source"},
	} {
		_, err := Load(minimal.with(t, "hosts.yaml", edit[0], edit[1]).fs())
		if err == nil || !strings.Contains(err.Error(), edit[2]) {
			t.Errorf("%s: %v, want %q", what, err, edit[2])
		}
	}
}
