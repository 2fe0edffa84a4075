// Package systemd only holds this test: the units beside it are files.
package systemd

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// threshold is 2.5 in the words of systemd-analyze security.
const threshold = "25"

// services are the units: which program each starts, with what. The programs are where the units expect them.
var services = map[string]struct{ program, command string }{
	"postern-ca":      {"postern-ca", "serve"},
	"postern-bastion": {"postern-bastion", "serve"},
	"postern-host":    {"postern-host", "serve"},
	"postern-witness": {"postern", "witness run"},
}

const installed = "/usr/local/bin/"

func run(t *testing.T, name string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "SYSTEMD_COLORS=0", "SYSTEMD_EMOJI=0", "SYSTEMD_PAGER=")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func needSystemd(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Fatal("systemd-analyze is missing; install it with: apt-get install systemd")
	}
}

func units(t *testing.T, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no units like %s: %v", pattern, err)
	}
	return files
}

// built are the real programs, because the units must fit their flags.
var built string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "postern-units-")
	if err != nil {
		panic(err)
	}
	built = dir
	status := m.Run()
	os.RemoveAll(dir)
	os.Exit(status)
}

func build(t *testing.T) (dir string) {
	t.Helper()
	dir = built
	if made, _ := os.ReadDir(dir); len(made) > 0 {
		return dir
	}
	args := []string{"build", "-o", dir}
	for _, s := range services {
		args = append(args, "../cmd/"+s.program)
	}
	if out, err := run(t, "go", args...); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return dir
}

func TestVerify(t *testing.T) {
	needSystemd(t)
	bin, dir := build(t), t.TempDir()
	var paths []string
	for _, unit := range append(units(t, "*.service"), units(t, "*.path")...) {
		text, err := os.ReadFile(unit)
		if err != nil {
			t.Fatal(err)
		}
		// Only where the programs are is changed: nothing is installed on this machine.
		text = bytes.ReplaceAll(text, []byte(installed), []byte(bin+"/"))
		path := filepath.Join(dir, unit)
		if err := os.WriteFile(path, text, 0o644); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	out, err := run(t, "systemd-analyze", append([]string{"verify", "--man=no"}, paths...)...)
	// It also tells of other units of this machine, and is content with some mistakes in ours.
	for line := range strings.Lines(out) {
		if strings.Contains(line, "postern") {
			t.Error(strings.TrimSpace(line))
		}
	}
	if err != nil {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}

func TestSecurity(t *testing.T) {
	needSystemd(t)
	for _, unit := range units(t, "*.service") {
		path, err := filepath.Abs(unit)
		if err != nil {
			t.Fatal(err)
		}
		if out, err := run(t, "systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold="+threshold, path); err != nil {
			t.Errorf("%s: %v\n%s", unit, err, out)
		}
	}
}

func TestEachProgramHasAUnit(t *testing.T) {
	bin := build(t)
	flag := regexp.MustCompile(`--[a-z-]+`)
	variable := regexp.MustCompile(`\$\{([A-Z_]+)\}`)
	for name, s := range services {
		text, err := os.ReadFile(name + ".service")
		if err != nil {
			t.Fatal(err)
		}
		start, _, found := strings.Cut(after(string(text), "\nExecStart="), "\n")
		if !found || !strings.HasPrefix(start, installed+s.program+" ") || !strings.Contains(start, " "+s.command+" ") {
			t.Errorf("%s.service starts %q", name, start)
		}
		help, err := run(t, filepath.Join(bin, s.program), append(strings.Fields(s.command), "--help")...)
		if err != nil {
			t.Errorf("%s %s --help: %v\n%s", s.program, s.command, err, help)
		}
		global, err := run(t, filepath.Join(bin, s.program), "--help")
		if err != nil {
			t.Errorf("%s --help: %v\n%s", s.program, err, global)
		}
		for _, f := range flag.FindAllString(start, -1) {
			if !regexp.MustCompile(`(?m)^\s+` + f + `[ ,]`).MatchString(global + help) {
				t.Errorf("%s.service gives %s, which %s %s does not know:\n%s", name, f, s.program, s.command, help)
			}
		}
		// What has no default in the unit must be named in its comment as something to configure.
		for _, v := range variable.FindAllStringSubmatch(start, -1) {
			if !strings.Contains(string(text), "\nEnvironment="+v[1]+"=") && !strings.Contains(string(text), "\n#   "+v[1]+"=") {
				t.Errorf("%s.service uses %s, which nothing sets", name, v[1])
			}
		}
		if user := "User=" + name; !strings.Contains(string(text), "\n"+user+"\n") {
			t.Errorf("%s.service does not say %s", name, user)
		}
	}
}

func after(s, sep string) string {
	_, rest, _ := strings.Cut(s, sep)
	return rest
}

func TestUsers(t *testing.T) {
	needSystemd(t)
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	file, err := filepath.Abs("postern.sysusers")
	if err != nil {
		t.Fatal(err)
	}
	if out, err := run(t, "systemd-sysusers", "--root="+root, file); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	passwd, err := os.ReadFile(filepath.Join(root, "etc/passwd"))
	if err != nil {
		t.Fatal(err)
	}
	tmpfiles, err := os.ReadFile("postern.tmpfiles")
	if err != nil {
		t.Fatal(err)
	}
	for p := range services {
		if !regexp.MustCompile(`(?m)^` + p + `:.*:/var/lib/` + p + `:[^:]*nologin$`).Match(passwd) {
			t.Errorf("no user %s without a shell:\n%s", p, passwd)
		}
		if !strings.Contains(string(tmpfiles), fmt.Sprintf(" %s %s\n", p, p)) {
			t.Errorf("postern.tmpfiles makes no directory for %s", p)
		}
	}
}

// postern-host may signal the processes of others, to end what runs for revoked sessions; no other program may do anything that its user may not.
func TestCapabilities(t *testing.T) {
	line := regexp.MustCompile(`(?m)^(CapabilityBoundingSet|AmbientCapabilities)=(.*)$`)
	for program := range services {
		text, err := os.ReadFile(program + ".service")
		if err != nil {
			t.Fatal(err)
		}
		want := ""
		if program == "postern-host" {
			want = "CAP_KILL"
		}
		found := line.FindAllStringSubmatch(string(text), -1)
		if len(found) != 2 {
			t.Errorf("%s.service says %q", program, found)
		}
		for _, f := range found {
			if f[2] != want {
				t.Errorf("%s.service: %s", program, f[0])
			}
		}
	}
}
