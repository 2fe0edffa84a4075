package policy

import (
	"embed"
	"encoding/base64"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

//go:embed testdata
var seedFS embed.FS

// TestKeysAsSSHKeygenSeesThem makes keys with the real thing and compares the fingerprints.
func TestKeysAsSSHKeygenSeesThem(t *testing.T) {
	keygen, err := exec.LookPath("ssh-keygen")
	if err != nil {
		t.Fatal("ssh-keygen is missing; install it with: apt-get install openssh-client")
	}
	dir := t.TempDir()
	for _, c := range []struct{ kind, bits string }{
		{"ed25519", ""}, {"ecdsa", "256"}, {"ecdsa", "384"}, {"ecdsa", "521"}, {"rsa", "2048"}, {"rsa", "1024"},
	} {
		path := filepath.Join(dir, c.kind+c.bits)
		args := []string{"-q", "-N", "", "-C", "a comment", "-f", path, "-t", c.kind}
		if c.bits != "" {
			args = append(args, "-b", c.bits)
		}
		if out, err := exec.Command(keygen, args...).CombinedOutput(); err != nil {
			t.Fatalf("ssh-keygen: %v: %s", err, out)
		}
		sees, err := exec.Command(keygen, "-l", "-f", path+".pub").Output()
		if err != nil {
			t.Fatal(err)
		}
		line, err := os.ReadFile(path + ".pub")
		if err != nil {
			t.Fatal(err)
		}
		key, err := parseKey(string(line))
		if c.bits == "1024" {
			if err == nil || !strings.Contains(err.Error(), "1024 bits are too few") {
				t.Errorf("rsa 1024: %v", err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if fields := strings.Fields(string(sees)); fields[1] != key.Fingerprint || key.FIDO() {
			t.Errorf("%s: %+v, ssh-keygen says %s", c.kind, key, sees)
		}
		if key.Line+" a comment\n" != string(line) {
			t.Errorf("%q became %q", line, key.Line)
		}
	}
}

func TestFIDOKeys(t *testing.T) {
	set := clinic(t)
	for name, want := range map[string]string{"frank": "sk-ssh-ed25519@openssh.com", "dana": "sk-ecdsa-sha2-nistp256@openssh.com"} {
		p, _ := set.Person(name)
		if key := p.Keys[0]; key.Type != want || !key.FIDO() {
			t.Errorf("%s: %+v", name, key)
		}
	}
}

// wire joins RFC 4251 strings and encodes them as the second word of a key line.
func wire(fields ...string) string {
	var b []byte
	for _, field := range fields {
		b = binary.BigEndian.AppendUint32(b, uint32(len(field)))
		b = append(b, field...)
	}
	return base64.StdEncoding.EncodeToString(b)
}

func TestKeysThatAreRefused(t *testing.T) {
	point := strings.Repeat("p", 32)
	odd := "\x00" + strings.Repeat("\xff", 256)
	for _, c := range []struct{ line, want string }{
		{"", "empty"},
		{"ssh-ed25519", "the key itself is missing"},
		{"ssh-ed25519 !", "not base64"},
		{"ssh-ed25519 " + strings.TrimRight(wire("ssh-ed25519", point+"x"), "="), "not base64"},
		{"ssh-ed25519 " + wire("ssh-rsa", point), `the line says ssh-ed25519 but the key in it is of type "ssh-rsa"`},
		{"ssh-ed25519 " + wire("ssh-ed25519", point[1:]), "cut short"},
		{"ssh-ed25519 " + wire("ssh-ed25519"), "cut short"},
		{"ssh-ed25519 " + wire("ssh-ed25519", point, ""), "4 bytes follow the key"},
		{"ssh-ed25519 " + base64.StdEncoding.EncodeToString([]byte{255, 255, 255, 255, 1}), "cut short"},
		{"sk-ssh-ed25519@openssh.com " + wire("sk-ssh-ed25519@openssh.com", point, "https://evil.example"), "is not one of ssh"},
		{"ecdsa-sha2-nistp256 " + wire("ecdsa-sha2-nistp256", "nistp384", "\x04"+strings.Repeat("a", 64)), `the curve is "nistp384"`},
		{"ecdsa-sha2-nistp256 " + wire("ecdsa-sha2-nistp256", "nistp256", "\x04"+strings.Repeat("a", 64)), "no point of nistp256"},
		{"ecdsa-sha2-nistp256 " + wire("ecdsa-sha2-nistp256", "nistp256", "\x00"), "no point of nistp256"},
		{"ssh-rsa " + wire("ssh-rsa", "\x01", odd), "the exponent is not an odd number"},
		{"ssh-rsa " + wire("ssh-rsa", "\x04", odd), "the exponent is not an odd number"},
		{"ssh-rsa " + wire("ssh-rsa", "\x00\x03", odd), "not in its shortest form"},
		{"ssh-rsa " + wire("ssh-rsa", "\x03", strings.Repeat("\xff", 256)), "negative"},
		{"ssh-rsa " + wire("ssh-rsa", "\x03", odd[:256]+"\xfe"), "the modulus is even"},
		{"ssh-rsa " + wire("ssh-rsa", "\x03", "\x7f"+strings.Repeat("\xff", 2048)), "16391 bits are too many"},
		{"ssh-rsa " + wire("ssh-rsa", "\x03"), "cut short"},
		{"ssh-dss " + wire("ssh-dss"), "ssh-dss keys are broken"},
		{"ssh-rsa-cert-v01@openssh.com AAAA", "is a certificate"},
		{`from="10.0.0.1" ssh-ed25519 ` + wire("ssh-ed25519", point), "options are not allowed"},
	} {
		if key, err := parseKey(c.line); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.60q: %+v, %v, want %q", c.line, key, err, c.want)
		}
	}
}

func TestAddresses(t *testing.T) {
	for text, want := range map[string]string{
		"phi1": "phi1:22", "phi1.example:2201": "phi1.example:2201", "10.0.0.1": "10.0.0.1:22", "[::1]:2022": "[::1]:2022",
		"::1": "[::1]:22", "::ffff:10.0.0.1": "10.0.0.1:22", "10.0.0.1:0022": "10.0.0.1:22", "127.0.0.1:2201": "127.0.0.1:2201",
		"": "", ":22": "", "phi1:": "", "phi1:65536": "", "phi1:-1": "", "phi1:+22": "", "a..b": "", "phi 1": "", "-oProxyCommand=x": "",
		"a:b:c": "", "[::]:22": "", "224.0.0.1": "", "2130706433": "", "phi1,phi2": "", "phi1/24": "",
	} {
		got, err := parseAddress(text)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v, want %q", text, got, err, want)
		}
	}
}
