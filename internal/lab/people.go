package lab

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

func isPerson(name string) bool {
	return slices.ContainsFunc(People, func(p Person) bool { return p.Name == name })
}

func (l *Lab) agentSocket(person string) string { return l.Sockets + "/" + person + ".sock" }

// people gives each person a key, an agent that holds it, and an env file.
func (l *Lab) people() error {
	for _, p := range People {
		if err := os.MkdirAll(l.path(p.Name, "postern"), 0o700); err != nil {
			return err
		}
		key := l.path(p.Name, "id_ed25519")
		if err := l.newKey(key, p.Name); err != nil {
			return err
		}
		if err := l.Start("agent-" + p.Name); err != nil {
			return err
		}
		if err := l.run(l.Dir, []string{"SSH_AUTH_SOCK=" + l.agentSocket(p.Name)}, "ssh-add", "-q", key); err != nil {
			return err
		}
		var env strings.Builder
		for _, v := range l.Env(p.Name) {
			name, value, _ := strings.Cut(v, "=")
			fmt.Fprintf(&env, "export %s=%s\n", name, quote(value))
		}
		fmt.Fprintf(&env, "export PATH=%s:\"$PATH\"\n", quote(l.path("bin")))
		if err := os.WriteFile(l.path(p.Name, "env"), []byte(env.String()), 0o600); err != nil {
			return err
		}
	}
	return os.WriteFile(l.path("auditors"), l.read("carol/id_ed25519.pub"), 0o600)
}

// Env is what makes postern act as that person. With the private half of the key at hand it gives certificates to the
// agent too, so that ssh finds them without any configuration.
func (l *Lab) Env(person string) []string {
	return []string{
		"POSTERN_CA=" + l.Addresses["ca"],
		"POSTERN_TRUST=" + l.path("trust"),
		"POSTERN_KEY=" + l.path(person, "id_ed25519"),
		"POSTERN_HOME=" + l.path(person, "postern"),
		"SSH_AUTH_SOCK=" + l.agentSocket(person),
	}
}

// sshConfigs writes what `postern ssh-config` prints for each person, after the line that names the person's own agent.
func (l *Lab) sshConfigs() error {
	for _, p := range People {
		lines, err := l.output(l.Dir, l.Env(p.Name), l.path("bin", "postern"), "ssh-config", "--user", l.Account)
		if err != nil {
			return err
		}
		head := fmt.Sprintf("IdentityAgent %s\n", l.agentSocket(p.Name))
		if err := os.WriteFile(l.path(p.Name, "ssh_config"), slices.Concat([]byte(head), lines, []byte(l.directBlock(p.Name))), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// auditor makes carol's identity and this month's recording key: without one no bastion opens a session.
func (l *Lab) auditor() error {
	if exists(l.path("carol", "postern", "auditor.key"))() {
		return nil
	}
	for _, command := range [][]string{{"auditor", "init"}, {"recording-key", "new"}} {
		if err := l.run(l.Dir, l.Env("carol"), append([]string{l.path("bin", "postern")}, command...)...); err != nil {
			return err
		}
	}
	return nil
}

// newKey makes an ed25519 key without a passphrase, unless it is there.
func (l *Lab) newKey(file, comment string) error {
	if exists(file)() {
		return nil
	}
	return l.run(l.Dir, nil, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", file)
}

func (l *Lab) read(name string) []byte {
	b, _ := os.ReadFile(l.path(name))
	return b
}

// quote makes a word that a shell reads as it is.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
