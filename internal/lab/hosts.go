package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// hosts brings up phi1, which the bastion knows by a certificate of the host CA, and phi2, whose key the policy pins.
func (l *Lab) hosts() error {
	for _, name := range Hosts {
		if err := l.configureHost(name); err != nil {
			return err
		}
		// The agent first: sshd refuses every key while its RevokedKeys file is missing, and reads its certificate once, at start.
		if err := l.Start("host-" + name); err != nil {
			return err
		}
		if err := l.Start(name); err != nil {
			return err
		}
	}
	return nil
}

func (l *Lab) hostAgent(name string) piece {
	argv := []string{l.path("bin", "postern-host"), "serve", "--dir", l.path(name), "--ca", l.Addresses["ca"], "--trust", l.path("trust"),
		"--revoked-keys", l.path(name, "revoked_keys")}
	files := []string{l.path(name, "revoked_keys")}
	if name == "phi1" {
		certificate := l.hostKey(name) + "-cert.pub"
		argv = append(argv, "--host-key", l.hostKey(name)+".pub", "--host-certificate", certificate)
		files = append(files, certificate)
	}
	return piece{argv: argv, ready: exists(files...)}
}

// hostKey is the private half of a host's own key.
func (l *Lab) hostKey(name string) string { return l.path(name, "ssh_host_ed25519_key") }

// configureHost writes what "postern-host sshd-config" prints, as far as a lab can have it.
func (l *Lab) configureHost(name string) error {
	lines, err := l.principals(name)
	if err != nil {
		return err
	}
	lines = append(lines, "TrustedUserCAKeys "+l.path("trust", "session_ca.pub"), "RevokedKeys "+l.path(name, "revoked_keys"))
	if name == "phi1" {
		lines = append(lines, "HostCertificate "+l.hostKey(name)+"-cert.pub")
	}
	return l.writeHost(name, l.hostKey(name), lines...)
}

