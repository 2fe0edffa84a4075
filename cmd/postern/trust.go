package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"postern/internal/control"
)

var trustCommand = &cli.Command{
	Name:  "trust",
	Usage: "the CA's public keys",
	Flags: []cli.Flag{&cli.StringFlag{Name: "save", Usage: "write them to `DIR`, for --trust and for hosts"}, jsonFlag},
	Action: func(c *cli.Context) error {
		if _, err := exactly(c); err != nil {
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
		if dir := c.String("save"); dir != "" {
			return saveTrust(dir, trust)
		}
		if c.Bool("json") {
			return jsonLine(os.Stdout, trust)
		}
		return printTrust(trust)
	},
}

func printTrust(t control.Trust) error {
	err := facts(os.Stdout, "CA", t.Name+", protocol "+t.Version, "user CA", t.UserCA, "session CA", t.SessionCA,
		"host CA", t.HostCA, "gateway CA", t.GatewayCA, "log", t.Log, "hosts", strings.Join(t.Hosts, ", "))
	for _, place := range t.Bastions {
		fmt.Printf("bastion %s at %s\n", word(place.Name), word(place.Address))
	}
	for _, line := range t.KnownHosts {
		fmt.Println(word(line))
	}
	return err
}

// saveTrust writes the directory that POSTERN_TRUST names. It replaces nothing that differs: who we trust changes by a
// person's decision, not because a server said so.
func saveTrust(dir string, t control.Trust) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	files := []struct{ name, text string }{
		{"known_hosts", strings.Join(t.KnownHosts, "\n")},
		{"user_ca.pub", t.UserCA}, {"session_ca.pub", t.SessionCA}, {"host_ca.pub", t.HostCA}, {"gateway_ca.pub", t.GatewayCA},
		{"log.vkey", t.Log},
	}
	for _, f := range files {
		path, text := filepath.Join(dir, f.name), strings.TrimSpace(f.text)+"\n"
		old, err := os.ReadFile(path)
		if err == nil && string(old) != text {
			return fmt.Errorf("%s differs from what the CA says now; if its key was changed on purpose, remove the file first", path)
		}
		if err == nil {
			continue
		}
		if err := writeFile(path, []byte(text)); err != nil {
			return err
		}
		if err := os.Chmod(path, 0o644); err != nil {
			return err
		}
	}
	fmt.Fprintln(os.Stderr, "saved in "+dir)
	return nil
}
