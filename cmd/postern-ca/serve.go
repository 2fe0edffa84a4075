package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/urfave/cli/v2"

	"postern/ca"
	"postern/ca/keys"
	"postern/ca/server"
	"postern/internal/command"
	"postern/internal/notify"
	"postern/internal/store"
	"postern/policy"
)

var serveCommand = &cli.Command{
	Name:  "serve",
	Usage: "answer the control plane; SIGHUP loads the policy anew",
	Flags: []cli.Flag{
		dirFlag, passphraseFlag,
		&cli.StringFlag{Name: "policy", Usage: "`DIR` of the policy", EnvVars: []string{"POSTERN_CA_POLICY"}},
		&cli.StringFlag{Name: "listen", Usage: "`ADDRESS` to listen on", Value: ":7022", EnvVars: []string{"POSTERN_CA_LISTEN"}},
		notifyFlag,
		&cli.DurationFlag{Name: "admit", Usage: "a bastion that does not hear from this CA admits people for `TIME`", Value: server.DefaultLeases.Admit, EnvVars: []string{"POSTERN_CA_ADMIT"}},
		&cli.DurationFlag{Name: "keep", Usage: "and keeps their sessions for `TIME`: for so long, at most, somebody revoked stays in", Value: server.DefaultLeases.Keep, EnvVars: []string{"POSTERN_CA_KEEP"}},
		&cli.BoolFlag{Name: "lease-when-full", Usage: "let bastions go on also while the disk is so full that nobody can be revoked", EnvVars: []string{"POSTERN_CA_LEASE_WHEN_FULL"}},
		command.AddressFile,
	},
	Action: func(c *cli.Context) error {
		if err := command.FlagsOnly(c, "dir", "policy"); err != nil {
			return err
		}
		leases := server.Leases{Admit: c.Duration("admit"), Keep: c.Duration("keep"), WhenFull: c.Bool("lease-when-full")}
		if err := leases.Check(); err != nil {
			return command.Misuse("--admit, --keep: %v", err)
		}
		hooks, err := loadHooks(c)
		if err != nil {
			return err
		}
		pass, err := passphrase(c)
		if err != nil {
			return err
		}
		set, err := keys.Open(c.String("dir"), pass)
		if err != nil {
			return err
		}
		rules, err := policy.Load(os.DirFS(c.String("policy")))
		if err != nil {
			return fmt.Errorf("the policy in %s does not load:\n%w", c.String("policy"), err)
		}
		db, err := store.Open(filepath.Join(c.String("dir"), "state"), set.Store)
		if err != nil {
			return err
		}
		defer db.Close()
		authority, err := ca.New(ca.Config{Keys: set, DB: db, Policy: rules, Reserve: ca.DefaultReserve, Witnesses: witnesses(c.String("dir"))})
		if err != nil {
			return err
		}
		return serve(c, &server.Server{CA: authority, Leases: leases}, hooks)
	},
}

func serve(c *cli.Context, s *server.Server, hooks []notify.Hook) error {
	authority := s.CA
	l, err := command.Listen(c)
	if err != nil {
		return err
	}
	slog.Info("serving", "ca", authority.Name(), "address", l.Addr().String(), "policy", authority.PolicyDigest(), "admit", s.Leases.Admit, "keep", s.Leases.Keep)
	sayUnfit(authority) // it may have changed while nobody served it
	go authority.Run(c.Context)
	go reload(c.Context, authority, c.String("policy"))
	told := make(chan struct{})
	go func() {
		defer close(told)
		tell(c, authority, hooks)
	}()
	defer func() { <-told }() // they read the store
	return s.Serve(c.Context, l)
}

// reload loads the policy at each SIGHUP. One with errors changes nothing.
func reload(ctx context.Context, authority *ca.CA, dir string) {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	for {
		select {
		case <-ctx.Done():
			return
		case <-hup:
			rules, err := policy.Load(os.DirFS(dir))
			if err == nil {
				err = authority.SetPolicy(rules)
			}
			if err != nil {
				slog.Error("the policy stays as it was", "dir", dir, "policy", authority.PolicyDigest(), "err", err)
				continue
			}
			sayUnfit(authority)
			slog.Info("policy loaded", "dir", dir, "policy", authority.PolicyDigest())
		}
	}
}

// sayUnfit names what the policy that came into force would not have allowed.
func sayUnfit(authority *ca.CA) {
	if err := authority.SayUnfit(); err != nil {
		slog.Error("a list for the operator is missing", "err", err)
	}
}
