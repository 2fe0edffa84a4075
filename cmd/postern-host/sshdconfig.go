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
		&cli.StringFlag{Name: "logins", Usage: "the `SOCKET` of serve, in its --dir; empty: what runs for a revoked session is not ended", Value: "/var/lib/postern-host/logins"},
		&cli.StringFlag{Name: "user", Usage: "`USER` as whom serve runs", Value: program},
		&cli.StringFlag{Name: "program", Usage: "`FILE` that postern-host is installed as", Value: "/usr/local/bin/postern-host"},
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
			Logins:          c.String("logins"),
			User:            c.String("user"),
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

	Logins, User string // of serve; without, nothing that runs is ended
}

func (s sshdConfig) text() (string, error) {
	if _, err := principal("root", s.Name); err != nil {
		return "", err
	}
	for _, path := range []string{s.Trust, s.RevokedKeys, s.HostKey, s.HostCertificate, s.Program, s.Logins} {
		if strings.ContainsAny(path, " \t\n\"'\\%#") || path != "" && path[0] != '/' {
			return "", command.Misuse("%q must be an absolute path without blanks, quotes or %%", path)
		}
	}
	certificate := ""
	if s.HostKey != "" {
		certificate = fmt.Sprintf("\n# The bastion knows this host by this certificate.\nHostKey %s\nHostCertificate %s\n", s.HostKey, s.HostCertificate)
	}
	user, tells := "nobody", ""
	if s.Logins != "" {
		if !name.MatchString(s.User) {
			return "", command.Misuse("%q is no user", s.User)
		}
		user, tells = s.User, " --tell "+s.Logins+" --serial %s --signer %F"
	}
	return fmt.Sprintf(sshdConfigText, s.Name, s.Trust, s.Program, s.RevokedKeys, tells, user) + certificate, nil
}

// sshdConfigText has the host's name, the trust directory, the program, the list of revocations, what tells of logins, and its user.
const sshdConfigText = `# Host %[1]s under postern. Save as /etc/ssh/sshd_config.d/10-postern.conf (which sshd_config must include before anything
# else, because the first value of a keyword wins), then in this order, so that nobody is locked out by surprise:
#   systemctl enable --now postern-host     and wait until %[4]s is there: sshd refuses every key without it
#   sshd -t && systemctl reload ssh         and try a login through the bastion while this one stays open

# Only certificates of the session CA, which live two minutes and are made for one session of the bastion.
TrustedUserCAKeys %[2]s/session_ca.pub

# Of those only the ones for this account on this host. The program, and every directory above it, must belong to root
# and be writable by nobody else. It tells postern-host of the login, which ends what is left of it when it is revoked:
# for that let sshd use PAM with pam_loginuid (and pam_systemd), as Debian, Ubuntu, Red Hat and SUSE do by default.
AuthorizedPrincipalsCommand %[3]s principals %%u --name %[1]s%[5]s
AuthorizedPrincipalsCommandUser %[6]s
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

UsePAM yes

# Everybody comes from the bastion's address. For OpenSSH 9.8 and later add:
#   PerSourcePenaltyExemptList ADDRESS-OF-THE-BASTION
MaxStartups 200:30:400
MaxSessions 100
LogLevel VERBOSE
`
