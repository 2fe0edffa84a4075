package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v2"

	"postern/bastion"
	"postern/internal/command"
	"postern/internal/control"
	"postern/internal/envelope"
	"postern/internal/identity"
)

const (
	sheetDir     = "emergency"
	sheetKeyFile = "sheet.key"
	namesFile    = "names.json"
	tellKeyEvery = time.Hour // a month begins, and with it another recording key
)

var emergencyFlags = []cli.Flag{
	&cli.StringFlag{Name: "emergency", Value: "off", Usage: "`on`: while the CA cannot be reached, let in who has a sealed grant that was approved beforehand; off: nobody", EnvVars: []string{"POSTERN_BASTION_EMERGENCY"}},
	&cli.DurationFlag{Name: "emergency-after", Value: 30 * time.Second, Usage: "and the CA has been gone for `TIME`", EnvVars: []string{"POSTERN_BASTION_EMERGENCY_AFTER"}},
}

// makeSheetKey makes the key that sheets are sealed to. It says whether it did: one that is there is kept.
func makeSheetKey(dir string) (bool, error) {
	path := filepath.Join(dir, sheetKeyFile)
	if _, err := os.Stat(path); err == nil {
		return false, nil
	}
	key, err := envelope.NewKey()
	if err != nil {
		return false, err
	}
	b, err := key.Marshal()
	if err != nil {
		return false, err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return false, err
	}
	_, err = f.Write(b)
	return true, errors.Join(err, f.Sync(), f.Close())
}

func readSheetKey(dir string) (envelope.Key, error) {
	path := filepath.Join(dir, sheetKeyFile)
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return envelope.Key{}, fmt.Errorf("%s is missing; make it with: %s init --dir %s", path, program, dir)
	}
	if err != nil {
		return envelope.Key{}, err
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return envelope.Key{}, fmt.Errorf("%s: mode is %04o, others may read it; set it with: chmod 600 %s", path, mode, path)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return envelope.Key{}, err
	}
	key, err := envelope.ParseKey(b)
	if err != nil {
		return envelope.Key{}, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}

// takeSheets prepares for the time without a CA; nil when --emergency is off.
func (a *authority) takeSheets(c *cli.Context, id *identity.Key) error {
	switch c.String("emergency") {
	case "off":
		return nil
	case "on":
	default:
		return command.Misuse("--emergency is on or off, not %q", c.String("emergency"))
	}
	key, err := readSheetKey(c.String("dir"))
	if err != nil {
		return err
	}
	dir := filepath.Join(c.String("dir"), sheetDir)
	a.burnt = make(chan struct{}, 1)
	a.bastion.Sheets = &bastion.Sheets{
		Dir: dir, CA: control.DefaultName, Key: key, Signer: id.SSH, After: c.Duration("emergency-after"), Burnt: func() { poke(a.burnt) },
	}
	if err := a.bastion.Sheets.Open(a.bastion); err != nil {
		return err
	}
	// A bastion that starts without its CA speaks under the names it had; clients refuse those that are over.
	a.namesFile = filepath.Join(dir, namesFile)
	if kept, err := os.ReadFile(a.namesFile); err == nil {
		if _, err := a.names.set(kept); err != nil {
			a.log.Warn("gateway certificates that were kept are of no use", "file", a.namesFile, "error", err)
		}
	}
	a.log.Warn("sealed grants are taken while the CA cannot be reached", "dir", dir)
	return nil
}

// keepSheets tells the CA the bastion's key and what was used, now and whenever there is something, until ctx ends or the connection fails.
func (a *authority) keepSheets(ctx context.Context, client *control.Client) error {
	if a.bastion.Sheets == nil {
		return nil
	}
	for {
		if err := a.tellKey(ctx, client); err != nil {
			a.log.Error("sheets", "error", err)
		}
		if err := a.tellUses(ctx, client, ""); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-a.burnt:
		case <-time.After(tellKeyEvery):
		}
	}
}

func (a *authority) tellKey(ctx context.Context, client *control.Client) error {
	sheets := a.bastion.Sheets
	key, err := control.SheetKey{CA: sheets.CA, Bastion: a.bastion.Name, Public: sheets.Key.Public()}.Sign(sheets.Signer)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	ready, err := control.Call[control.Ready](ctx, client, key, "sheet-key")
	if err == nil {
		sheets.Ready(ready)
	}
	return err
}

// tellUses tells the CA which sheets were used, or the one of a session. What the CA refuses is told again: a policy that does not know this bastion
// may know it tomorrow, and a use must not be lost.
func (a *authority) tellUses(ctx context.Context, client *control.Client, session string) error {
	if a.bastion.Sheets == nil {
		return nil
	}
	uses, err := a.bastion.Sheets.Untold()
	if err != nil {
		a.log.Error("a sheet that was used cannot be told of", "error", err)
	}
	for _, u := range uses {
		if session != "" && u.Session != session {
			continue
		}
		asking, cancel := context.WithTimeout(ctx, answerTime)
		_, err := client.Run(asking, jsonReader(u), "sheet-use", "--json")
		cancel()
		var no *control.Refused
		if errors.As(err, &no) && no.Status != 3 {
			a.log.Error("the CA refuses to hear of a sheet that was used", "request", u.Request, "session", u.Session, "person", u.Person, "error", err)
			continue
		}
		if err != nil {
			return err
		}
		if err := a.bastion.Sheets.Told(u); err != nil {
			return err
		}
	}
	return nil
}

// keepKnown remembers what the CA answered, for a start without it.
func (a *authority) keepKnown(reply *control.OpenReply) {
	if a.bastion.Sheets != nil && reply != nil {
		a.bastion.Sheets.Ready(control.Ready{RecordingKey: reply.RecordingKey, KeystrokeKey: reply.KeystrokeKey})
	}
}
