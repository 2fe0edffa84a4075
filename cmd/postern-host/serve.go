package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/crypto/ssh"

	"postern/internal/command"
	"postern/internal/control"
	"postern/internal/identity"
	"postern/internal/lineage"
)

var serveCommand = &cli.Command{
	Name:  "serve",
	Usage: "follow the CA's revocations and write them where sshd reads them",
	Flags: []cli.Flag{
		dirFlag,
		&cli.StringFlag{Name: "ca", Usage: "`HOST:PORT` of the control plane", EnvVars: []string{"POSTERN_CA"}},
		&cli.StringFlag{Name: "ca-name", Usage: "the `NAME` in the CA's host certificate", DefaultText: "as log.vkey in --trust says", EnvVars: []string{"POSTERN_CA_NAME"}},
		&cli.StringFlag{Name: "trust", Usage: "`DIR`ectory with known_hosts and host_ca.pub", EnvVars: []string{"POSTERN_TRUST"}},
		&cli.StringFlag{Name: "revoked-keys", Usage: "the `FILE` that sshd's RevokedKeys names", EnvVars: []string{"POSTERN_REVOKED_KEYS"}},
		&cli.StringFlag{Name: "host-key", Usage: "`FILE` with the public half of sshd's HostKey; empty: keep no host certificate", EnvVars: []string{"POSTERN_HOST_KEY"}},
		&cli.StringFlag{Name: "host-certificate", Usage: "the `FILE` that sshd's HostCertificate names", EnvVars: []string{"POSTERN_HOST_CERTIFICATE"}},
		&cli.BoolFlag{Name: "end-sessions", Usage: "end what still runs on this host for a session that is revoked", Value: true, EnvVars: []string{"POSTERN_HOST_END_SESSIONS"}},
		&cli.StringFlag{Name: "reload", Usage: "`COMMAND` to run when the host certificate changed, such as \"systemctl reload ssh\"", EnvVars: []string{"POSTERN_RELOAD"}},
	},
	Action: func(c *cli.Context) error {
		if err := command.FlagsOnly(c, "dir", "ca", "trust", "revoked-keys"); err != nil {
			return err
		}
		unlock, err := lock(c.String("dir"))
		if err != nil {
			return err
		}
		defer unlock()
		a, err := configure(c)
		if err != nil {
			return err
		}
		if c.Bool("end-sessions") {
			// The revocation list comes first: it is kept also where nothing can be ended.
			if listener, err := a.hearLogins(c.String("dir"), c.String("trust")); err != nil {
				a.cannotEnd = err
				a.log.Error("what runs here for a revoked session is not ended", "error", err)
			} else {
				defer listener.Close()
				go listener.serve()
			}
		}
		return a.run(c.Context)
	},
}

func configure(c *cli.Context) (*agent, error) {
	id, err := identity.Read(c.String("dir"), program)
	if err != nil {
		return nil, err
	}
	a := &agent{
		ca: control.Config{
			Address:    c.String("ca"),
			Name:       c.String("ca-name"),
			Signers:    []ssh.Signer{id.SSH},
			KnownHosts: filepath.Join(c.String("trust"), "known_hosts"),
		},
		revoked: revokedKeys{path: c.String("revoked-keys"), disk: onDisk},
		log:     slog.New(slog.NewTextHandler(os.Stderr, nil)),
		every:   refreshEvery,
	}
	if (c.String("host-key") == "") != (c.String("host-certificate") == "") {
		return nil, command.Misuse("--host-key and --host-certificate go together")
	}
	if c.String("host-key") == "" {
		return a, nil
	}
	h := &hostCertificate{path: c.String("host-certificate"), reload: c.String("reload"), disk: onDisk}
	if h.key, err = readPublicKey(c.String("host-key")); err != nil {
		return nil, err
	}
	if h.ca, err = readPublicKey(filepath.Join(c.String("trust"), "host_ca.pub")); err != nil {
		return nil, err
	}
	a.certificate = h
	return a, nil
}

// hearLogins makes the agent one that ends what runs.
func (a *agent) hearLogins(dir, trust string) (*listener, error) {
	signer, err := readPublicKey(filepath.Join(trust, "session_ca.pub"))
	if err != nil {
		return nil, err
	}
	proc := lineage.Proc{Root: "/proc"}
	l, err := readLogins(filepath.Join(dir, "logins.json"), proc, a.log)
	if err != nil {
		return nil, err
	}
	if err := proc.Able(); err != nil {
		a.log.Warn("what runs here for a revoked session of somebody else is not ended", "because", err)
	}
	listener, err := l.listen(filepath.Join(dir, "logins"), signer)
	if err == nil {
		a.ending = newEnding(l)
	}
	return listener, err
}

func readPublicKey(path string) (ssh.PublicKey, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}

// lock keeps a second program from writing the same files.
func lock(dir string) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%s is missing; make it with: postern-host init --dir %s", dir, dir)
	}
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("another postern-host is using %s", dir)
	}
	return func() { f.Close() }, nil
}

const refreshEvery = time.Minute
