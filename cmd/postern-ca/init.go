package main

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"postern/ca"
	"postern/ca/keys"
	"postern/internal/command"
	"postern/internal/control"
	"postern/internal/store"
)

var initCommand = &cli.Command{
	Name:  "init",
	Usage: "make the keys and the state of a new CA, and trust/ with the public halves for everybody else",
	Flags: []cli.Flag{
		dirFlag, passphraseFlag,
		&cli.StringFlag{Name: "name", Usage: "`NAME` of the CA, in its host certificate and its log", Value: control.DefaultName},
	},
	Action: func(c *cli.Context) error {
		if err := command.FlagsOnly(c, "dir"); err != nil {
			return err
		}
		pass, err := passphrase(c)
		if err != nil {
			return err
		}
		dir := c.String("dir")
		if err := keys.Init(dir, c.String("name"), pass); err != nil {
			return err
		}
		set, err := keys.Open(dir, pass)
		if err != nil {
			return err
		}
		if err := found(dir, set); err != nil {
			return err
		}
		trust, err := ca.KeysTrust(set)
		if err != nil {
			return err
		}
		if err := trust.Save(filepath.Join(dir, "trust")); err != nil {
			return err
		}
		if pass == nil {
			fmt.Fprintln(c.App.ErrWriter, "postern-ca: the keys are not encrypted; with --passphrase-file they would be")
		}
		fmt.Fprintf(c.App.Writer, "keys in %s\npublic halves in %s: copy that directory to every bastion, host and person\n",
			filepath.Join(dir, "keys"), filepath.Join(dir, "trust"))
		return nil
	},
}

// found begins the state, so that serve can tell a new CA from one that lost it.
func found(dir string, set *keys.Set) error {
	db, err := store.Open(filepath.Join(dir, "state"), set.Store)
	if err != nil {
		return err
	}
	return errors.Join(ca.Found(set, db), db.Close())
}
