package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/crypto/ssh"

	"postern/bastion"
	"postern/internal/command"
	"postern/internal/control"
	"postern/internal/door"
	"postern/internal/identity"
	"postern/recorder"
	"postern/recorder/index"
)

const (
	endTime   = 10 * time.Second // for sessions to end at SIGTERM
	flushTime = 5 * time.Second  // and for the CA to hear of it
)

var serveCommand = &cli.Command{
	Name:  "serve",
	Usage: "let admins through; SIGHUP reads --auditors again, SIGTERM ends every session and stops",
	Flags: []cli.Flag{
		dirFlag,
		&cli.StringFlag{Name: "name", Usage: "`NAME` of this bastion in hosts.yaml", EnvVars: []string{"POSTERN_BASTION_NAME"}},
		&cli.StringFlag{Name: "ca", Usage: "`ADDRESS` of the CA's control plane", EnvVars: []string{"POSTERN_CA"}},
		&cli.StringFlag{Name: "trust", Usage: "`DIR`ectory with known_hosts, user_ca.pub and host_ca.pub", EnvVars: []string{"POSTERN_TRUST"}},
		&cli.StringFlag{Name: "auditors", Usage: "`FILE` of auditors' public keys, whose recording keys are believed", EnvVars: []string{"POSTERN_BASTION_AUDITORS"}},
		&cli.StringFlag{Name: "listen", Usage: "`ADDRESS` to listen on", Value: ":22", EnvVars: []string{"POSTERN_BASTION_LISTEN"}},
		&cli.BoolFlag{Name: "accept-damage", Usage: "start although the journal is damaged: recordings are sealed up to the hole, the damaged files kept aside"},
		custodyFlags[0], custodyFlags[1], emergencyFlags[0], emergencyFlags[1],
		command.AddressFile,
	},
	Action: func(c *cli.Context) error {
		if err := command.FlagsOnly(c, "dir", "name", "ca", "trust", "auditors"); err != nil {
			return err
		}
		tuneMemory()
		return serve(c.Context, c)
	},
}

func serve(ctx context.Context, c *cli.Context) error {
	id, err := identity.Read(c.String("dir"), program)
	if err != nil {
		return err
	}
	a, err := newAuthority(c, id)
	if err == nil {
		err = a.takeSheets(c, id)
	}
	if err != nil {
		return err
	}
	reporter := &bastion.Reporter{Send: a.report, Log: slog.Default()}
	store, err := recorder.OpenStore(recorder.Config{
		Dir: filepath.Join(c.String("dir"), "recordings"), Signer: id.Signer, Sealed: reporter.Sealed, AcceptDamage: c.Bool("accept-damage"),
		Index: func(recorder.Header) func(uint64, []recorder.Frame) []byte { return new(index.Indexer).Segment },
	})
	if err != nil {
		return err
	}
	defer store.Close()
	reporter.Told = store.Told
	reporter.Recovered(store.Recovered)
	b := a.bastion
	b.Recorder, b.Open, b.Progress, b.Receipt, b.Risk = store, a.open, reporter.Tell, a.told.cut, a.told.risk
	a.custody.Recorder = store
	if err := a.custody.Open(); err != nil {
		return err
	}

	// The connection to the CA outlives ctx: sessions that end at SIGTERM have to be told.
	linked, unlink := context.WithCancel(context.Background())
	defer unlink()
	go a.run(linked)
	go reporter.Run(linked)
	go a.told.save(linked)
	select {
	case <-a.names.ready:
	case <-ctx.Done():
		return nil
	}
	d := &door.Door{
		Version: bastion.Version, HostKeys: a.names.hostKeys, Lookup: b.Lookup, Authorise: b.Authorise, Channel: b.Channel, Request: b.Request,
		Limits: door.Limits{Memory: heapLimit()},
	}
	if err := listen(ctx, c, d); err != nil {
		return err
	}
	slog.Info("stopping: sessions end", "bastion", b.Name)
	err = b.Close(endTime)
	d.Close()
	flushing, cancel := context.WithTimeout(context.Background(), flushTime)
	defer cancel()
	return errors.Join(err, reporter.Flush(flushing), a.told.flush(flushing), store.Close())
}

// listen serves until ctx ends, or fails.
func listen(ctx context.Context, c *cli.Context, d *door.Door) error {
	l, err := command.Listen(c)
	if err != nil {
		return err
	}
	slog.Info("serving", "bastion", c.String("name"), "address", l.Addr().String())
	failed := make(chan error, 1)
	go func() { failed <- d.Serve(l) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		d.Stop()
		return nil
	}
}

// newAuthority uses one key for three things: it logs in to the CA, the gateway CA certifies it for the names the bastion speaks for, and
// it signs what is recorded.
func newAuthority(c *cli.Context, id *identity.Key) (*authority, error) {
	trust := c.String("trust")
	userCA, err := readKey(filepath.Join(trust, "user_ca.pub"))
	if err != nil {
		return nil, err
	}
	hostCA, err := readKey(filepath.Join(trust, "host_ca.pub"))
	if err != nil {
		return nil, err
	}
	trusted, err := followAuditors(c.String("auditors"))
	if err != nil {
		return nil, err
	}
	told, err := openReceipts(c.String("dir"))
	if err != nil {
		return nil, err
	}
	n := newNames(c.String("name"), id.SSH)
	return &authority{
		config: control.Config{Address: c.String("ca"), Signers: []ssh.Signer{id.SSH}, KnownHosts: filepath.Join(trust, "known_hosts"), Patience: patience}, silence: silence,
		bastion: &bastion.Bastion{
			Name: n.self, UserCA: userCA, HostCA: hostCA, Auditors: trusted, Gateway: n.gateway, Log: slog.Default(),
		},
		told: told, names: n, log: slog.Default(), policy: make(chan struct{}, 1), stirred: make(chan struct{}, 1),
		custody: &bastion.Custody{
			File: filepath.Join(c.String("dir"), "holds"), Name: n.self, CA: control.NameIn(trust), Signer: id.SSH, Auditors: trusted,
			AtLeast: time.Duration(c.Int("retain-at-least")) * 24 * time.Hour, Voices: c.Int("shred-auditors"),
		},
	}, nil
}

// followAuditors reads the file now and at each SIGHUP. One that cannot be read then changes nothing.
func followAuditors(path string) (func() []ssh.PublicKey, error) {
	keys, err := readKeys(path)
	if err != nil {
		return nil, err
	}
	if len(keys) == 0 {
		slog.Warn("no auditors: no session opens until their keys are in the file and SIGHUP is sent", "file", path)
	}
	var current atomic.Pointer[[]ssh.PublicKey]
	current.Store(&keys)
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	go func() {
		for range hup {
			keys, err := readKeys(path)
			if err != nil {
				slog.Error("auditors stay as they were", "error", err)
				continue
			}
			current.Store(&keys)
			slog.Info("auditors read", "file", path, "keys", len(keys))
		}
	}()
	return func() []ssh.PublicKey { return *current.Load() }, nil
}
