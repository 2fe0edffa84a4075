package main

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"postern/internal/command"
)

var sshdConfigCommand = &cli.Command{
	Name:  "sshd-config",
	Usage: "print the lines of sshd_config that put a host under postern",
	Flags: []cli.Flag{
		nameFlag,
		&cli.StringFlag{Name: "trust", Usage: "`DIR`ectory with session_ca.pub", Value: "/etc/postern/trust"},
		&cli.StringFlag{Name: "revoked-keys", Usage: "the `FILE` that serve keeps fresh", Value: "/var/lib/postern-host/revoked_keys"},
		&cli.StringFlag{Name: "host-key", Usage: "`FILE` with the host's private key; empty: the policy pins the key", Value: "/etc/ssh/ssh_host_ed25519_key"},
		&cli.StringFlag{Name: "host-certificate", Usage: "the `FILE` that serve keeps fresh", Value: "/var/lib/postern-host/host_certificate"},
		&cli.StringFlag{Name: "program", Usage: "where postern-host is installed", Value: "/usr/local/bin/postern-host"},
	},
	Action: func(c *cli.Context) error {
		if err := command.FlagsOnly(c, "name", "trust", "revoked-keys", "program"); err != nil {
			return err
		}
		text, err := sshdConfig{
			Name:            c.String("name"),
			Trust:           c.String("trust"),
			RevokedKeys:     c.String("revoked-keys"),
			HostKey:         c.String("host-key"),
			HostCertificate: c.String("host-certificate"),
			Program:         c.String("program"),
		}.text()
		if err != nil {
			return err
		}
		fmt.Print(text)
		return nil
	},
}

type sshdConfig struct {
	Name, Trust, RevokedKeys, HostKey, HostCertificate, Program string
}

func (s sshdConfig) text() (string, error) {
	if _, err := principal("root", s.Name); err != nil {
		return "", err
	}
	for _, path := range []string{s.Trust, s.RevokedKeys, s.HostKey, s.HostCertificate, s.Program} {
		if strings.ContainsAny(path, " \t\n\"'\\%#") || path != "" && path[0] != '/' {
			return "", command.Misuse("%q must be an absolute path without blanks, quotes or %%", path)
		}
	}
	certificate := ""
	if s.HostKey != "" {
		certificate = fmt.Sprintf("\n# The bastion knows this host by this certificate.\nHostKey %s\nHostCertificate %s\n", s.HostKey, s.HostCertificate)
	}
	return fmt.Sprintf(sshdConfigText, s.Name, s.Trust, s.Program, s.RevokedKeys) + certificate, nil
}

// sshdConfigText has the host's name, the trust directory, the program and the list of revocations.
const sshdConfigText = `# Host %[1]s under postern. Save as /etc/ssh/sshd_config.d/10-postern.conf (which sshd_config must include before anything
# else, because the first value of a keyword wins), then in this order, so that nobody is locked out by surprise:
#   systemctl enable --now postern-host     and wait until %[4]s is there: sshd refuses every key without it
#   sshd -t && systemctl reload ssh         and try a login through the bastion while this one stays open

# Only certificates of the session CA, which live two minutes and are made for one session of the bastion.
TrustedUserCAKeys %[2]s/session_ca.pub

# Of those only the ones for this account on this host. The program, and every directory above it, must belong to root
# and be writable by nobody else.
AuthorizedPrincipalsCommand %[3]s principals %%u --name %[1]s
AuthorizedPrincipalsCommandUser nobody
AuthorizedPrincipalsFile none

# Read at every login. Missing or damaged: nobody gets in.
RevokedKeys %[4]s

# No access that stands, beside postern. (Keep a console for emergencies. A command of "none" would hide one that is set
# elsewhere as well, but sshd logs an error about it at every login.)
PubkeyAuthentication yes
AuthorizedKeysFile none
AuthorizedKeysCommand /bin/true
AuthorizedKeysCommandUser nobody
PasswordAuthentication no
KbdInteractiveAuthentication no
HostbasedAuthentication no
GSSAPIAuthentication no

# Everybody comes from the bastion's address. For OpenSSH 9.8 and later add:
#   PerSourcePenaltyExemptList ADDRESS-OF-THE-BASTION
MaxStartups 200:30:400
MaxSessions 100
LogLevel VERBOSE
`
