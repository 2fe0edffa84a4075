package sshconfig

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// effective is what real ssh makes of our lines for a destination.
func effective(t *testing.T, lines string, words ...string) map[string][]string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(file, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("ssh", append([]string{"-G", "-F", file}, words...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("ssh -G %v: %v\n%s\n%s", words, err, out, lines)
	}
	options := map[string][]string{}
	for line := range strings.Lines(string(out)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		options[name] = append(options[name], value)
	}
	return options
}

// files is what ssh opens after it has put the tokens in, which ssh -G does not show: identity file, then certificates.
func files(t *testing.T, lines string, words ...string) []string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(file, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	args := append([]string{"-v", "-F", file, "-o", "ProxyCommand=cat /dev/null"}, words...)
	out, _ := exec.Command("ssh", append(args, "true")...).CombinedOutput() // there is nobody to talk to
	var found []string
	for line := range strings.Lines(string(out)) {
		for _, kind := range []string{"identity file ", "certificate file "} {
			if _, rest, ok := strings.Cut(line, kind); ok {
				path, _, _ := strings.Cut(rest, " type ")
				found = append(found, strings.ReplaceAll(path, `\\`, `\`)) // the log doubles them
			}
		}
	}
	return found
}

func example(dir string) Config {
	return Config{
		CA: "postern-ca", CAAddress: "127.0.0.1:7022",
		Bastion: "bastion-1", Address: "127.0.0.1:2022", Hosts: []string{"phi1", "phi1.example", "phi2"},
		Aliases:  map[string]string{"phi1.example": "phi1"},
		Identity: dir + "/id_ed25519", Certificates: dir + "/certs", KnownHosts: dir + "/trust/known_hosts",
	}
}

func TestWhatSSHMakesOfIt(t *testing.T) {
	lines, err := example("/home/alice").String()
	if err != nil {
		t.Fatal(err)
	}
	common := map[string]string{
		"identityfile": "/home/alice/id_ed25519", "identitiesonly": "yes",
		"userknownhostsfile": "/home/alice/trust/known_hosts", "stricthostkeychecking": "true",
	}
	for _, test := range []struct {
		words []string
		want  map[string]string
	}{
		{[]string{"root@phi1"}, map[string]string{"user": "root", "hostname": "phi1", "port": "22", "proxyjump": "%r+phi1@bastion-1"}},
		{[]string{"postgres@phi2"}, map[string]string{"user": "postgres", "proxyjump": "%r+%h@bastion-1"}},
		{[]string{"-l", "root", "phi1.example"}, map[string]string{"user": "root", "hostname": "phi1.example", "proxyjump": "%r+phi1@bastion-1"}},
		{[]string{"bastion-1"}, map[string]string{"hostname": "127.0.0.1", "port": "2022", "hostkeyalias": "bastion-1", "proxyjump": ""}},
		{[]string{"-l", "root@phi1", "bastion-1"}, map[string]string{"user": "root@phi1", "proxyjump": ""}},
	} {
		got := effective(t, lines, test.words...)
		for _, want := range []map[string]string{common, test.want} {
			for name, value := range want {
				if joined := strings.Join(got[name], " "); joined != value {
					t.Errorf("ssh %v: %s is %q, want %q", test.words, name, joined, value)
				}
			}
		}
	}
	if got := effective(t, lines, "elsewhere.example"); got["proxyjump"] != nil || strings.Join(got["identitiesonly"], "") == "yes" {
		t.Errorf("the lines touch a host that is not ours: %v", got)
	}
}

func TestWhichFilesSSHOpens(t *testing.T) {
	for _, dir := range []string{"/home/alice", `/home/al ice/50%h "x" \y`} {
		lines, err := example(dir).String()
		if err != nil {
			t.Fatal(err)
		}
		for _, test := range []struct {
			words        string
			certificates []string
		}{
			{"root@phi1", []string{"root@phi1-cert.pub"}},
			{"root@phi1.example", []string{"root@phi1-cert.pub"}},
			{"-l postgres phi2", []string{"postgres@phi2-cert.pub"}},
			{"-l root@phi1 bastion-1", []string{"root@phi1-cert.pub", "bastion-cert.pub"}},
			{"-l root+phi1 bastion-1", []string{"root+phi1-cert.pub", "bastion-cert.pub"}}, // how the jump logs in
		} {
			want := []string{dir + "/id_ed25519"}
			for _, name := range test.certificates {
				want = append(want, dir+"/certs/"+name)
			}
			if got := files(t, lines, strings.Fields(test.words)...); !slices.Equal(got, want) {
				t.Errorf("ssh %s opens %q, want %q", test.words, got, want)
			}
		}
	}
}

// The jump's own ssh is started with the user name that leads to the certificate of the target.
func TestJump(t *testing.T) {
	dir := t.TempDir()
	c := example(dir)
	c.Address = "127.0.0.1:1" // nobody listens
	lines, err := c.String()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "config")
	if err := os.WriteFile(file, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	for target, name := range map[string]string{"root@phi1.example": "root+phi1", "postgres@phi2": "postgres+phi2"} {
		out, _ := exec.Command("ssh", "-v", "-F", file, target, "true").CombinedOutput()
		if !strings.Contains(string(out), "-l "+name+" ") {
			t.Errorf("ssh %s does not jump as %s:\n%s", target, name, out)
		}
	}
	if got := Names("root@phi1"); !slices.Equal(got, []string{"root@phi1-cert.pub", "root+phi1-cert.pub"}) {
		t.Errorf("names %q", got)
	}
}

func TestUser(t *testing.T) {
	c := example("/home/alice")
	c.User = "root"
	lines, err := c.String()
	if err != nil {
		t.Fatal(err)
	}
	if got := effective(t, lines, "phi1")["user"]; got[0] != "root" {
		t.Errorf("user is %q", got)
	}
	if got := effective(t, lines, "adam@phi1")["user"]; got[0] != "adam" {
		t.Errorf("a typed account lost to the configured one: %q", got)
	}
}

func TestNamesThatWouldBeMore(t *testing.T) {
	for _, spoil := range []func(*Config){
		func(c *Config) { c.Hosts = append(c.Hosts, "*") },
		func(c *Config) { c.Hosts = append(c.Hosts, "a\n    ProxyCommand touch /tmp/x") },
		func(c *Config) { c.Hosts = append(c.Hosts, "!phi1") },
		func(c *Config) { c.Hosts = append(c.Hosts, "-oProxyCommand=x") },
		func(c *Config) { c.Hosts = append(c.Hosts, "") },
		func(c *Config) { c.Bastion = "b exec x" },
		func(c *Config) { c.Bastion = "" },
		func(c *Config) { c.Address = "no port" },
		func(c *Config) { c.Address = "h`x`:22" },
		func(c *Config) { c.User = "root\nMatch all" },
		func(c *Config) { c.Identity = "/a\nMatch all" },
		func(c *Config) { c.Certificates = "/${HOME}/x" },
		func(c *Config) { c.KnownHosts = "relative" },
	} {
		c := example("/home/alice")
		spoil(&c)
		if lines, err := c.String(); err == nil {
			t.Errorf("accepted %+v:\n%s", c, lines)
		}
	}
}

func TestIPv6Bastion(t *testing.T) {
	c := example("/home/alice")
	c.Address = "[::1]:2022"
	lines, err := c.String()
	if err != nil {
		t.Fatal(err)
	}
	if got := effective(t, lines, "bastion-1")["hostname"]; got[0] != "::1" {
		t.Errorf("hostname %q", got)
	}
}

func TestTheControlPlane(t *testing.T) {
	lines, err := example("/home/alice").String()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"ca", "postern-ca"} {
		got := effective(t, lines, name)
		for option, want := range map[string]string{"hostname": "127.0.0.1", "port": "7022", "hostkeyalias": "postern-ca"} {
			if !slices.Equal(got[option], []string{want}) {
				t.Errorf("ssh %s: %s is %v, want %s", name, option, got[option], want)
			}
		}
		if got["proxyjump"] != nil {
			t.Errorf("ssh %s jumps through %v", name, got["proxyjump"])
		}
	}
	bad := example("/home/alice")
	bad.CAAddress = "127.0.0.1"
	if _, err := bad.String(); err == nil {
		t.Error("an address without a port is taken")
	}
}
