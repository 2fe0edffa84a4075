package main

import (
	"fmt"
	"os"
	"time"

	"github.com/urfave/cli/v2"

	"postern/internal/command"
	"postern/internal/control"
)

var extendCommand = &cli.Command{
	Name:      "extend",
	Usage:     "ask for more time; your sessions go on without reconnecting",
	ArgsUsage: "[R-…] --for 15m --reason TEXT",
	Flags: []cli.Flag{
		&cli.DurationFlag{Name: "for", DefaultText: "must be said", Usage: "how long beyond the end there is now, such as 15m: `TIME`"},
		reasonFlag, jsonFlag,
	},
	Action: func(c *cli.Context) error {
		if c.NArg() > 1 {
			return command.Misuse("name one request, or none if only one of yours is alive")
		}
		if c.Duration("for") <= 0 {
			return command.Misuse("say by how much, for instance --for 15m")
		}
		reason, err := needReason(c)
		if err != nil {
			return err
		}
		ca, err := connect(c)
		if err != nil {
			return err
		}
		defer ca.close()
		request, err := ca.ownGrant(c, c.Args().First(), "extend")
		if err != nil {
			return err
		}
		words := append([]string{"extend", request.ID, "--for", c.Duration("for").String()}, reasonWords(reason)...)
		after, err := control.Call[control.Request](c.Context, ca.Client, nil, words...)
		if err != nil {
			return err
		}
		if c.Bool("json") {
			return jsonLine(os.Stdout, after)
		}
		printExtended(after)
		return nil
	},
}

func printExtended(r control.Request) {
	e, waits := r.Extending()
	if !waits {
		fmt.Printf("%s  extended, it ends %s; a new certificate for new connections: postern certificate %s\n", colour(bold, r.ID), when(r.Ends, time.Now()), r.ID)
		return
	}
	fmt.Printf("%s  ends %s; to extend it until %s waits for %s, who approve with: postern approve %s\n",
		colour(bold, r.ID), when(r.Ends, time.Now()), when(e.Ends, time.Now()), waitingFor(r), r.ID)
}
