package main

import (
	"context"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/urfave/cli/v2"

	"postern/ca"
	"postern/ca/keys"
	"postern/ca/server"
	"postern/internal/store"
	"postern/policy"
)

var serveCommand = &cli.Command{
	Name:  "serve",
	Usage: "answer the control plane; SIGHUP loads the policy anew",
	Flags: []cli.Flag{
		dirFlag, passphraseFlag,
		&cli.StringFlag{Name: "policy", Usage: "`DIR` of the policy", Required: true, EnvVars: []string{"POSTERN_CA_POLICY"}},
		&cli.StringFlag{Name: "listen", Usage: "`ADDRESS` to listen on", Value: ":7022", EnvVars: []string{"POSTERN_CA_LISTEN"}},
		&cli.StringFlag{Name: "address-file", Usage: "write the address listened on to `FILE`"},
	},
	Action: func(c *cli.Context) error {
		if err := noArguments(c); err != nil {
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
			return err
		}
		db, err := store.Open(filepath.Join(c.String("dir"), "state"), set.Store)
		if err != nil {
			return err
		}
		defer db.Close()
		authority, err := ca.New(ca.Config{Keys: set, DB: db, Policy: rules})
		if err != nil {
			return err
		}
		return serve(c, authority)
	},
}

func serve(c *cli.Context, authority *ca.CA) error {
	ctx, stop := signal.NotifyContext(c.Context, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	l, err := net.Listen("tcp", c.String("listen"))
	if err != nil {
		return err
	}
	if path := c.String("address-file"); path != "" {
		if err := announce(path, l.Addr().String()); err != nil {
			return err
		}
	}
	slog.Info("serving", "ca", authority.Name(), "address", l.Addr().String(), "policy", authority.PolicyDigest())
	go authority.Run(ctx)
	go reload(ctx, authority, c.String("policy"))
	return (&server.Server{CA: authority}).Serve(ctx, l)
}

// announce writes the address whole or not at all, because somebody is waiting for the file.
func announce(path, address string) error {
	if err := os.WriteFile(path+".new", []byte(address+"\n"), 0o644); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
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
			slog.Info("policy loaded", "dir", dir, "policy", authority.PolicyDigest())
		}
	}
}
