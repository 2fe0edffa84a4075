// Package lab runs the whole of postern on one machine: a CA, a bastion, two OpenSSH hosts and six people, each with an
// ssh-agent. Start with [Up]. Everything listens on 127.0.0.1 and lives below one directory; the processes outlive the
// program that started them, and [Lab.Down] ends those and no others. It works as root and as an ordinary user: the
// account on the hosts is whoever runs it. lab.json in the directory says where everything is.
package lab

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Config says which lab to bring up.
type Config struct {
	Dir  string    // where everything goes; made when missing
	Root string    // the source tree the programs are built from
	Bin  string    // programs built already; empty: they are built from Root
	Log  io.Writer // told what happens, one line each; nil: nobody is

	CAHost string              // the address of the CA; empty: 127.0.0.1
	Within map[string][]string // by daemon, what it is started with, such as ip netns exec NAME
	Flags  map[string][]string // by daemon, more of its command line: of ca and bastion
}

// Lab is a lab that is up, or was: the contents of its lab.json.
type Lab struct {
	Dir       string             `json:"dir"`
	Account   string             `json:"account"`   // on the hosts
	Addresses map[string]string  `json:"addresses"` // ca, bastion, phi1, phi2, direct: host:port
	Ports     map[string]int     `json:"ports"`     // the same, the number alone
	PIDs      map[string]int     `json:"pids"`      // every process by name
	Processes map[string]Process `json:"processes"` // the same, with what tells it from a later process of that number
	Sockets   string             `json:"sockets"`   // directory of the agents' sockets

	Within map[string][]string `json:"within,omitempty"` // as in [Config]
	Flags  map[string][]string `json:"flags,omitempty"`

	root   string
	log    io.Writer
	guards []int // sockets that keep the ports for us
}

// Host names and people of every lab. The groups decide what the policy lets them do.
var (
	Hosts  = []string{"phi1", "phi2"}
	People = []Person{
		{"alice", "dba"}, {"adam", "dba"},
		{"bob", "privacy"}, {"dana", "ehr-owners"},
		{"carol", "auditors"}, {"olga", "operators"},
	}
)

// Person is somebody with a key, an agent and an env file of their own.
type Person struct{ Name, Group string }

// patience bounds how long one piece may take to come up: generous, because two slow cores may run several labs at once.
const patience = 60 * time.Second

// Up brings a lab up below cfg.Dir. One that was taken down before comes up again as it was.
func Up(cfg Config) (*Lab, error) {
	l, err := prepare(cfg)
	if err != nil {
		return nil, err
	}
	if err := l.up(cfg); err != nil {
		return nil, errors.Join(err, l.Down())
	}
	return l, nil
}

func (l *Lab) up(cfg Config) error {
	steps := []struct {
		says string
		do   func() error
	}{
		{"programs", func() error { return l.programs(cfg.Bin) }},
		{"people", l.people},
		{"certificate authority", l.authority},
		{"hosts", l.hosts},
		{"auditor", l.auditor},
		{"bastion", func() error { return l.Start("bastion") }},
		{"ssh_config", l.sshConfigs},
	}
	for _, step := range steps {
		began := time.Now()
		if err := step.do(); err != nil {
			return fmt.Errorf("%s: %w", step.says, err)
		}
		fmt.Fprintf(l.log, "lab: %-22s %5.1fs\n", step.says, time.Since(began).Seconds())
	}
	return nil
}

// prepare makes the directory and decides the ports, the same ones as last time if there was a last time.
func prepare(cfg Config) (*Lab, error) {
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, err
	}
	l, err := Load(dir)
	switch {
	case errors.Is(err, os.ErrNotExist):
		l = &Lab{Dir: dir, Within: cfg.Within, Flags: cfg.Flags}
	case err != nil:
		return nil, err
	case len(l.running()) > 0:
		return nil, fmt.Errorf("the lab in %s is up already (%s); take it down with: scripts/lab down %s", dir, strings.Join(l.running(), " "), dir)
	}
	l.root, l.log = cfg.Root, cfg.Log
	if l.log == nil {
		l.log = io.Discard
	}
	// The programs and sshd read what is below dir as the user who runs them and nobody else.
	if err := mkdirs(dir, l.path("bin"), l.path("log"), l.path("run"), l.path("trust"), l.path("policy")); err != nil {
		return nil, err
	}
	l.PIDs, l.Processes = map[string]int{}, map[string]Process{}
	if l.Account == "" {
		if err := l.settle(cmp.Or(cfg.CAHost, "127.0.0.1")); err != nil {
			return nil, err
		}
	}
	return l, errors.Join(mkdirs(l.Sockets), l.save())
}

