package lab

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"
)

// piece is how one daemon is started, and how one sees that it works.
type piece struct {
	argv  []string
	env   []string
	ready func() bool
}

// Start starts one daemon of the lab by its name in lab.json: ca, bastion, phi1, host-phi1, agent-alice and so on.
func (l *Lab) Start(name string) error {
	if slices.Contains(l.running(), name) {
		return fmt.Errorf("%s runs already", name)
	}
	p, err := l.piece(name)
	if err != nil {
		return err
	}
	return l.spawn(name, slices.Concat(l.Within[name], p.argv, l.Flags[name]), p.env, p.ready)
}

func (l *Lab) piece(name string) (piece, error) {
	switch kind, of, _ := strings.Cut(name, "-"); {
	case name == "ca":
		return l.fresh("run/ca.address", piece{argv: []string{l.path("bin", "postern-ca"), "serve", "--dir", l.path("ca"), "--policy", l.path("policy"),
			"--listen", l.Addresses["ca"], "--address-file", l.path("run", "ca.address")}}), nil
	case name == "bastion":
		return l.fresh("run/bastion.address", piece{argv: []string{l.path("bin", "postern-bastion"), "serve", "--dir", l.path("bastion"), "--name", "bastion-1",
			"--ca", l.Addresses["ca"], "--trust", l.path("trust"), "--auditors", l.path("auditors"),
			"--listen", l.Addresses["bastion"], "--address-file", l.path("run", "bastion.address")}}), nil
	case kind == "host" && slices.Contains(Hosts, of):
		return l.hostAgent(of), nil
	case slices.Contains(Hosts, name):
		return l.sshd(name)
	case name == "direct":
		if err := l.configureDirect(); err != nil {
			return piece{}, err
		}
		return l.sshd(name)
	case kind == "agent" && isPerson(of):
		socket := l.agentSocket(of)
		os.Remove(socket)
		return piece{argv: []string{"ssh-agent", "-D", "-a", socket}, ready: answers("unix", socket)}, nil
	}
	return piece{}, fmt.Errorf("the lab has no %q", name)
}

// fresh waits for an address file that this start wrote, not the one before.
func (l *Lab) fresh(addressFile string, p piece) piece {
	file := l.path(addressFile)
	os.Remove(file)
	p.ready = exists(file)
	return p
}

// Reload makes the CA read its policy again, and returns when it has.
func (l *Lab) Reload() error {
	file := l.path("log", "ca.log")
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	if err := l.Signal("ca", syscall.SIGHUP); err != nil {
		return err
	}
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		log, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if since := string(log[info.Size():]); strings.Contains(since, "policy loaded") || strings.Contains(since, "the policy stays as it was") {
			return nil
		}
	}
	return fmt.Errorf("the CA did not read its policy in %s; its log %s ends:\n%s", patience, file, tail(file))
}

// authority makes the CA's keys and policy and starts it.
func (l *Lab) authority() error {
	if !exists(l.path("ca", "keys"))() {
		if err := l.run(l.Dir, nil, l.path("bin", "postern-ca"), "init", "--dir", l.path("ca")); err != nil {
			return err
		}
	}
	if err := os.CopyFS(l.path("trust.new"), os.DirFS(l.path("ca", "trust"))); err != nil {
		return err
	}
	if err := os.RemoveAll(l.path("trust")); err != nil {
		return err
	}
	if err := os.Rename(l.path("trust.new"), l.path("trust")); err != nil {
		return err
	}
	if err := l.identities(); err != nil {
		return err
	}
	if err := l.policy(); err != nil {
		return err
	}
	return l.Start("ca")
}

// identities makes the keys with which the bastion and the hosts log in to the CA, and the hosts' own.
func (l *Lab) identities() error {
	if err := l.identity("postern-bastion", "bastion"); err != nil {
		return err
	}
	for _, host := range Hosts {
		if err := l.identity("postern-host", host); err != nil {
			return err
		}
		if err := l.newKey(l.hostKey(host), host); err != nil {
			return err
		}
	}
	return nil
}

func (l *Lab) identity(program, dir string) error {
	if exists(l.path(dir, "identity.pub"))() {
		return nil
	}
	return l.run(l.Dir, nil, l.path("bin", program), "init", "--dir", l.path(dir))
}
