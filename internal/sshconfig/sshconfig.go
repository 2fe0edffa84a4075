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
	Bastion      string   // its name: what its host certificate stands for, and what one may type
	Address      string   // host:port
	Hosts        []string // names and aliases behind it
	User         string   // account to log in with; empty: the one ssh takes by itself
	Identity     string   // key file; a public one when the private half is in an agent
	Certificates string   // directory of account@host-cert.pub
	KnownHosts   string   // file with the gateway CA's @cert-authority line
}

// String renders the lines. ssh -J starts a second ssh for the bastion which inherits the configuration file but no
// option of the first, so the bastion has a block of its own. Tokens pick the certificate of the account and host that
// is meant, so several grants live side by side; IdentitiesOnly keeps an agent full of keys from using up the attempts
// a server allows.
func (c Config) String() (string, error) {
	host, port, err := net.SplitHostPort(c.Address)
	if err != nil {
		return "", fmt.Errorf("bastion %s: address %q: %w", c.Bastion, c.Address, err)
	}
	if err := c.check(host, port); err != nil {
		return "", err
	}
	certificate := func(name string) string { return quote(tokens(c.Certificates) + string(filepath.Separator) + name) }
	common := []string{
		"IdentityFile " + quote(tokens(c.Identity)),
		"IdentitiesOnly yes",
		"UserKnownHostsFile " + quote(tokens(c.KnownHosts)),
		"StrictHostKeyChecking yes",
	}
	bastion := append([]string{
		"Host " + c.Bastion,
		"HostName " + host,
		"Port " + port,
		"HostKeyAlias " + c.Bastion,
		"CertificateFile " + certificate("%r-cert.pub"), // ssh -l root@phi1 bastion
		"CertificateFile " + certificate("bastion-cert.pub"),
	}, common...)
	if len(c.Hosts) == 0 {
		return block(bastion), nil
	}
	hosts := []string{"Host " + strings.Join(c.Hosts, " ")}
	if c.User != "" {
		hosts = append(hosts, "User "+c.User)
	}
	hosts = append(hosts,
		"ProxyJump "+c.Bastion,
		"CertificateFile "+certificate("%r@%h-cert.pub"),
		"CertificateFile "+certificate("bastion-cert.pub"), // for an alias: the certificate names the host itself
	)
	return block(bastion) + "\n" + block(append(hosts, common...)), nil
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
