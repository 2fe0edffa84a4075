package main

import (
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"postern/internal/command"
	"postern/internal/control"
)

var jsonFlag = &cli.BoolFlag{Name: "json", Usage: "one JSON object a line, for programs"}

var whoamiCommand = &cli.Command{
	Name:  "whoami",
	Usage: "who the CA takes you for",
	Flags: []cli.Flag{jsonFlag},
	Action: func(c *cli.Context) error {
		if err := command.FlagsOnly(c); err != nil {
			return err
		}
		ca, err := connect(c)
		if err != nil {
			return err
		}
		defer ca.close()
		me, err := control.Call[control.Identity](c.Context, ca.Client, nil, "whoami")
		if err != nil {
			return err
		}
		if c.Bool("json") {
			return jsonLine(os.Stdout, me)
		}
		return facts(os.Stdout, me.Kind, me.Name, "groups", strings.Join(me.Groups, ", "), "key", me.Key, "CA", me.CA, "policy", me.Policy)
	},
}
