// Package sshconfig renders the few lines of ssh_config that make stock OpenSSH go through a bastion: "ssh root@phi1",
// scp and sftp. Start with [Config].
package sshconfig

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
)

// Config is what the lines are made of. Paths are absolute.
type Config struct {
	CA           string            // its name; empty: no lines for it
	CAAddress    string            // host:port of the control plane
	Bastion      string            // its name: what its host certificate stands for, and what one may type
	Address      string            // host:port
	Hosts        []string          // names and aliases behind it
	Aliases      map[string]string // alias to the name that certificates speak of
	User         string            // account to log in with; empty: the one ssh takes by itself
	Identity     string            // key file; a public one when the private half is in an agent
	Certificates string            // directory of the files that [Names] lists
	KnownHosts   string            // file with the gateway CA's @cert-authority line
}

// The certificate that any jump may use when none for its target is there: ssh -J typed by hand.
const BastionCertificate = "bastion-cert.pub"

// Names are the files in which the lines look for the certificate of account@host: one under that name, and one under
// the user name that the jump to it logs in with.
func Names(target string) []string {
	return []string{target + "-cert.pub", strings.Replace(target, "@", "+", 1) + "-cert.pub"}
}

// String renders the lines.
//
// ssh -J starts a second ssh for the bastion which inherits the configuration file but no option of the first, so the
// bastion has a block of its own. Tokens pick the certificate of the account and host that is meant, for the jump as well
// (its user name, which the bastion does not care about, carries them over): several grants live side by side, and the end
// of one does not end the others. IdentitiesOnly keeps an agent full of keys from using up the attempts a server allows.
func (c Config) String() (string, error) {
	host, port, err := net.SplitHostPort(c.Address)
	if err != nil {
		return "", fmt.Errorf("bastion %s: address %q: %w", c.Bastion, c.Address, err)
	}
	if err := c.check(host, port); err != nil {
		return "", err
	}
	lines, err := c.controlPlane()
	if err != nil {
		return "", err
	}
	lines += block(append([]string{
		"Host " + c.Bastion,
		"HostName " + host,
		"Port " + port,
		"HostKeyAlias " + c.Bastion,
		"CertificateFile " + c.certificate("%r-cert.pub"),
		"CertificateFile " + c.certificate(BastionCertificate),
	}, c.common()...))
	var plain []string
	for _, names := range c.grouped() {
		if len(names) == 1 {
			plain = append(plain, names[0])
			continue
		}
		lines += "\n" + c.hosts(names, names[0])
	}
	if len(plain) > 0 {
		lines += "\n" + c.hosts(plain, "%h")
	}
	return lines, nil
}

// controlPlane is the block for "ssh ca request …", which needs no postern at all.
func (c Config) controlPlane() (string, error) {
	if c.CA == "" {
		return "", nil
	}
	host, port, err := net.SplitHostPort(c.CAAddress)
	if err != nil || !plain(host) || !plain(port) || !plain(c.CA) {
		return "", fmt.Errorf("CA %q: address %q is not host:port", c.CA, c.CAAddress)
	}
	return block(append([]string{"Host ca " + c.CA, "HostName " + host, "Port " + port, "HostKeyAlias " + c.CA}, c.common()...)) + "\n", nil
}

// grouped gives each host's name with its aliases after it.
func (c Config) grouped() [][]string {
	var groups [][]string
	at := map[string]int{}
	for _, name := range c.Hosts {
		if c.Aliases[name] == "" {
			at[name] = len(groups)
			groups = append(groups, []string{name})
		}
	}
	for _, name := range c.Hosts {
		if i, known := at[c.Aliases[name]]; known {
			groups[i] = append(groups[i], name)
		}
	}
	return groups
}

// hosts is the block for names; canonical is what certificates call them.
func (c Config) hosts(names []string, canonical string) string {
	lines := []string{"Host " + strings.Join(names, " ")}
	if c.User != "" {
		lines = append(lines, "User "+c.User)
	}
	return block(append(append(lines,
		"ProxyJump %r+"+canonical+"@"+c.Bastion,
		"CertificateFile "+c.certificate("%r@"+canonical+"-cert.pub"),
	), c.common()...))
}

func (c Config) common() []string {
	return []string{
		"IdentityFile " + quote(tokens(c.Identity)),
		"IdentitiesOnly yes",
		"UserKnownHostsFile " + quote(tokens(c.KnownHosts)),
		"StrictHostKeyChecking yes",
	}
}

func (c Config) certificate(name string) string {
	return quote(tokens(c.Certificates) + string(filepath.Separator) + name)
}

func (c Config) check(host, port string) error {
	words := append([]string{c.Bastion, host, port}, c.Hosts...)
	if c.User != "" {
		words = append(words, c.User)
	}
	for _, word := range words {
		if !plain(word) {
			return fmt.Errorf("%q is no name for ssh_config", word)
		}
	}
	for _, path := range []string{c.Identity, c.Certificates, c.KnownHosts} {
		// ssh_config has no way to say these: "${" is a variable, and a line ends where it ends.
		if !filepath.IsAbs(path) || strings.ContainsAny(path, "\n\r\x00") || strings.Contains(path, "${") {
			return fmt.Errorf("ssh_config cannot name the path %q", path)
		}
	}
	if c.Bastion == "" || port == "" {
		return errors.New("the bastion has no name or no port")
	}
	return nil
}

// plain says that a word from the CA is a name and nothing that ssh_config gives a meaning: no pattern, no option.
func plain(word string) bool {
	for i, r := range word {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '_':
		case (r == '-' || r == '.' || r == ':') && i > 0:
		case r == ':': // ::1
		default:
			return false
		}
	}
	return word != ""
}

func tokens(path string) string { return strings.ReplaceAll(path, "%", "%%") }

func quote(path string) string {
	if !strings.ContainsAny(path, " \t\"'\\#=") {
		return path
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(path) + `"`
}

func block(lines []string) string { return strings.Join(lines, "\n    ") + "\n" }
