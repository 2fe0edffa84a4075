package main

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"postern/internal/command"
	"postern/internal/control"
)

var doneCommand = &cli.Command{
	Name:      "done",
	Usage:     "give your access back before its time is over; your sessions end",
	ArgsUsage: "[R-…]",
	Flags:     []cli.Flag{yesFlag, jsonFlag},
	Action: func(c *cli.Context) error {
		if c.NArg() > 1 {
			return command.Misuse("name one request, or none if only one of yours is alive")
		}
		ca, err := connect(c)
		if err != nil {
			return err
		}
		defer ca.close()
		request, err := ca.ownGrant(c, c.Args().First(), "done")
		if err != nil {
			return err
		}
		text, signer, err := ca.requestStatement(c, request, control.Withdraw, "done")
		if err != nil {
			return err
		}
		signature, err := signShown(text, signer, c.Bool("yes"))
		if err != nil {
			return err
		}
		after, err := control.Call[control.Request](c.Context, ca.Client, signature, control.Withdraw, request.ID, "--reason=done")
		if err != nil {
			return err
		}
		if c.Bool("json") {
			return jsonLine(os.Stdout, after)
		}
		fmt.Printf("%s  given back; its certificates and sessions are cut\n", colour(bold, after.ID))
		return nil
	},
}

// ownGrant finds the request that a command is about: the one that is named, else the only one of the caller that runs, or that waits if none does.
func (c *client) ownGrant(cc *cli.Context, id, verb string) (control.Request, error) {
	if id != "" {
		return control.Call[control.Request](cc.Context, c.Client, nil, "show", id)
	}
	me, err := control.Call[control.Identity](cc.Context, c.Client, nil, "whoami")
	if err != nil {
		return control.Request{}, err
	}
	all, err := control.List[control.Request](cc.Context, c.Client, "requests")
	if err != nil {
		return control.Request{}, err
	}
	mine := slices.DeleteFunc(all, func(r control.Request) bool { return r.Person != me.Name || r.Sheet != nil }) // a sheet in a drawer is not what anybody means
	if running := slices.DeleteFunc(slices.Clone(mine), func(r control.Request) bool { return r.State != control.Granted }); len(running) > 0 {
		mine = running // what waits has no time to extend, and nothing to give back
	}
	var ids []string
	for _, r := range mine {
		ids = append(ids, r.ID)
	}
	switch len(mine) {
	case 0:
		return control.Request{}, fmt.Errorf("nothing of %s is alive; ask anew with: postern request", me.Name)
	case 1:
		return mine[0], nil
	}
	return control.Request{}, command.Misuse("%d of your requests are alive (%s); name one: postern %s R-…", len(mine), strings.Join(ids, ", "), verb)
}
