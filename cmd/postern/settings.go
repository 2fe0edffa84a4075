package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"postern/internal/command"
	"postern/internal/control"
)

var settingsFlags = []cli.Flag{
	&cli.StringFlag{Name: "ca", EnvVars: []string{"POSTERN_CA"}, Usage: "`HOST:PORT` of the CA"},
	&cli.StringFlag{Name: "trust", EnvVars: []string{"POSTERN_TRUST"}, Usage: "`DIR` with known_hosts and the CA's public keys (default: HOME/trust)"},
	&cli.StringFlag{Name: "key", EnvVars: []string{"POSTERN_KEY"}, Usage: "`FILE` of your SSH key; a public one signs through the ssh-agent"},
	&cli.StringFlag{Name: "home", EnvVars: []string{"POSTERN_HOME"}, Usage: "`DIR` for certificates and what is remembered (default: ~/.postern)"},
}

// settings is where things are for the person who runs us.
type settings struct {
	CA    string // host:port
	Trust string
	Key   string // empty: the agent's keys, else the usual files in ~/.ssh
	Home  string
}

func settingsOf(c *cli.Context) (settings, error) {
	s := settings{CA: c.String("ca"), Trust: c.String("trust"), Key: c.String("key"), Home: c.String("home")}
	if s.Home == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return s, fmt.Errorf("no home directory (%w); set POSTERN_HOME", err)
		}
		s.Home = filepath.Join(home, ".postern")
	}
	if s.Trust == "" {
		s.Trust = filepath.Join(s.Home, "trust")
	}
	for _, path := range []*string{&s.Home, &s.Trust, &s.Key} {
		if *path == "" {
			continue
		}
		absolute, err := filepath.Abs(*path)
		if err != nil {
			return s, err
		}
		*path = absolute
	}
	return s, nil
}

func (s settings) certificates() string { return filepath.Join(s.Home, "certs") }
func (s settings) knownHosts() string   { return filepath.Join(s.Trust, "known_hosts") }

// client is a connection to the CA and the keys it was made with.
type client struct {
	*control.Client
	settings settings
	keys     *keyring
}

// connect logs in to the CA with the agent's keys or the key file.
func connect(c *cli.Context) (*client, error) {
	s, err := settingsOf(c)
	if err != nil {
		return nil, err
	}
	return s.connect(c.Context)
}

func (s settings) connect(ctx context.Context) (*client, error) {
	if s.CA == "" {
		return nil, command.Misuse("no CA: set POSTERN_CA or --ca to its host:port")
	}
	if _, err := os.Stat(s.knownHosts()); errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%s is missing: your operator hands out the trust directory; set POSTERN_TRUST or --trust to it", s.knownHosts())
	}
	keys, err := openKeyring(s.Key)
	if err != nil {
		return nil, err
	}
	connection, err := control.Dial(ctx, control.Config{Address: s.CA, Signers: keys.signers, KnownHosts: s.knownHosts()})
	if err != nil {
		keys.close()
		return nil, err
	}
	return &client{Client: connection, settings: s, keys: keys}, nil
}

func (c *client) close() {
	c.Client.Close()
	c.keys.close()
}