// settle chooses what stays the same for the life of the lab.
func (l *Lab) settle(caHost string) error {
	me, err := user.Current()
	if err != nil {
		return fmt.Errorf("which account to use on the hosts: %w", err)
	}
	l.Account = me.Username
	l.Addresses, l.Ports = map[string]string{}, map[string]int{}
	for _, name := range append([]string{"ca", "bastion", "direct"}, Hosts...) {
		port, guard, err := reservePort()
		if err != nil {
			return err
		}
		l.guards = append(l.guards, guard)
		l.Addresses[name], l.Ports[name] = fmt.Sprintf("127.0.0.1:%d", port), port
	}
	l.Addresses["ca"] = net.JoinHostPort(caHost, strconv.Itoa(l.Ports["ca"]))
	// A socket's path holds 107 bytes, and ssh-agent binds a longer temporary name first. A deep directory gets a short one beside it.
	l.Sockets = l.path("run")
	if len(l.Sockets) > 70 {
		l.Sockets, err = os.MkdirTemp("", "postern-lab-")
	}
	return err
}

// Load reads the lab.json of a lab.
func Load(dir string) (*Lab, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	b, err := os.ReadFile(filepath.Join(dir, "lab.json"))
	if err != nil {
		return nil, fmt.Errorf("no lab in %s: %w", dir, err)
	}
	l := &Lab{log: io.Discard}
	if err := json.Unmarshal(b, l); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, "lab.json"), err)
	}
	l.Dir = dir
	return l, nil
}

func (l *Lab) save() error {
	b, err := json.MarshalIndent(l, "", "  ")
	if err != nil {
		return err
	}
	temporary := l.path("lab.json.new")
	if err := os.WriteFile(temporary, append(b, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(temporary, l.path("lab.json"))
}

// path names something below the lab's directory.
func (l *Lab) path(parts ...string) string {
	return filepath.Join(append([]string{l.Dir}, parts...)...)
}

func mkdirs(dirs ...string) error {
	for _, d := range dirs {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return err
		}
	}
	return nil
}

// programs builds the four programs into bin, or links those that a caller has built.
func (l *Lab) programs(bin string) error {
	if bin == "" {
		return l.run(l.root, nil, "go", "build", "-trimpath", "-o", l.path("bin")+"/", "./cmd/...")
	}
	built, err := filepath.Glob(filepath.Join(bin, "postern*"))
	if err != nil || len(built) == 0 {
		return fmt.Errorf("no programs in %s; build them with: make build", bin)
	}
	for _, program := range built {
		program, err := filepath.Abs(program)
		if err != nil {
			return err
		}
		link := l.path("bin", filepath.Base(program))
		os.Remove(link)
		if err := os.Symlink(program, link); err != nil {
			return err
		}
	}
	return nil
}

// run runs a command to its end; what it printed is in the error when it fails.
func (l *Lab) run(dir string, env []string, argv ...string) error {
	_, err := l.output(dir, env, argv...)
	return err
}

func (l *Lab) output(dir string, env []string, argv ...string) ([]byte, error) {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir, cmd.Env = dir, append(environment(), env...)
	var diagnostics strings.Builder
	cmd.Stderr = &diagnostics
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w\n%s%s", strings.Join(argv, " "), err, out, diagnostics.String())
	}
	return out, nil
}

// environment is ours without what would make a program act as whoever runs the lab.
func environment() []string {
	var env []string
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		if name != "SSH_AUTH_SOCK" && name != "SSH_AGENT_PID" && !strings.HasPrefix(name, "POSTERN_") {
			env = append(env, v)
		}
	}
	return env
}
