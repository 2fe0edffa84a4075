package main

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"postern/internal/command"
	"postern/internal/control"
	"postern/internal/sshconfig"
)

var sshConfigCommand = &cli.Command{
	Name:  "ssh-config",
	Usage: "the lines for ~/.ssh/config that make ssh, scp and sftp go through the bastion",
	Flags: []cli.Flag{
		&cli.StringFlag{Name: "bastion", Usage: "go through this one: `NAME` (default: the first)"},
		&cli.StringFlag{Name: "user", Usage: "log in as this `ACCOUNT` when none is typed"},
	},
	Action: func(c *cli.Context) error {
		if err := command.FlagsOnly(c); err != nil {
			return err
		}
		ca, err := connect(c)
		if err != nil {
			return err
		}
		defer ca.close()
		trust, err := control.Call[control.Trust](c.Context, ca.Client, nil, "trust")
		if err != nil {
			return err
		}
		place, err := bastionNamed(trust.Bastions, c.String("bastion"))
		if err != nil {
			return err
		}
		lines, err := sshconfig.Config{
			CA:           trust.Name,
			CAAddress:    ca.settings.CA,
			Bastion:      place.Name,
			Address:      place.Address,
			Hosts:        trust.Hosts,
			Aliases:      trust.Aliases,
			User:         c.String("user"),
			Identity:     ca.settings.identity(),
			Certificates: ca.settings.certificates(),
			KnownHosts:   ca.settings.knownHosts(),
		}.String()
		if err != nil {
			return err
		}
		fmt.Print(lines)
		return nil
	},
}

// identity is the key file to name to ssh: the person's own, or the public key that "postern certificate" leaves.
func (s settings) identity() string {
	if s.Key != "" {
		return s.Key
	}
	return filepath.Join(s.certificates(), identityFile)
}

func bastionNamed(bastions []control.Place, name string) (control.Place, error) {
	for _, place := range bastions {
		if name == "" || place.Name == name {
			return place, nil
		}
	}
	if name == "" {
		return control.Place{}, errors.New("the CA knows no bastion; your operator adds one to hosts.yaml")
	}
	return control.Place{}, fmt.Errorf("the CA knows no bastion %q", name)
}