// tells says whether the hosts of a lab tell postern-host of logins. An sshd of somebody else than root takes no program of root's for that, and in a user
// namespace root's programs are nobody's.
func tells() bool {
	info, err := os.Stat("/usr/bin/env")
	if err != nil {
		return false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && os.Getuid() == 0 && stat.Uid == 0
}

// principals says who logs in to an account.
func (l *Lab) principals(name string) ([]string, error) {
	if tells() {
		return []string{
			// sshd wants every directory above the program to be root's and closed to others, which a directory in /tmp is not: env is such a program.
			"AuthorizedPrincipalsCommand /usr/bin/env " + l.path("bin", "postern-host") + " principals %u --name " + name +
				" --tell " + l.path(name, "logins") + " --serial %s --signer %F",
			"AuthorizedPrincipalsCommandUser " + l.Account,
			"AuthorizedPrincipalsFile none",
		}, nil
	}
	// The same program writes the file instead.
	list, err := l.output(l.Dir, nil, l.path("bin", "postern-host"), "principals", l.Account, "--name", name)
	if err != nil {
		return nil, err
	}
	file := l.path(name, "principals")
	return []string{"AuthorizedPrincipalsFile " + file}, os.WriteFile(file, list, 0o644)
}

// writeHost writes what every sshd of the lab has.
func (l *Lab) writeHost(name, hostKey string, lines ...string) error {
	if err := mkdirs(l.path(name, "home")); err != nil {
		return err
	}
	return WriteSSHDConfig(l.path(name, "sshd_config"), append(lines,
		"HostKey "+hostKey,
		"AuthorizedKeysFile none",
		// A home of its own: the shell's start files of whoever runs the lab cost more than a session, and may wait for locks.
		`SetEnv "HOME=`+l.path(name, "home")+`"`,
	)...)
}

// configureDirect writes the configuration of direct, which does not run until it is started: phi1 as it would be without a bastion,
// believing people's certificates for it. What behaves in another way there than through the bastion is the bastion's doing.
func (l *Lab) configureDirect() error {
	if err := mkdirs(l.path("direct")); err != nil {
		return err
	}
	known := "direct " + l.publicKey("phi1", "ssh_host_ed25519_key.pub") + "\n"
	if err := os.WriteFile(l.path("direct", "known_hosts"), []byte(known), 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(l.path("direct", "principals"), []byte(l.Account+"@phi1\n"), 0o644); err != nil {
		return err
	}
	return l.writeHost("direct", l.hostKey("phi1"), "TrustedUserCAKeys "+l.path("trust", "user_ca.pub"), "AuthorizedPrincipalsFile "+l.path("direct", "principals"))
}

// directBlock is for ssh_config. The key exchange is the bastion's, because OpenSSH's own costs ten times as much.
func (l *Lab) directBlock(person string) string {
	return strings.Join([]string{
		"\nHost direct", "HostName 127.0.0.1", "Port " + strconv.Itoa(l.Ports["direct"]), "User " + l.Account,
		"HostKeyAlias direct", "UserKnownHostsFile " + l.path("direct", "known_hosts"), "StrictHostKeyChecking yes", "KexAlgorithms curve25519-sha256", "IdentitiesOnly yes", "IdentityFile " + l.path(person, "id_ed25519"),
		"CertificateFile " + l.path(person, "postern", "certs", l.Account+"@phi1-cert.pub"), "",
	}, "\n    ")
}

// WriteSSHDConfig writes the configuration of an sshd that runs as root or as an ordinary user, with room for many sessions.
func WriteSSHDConfig(file string, lines ...string) error {
	lines = append(lines,
		"ListenAddress 127.0.0.1",
		"PidFile none",
		"LogLevel VERBOSE",
		"StrictModes no", // below /tmp nothing is strict enough
		"UsePAM "+usePAM(),
		"PermitRootLogin prohibit-password",
		"PasswordAuthentication no",
		"KbdInteractiveAuthentication no",
		"PrintMotd no",
		"PrintLastLog no",
		"UseDNS no",
		"MaxStartups 1000",
		"MaxSessions 1000",
		"AcceptEnv LANG LC_*",
		"Subsystem sftp "+sftpServer(),
	)
	if penalises() {
		lines = append(lines, "PerSourcePenaltyExemptList 127.0.0.1") // it would see one source, the bastion
	}
	return os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o600)
}

func (l *Lab) sshd(name string) (piece, error) {
	argv, err := SSHD(l.path(name, "sshd_config"), l.Ports[name])
	return piece{argv: argv, ready: answers("tcp", l.Addresses[name])}, err
}

// SSHD is the command line of a real sshd in the foreground. sshd insists on the absolute path.
func SSHD(config string, port int) ([]string, error) {
	program, err := exec.LookPath("sshd")
	if err != nil {
		program = "/usr/sbin/sshd"
		if _, err := os.Stat(program); err != nil {
			return nil, errors.New("sshd is missing; install it with: apt-get install openssh-server")
		}
	}
	if os.Getuid() == 0 {
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			return nil, err
		}
	}
	return withTerminals([]string{program, "-D", "-e", "-f", config, "-p", strconv.Itoa(port)}, config+".group")
}

// usePAM is no, unless root's password is locked: without PAM sshd then refuses root's keys too.
func usePAM() string {
	shadow, err := os.ReadFile("/etc/shadow")
	if err == nil && os.Getuid() == 0 && strings.HasPrefix("\n"+string(shadow), "\nroot:!") {
		return "yes"
	}
	return "no"
}

func sftpServer() string {
	for _, file := range []string{"/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server", "/usr/lib/ssh/sftp-server", "/usr/libexec/sftp-server"} {
		if _, err := os.Stat(file); err == nil {
			return file
		}
	}
	return "internal-sftp"
}

// penalises says whether this OpenSSH has PerSourcePenalties: 9.8 and later. Older ones refuse to start on the unknown word.
func penalises() bool {
	out, _ := exec.Command("ssh", "-V").CombinedOutput()
	var major, minor int
	fmt.Sscanf(string(out), "OpenSSH_%d.%d", &major, &minor)
	return major > 9 || major == 9 && minor >= 8
}
