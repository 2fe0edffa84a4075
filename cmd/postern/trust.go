package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"postern/internal/command"
	"postern/internal/control"
)

var trustCommand = &cli.Command{
	Name:  "trust",
	Usage: "the CA's public keys",
	Flags: []cli.Flag{&cli.StringFlag{Name: "save", Usage: "write them to `DIR`, for --trust and for hosts"}, jsonFlag},
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
		if dir := c.String("save"); dir != "" {
			if err := trust.Save(dir); err != nil {
				return err
			}
			fmt.Fprintln(os.Stderr, "saved in "+dir)
			return nil
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
		fmt.Printf("bastion %s at %s, for clients that know no host certificates: %s\n", word(place.Name), word(place.Address), word(place.Key))
	}
	for _, line := range t.KnownHosts {
		fmt.Println(word(line))
	}
	return err
}
