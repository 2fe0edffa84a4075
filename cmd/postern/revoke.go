package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"postern/ca/statement"
	"postern/internal/command"
	"postern/internal/control"
)

var revokeCommand = &cli.Command{
	Name:  "revoke",
	Usage: "cut access now, live sessions included",
	Description: "TARGET is a request (R-…), or everything given so far to person:NAME, host:NAME, key:SHA256:…, approver:NAME,\n" +
		"serial:NUMBER of a user certificate, or all: (the panic button). A revoked key stays dead.",
	ArgsUsage: "TARGET --reason TEXT",
	Flags:     []cli.Flag{reasonFlag, yesFlag, jsonFlag},
	Action: func(c *cli.Context) error {
		args, err := command.Exactly(c, "TARGET")
		if err != nil {
			return err
		}
		because, err := needReason(c)
		if err != nil {
			return err
		}
		ca, err := connect(c)
		if err != nil {
			return err
		}
		defer ca.close()
		revocation, err := ca.revoke(c, args[0], because)
		if err != nil {
			return err
		}
		if c.Bool("json") {
			return jsonLine(os.Stdout, revocation)
		}
		printCut(revocation)
		return nil
	},
}

func printCut(r control.Revocation) {
	switch {
	case r.Kind == "request":
		fmt.Printf("%s %s\n", colour(red, "revoked"), r.Value)
	case len(r.Requests) == 0:
		fmt.Printf("%s %s; nothing alive was hit\n", colour(red, "revoked"), word(r.Kind+":"+r.Value))
	default:
		fmt.Printf("%s %s, and with it %s\n", colour(red, "revoked"), word(r.Kind+":"+r.Value), word(strings.Join(r.Requests, ", ")))
	}
}

// revoke is for emergencies: it shows what it signs but asks only when somebody is there to answer.
func (c *client) revoke(cc *cli.Context, target, because string) (control.Revocation, error) {
	var none control.Revocation
	me, err := control.Call[control.Identity](cc.Context, c.Client, nil, "whoami")
	if err != nil {
		return none, err
	}
	text, err := c.statement(cc, target, control.Revoke, because)
	if err != nil {
		return none, err
	}
	if err := checkRevocation(text, me, target, because); err != nil {
		return none, err
	}
	signer, err := c.keys.forDecision(me.Key, false)
	if err != nil {
		return none, err
	}
	signature, err := signShown(text, signer, cc.Bool("yes"))
	if err != nil {
		return none, err
	}
	return control.Call[control.Revocation](cc.Context, c.Client, signature, append([]string{"revoke", target}, reasonWords(because)...)...)
}

// checkRevocation makes sure that the CA lets us sign the revocation that we asked for and nothing else.
func checkRevocation(text string, me control.Identity, target, because string) error {
	s, err := statement.Parse(text)
	if err != nil {
		return err
	}
	subject := s.Target
	if s.Request != "" {
		subject = s.Request
	}
	if s.CA != me.CA || s.Decision != control.Revoke || s.Person != me.Name || s.Because != because ||
		!strings.EqualFold(subject, target) {
		return fmt.Errorf("the CA wants another statement signed than the revocation of %s; nothing was signed:\n%s", target, strings.TrimSpace(text))
	}
	return nil
}

var revocationsCommand = &cli.Command{
	Name:  "revocations",
	Usage: "what is cut",
	Flags: []cli.Flag{&cli.BoolFlag{Name: "follow", Usage: "and what will be, as it happens"}, jsonFlag},
	Action: func(c *cli.Context) error {
		if err := command.FlagsOnly(c); err != nil {
			return err
		}
		ca, err := connect(c)
		if err != nil {
			return err
		}
		defer ca.close()
		show := printRevocation
		if c.Bool("json") {
			show = func(r control.Revocation) error { return jsonLine(os.Stdout, r) }
		}
		err = ca.revocations(c.Context, c.Bool("follow"), show)
		if c.Bool("follow") && c.Context.Err() != nil {
			return nil // interrupted, as is the way to end it
		}
		return err
	},
}

// revocations reads the stream. The answer to a ping comes after everything that happened before it, which is how a
// client that does not follow knows the end.
func (c *client) revocations(ctx context.Context, follow bool, show func(control.Revocation) error) error {
	stream, err := c.Stream(ctx, "revocations", "--from", "0", "--ping")
	if err != nil {
		return err
	}
	defer stream.Close()
	if err := stream.Send(control.Ping{Ping: 1}); err != nil {
		return err
	}
	for {
		var event control.Event
		if err := stream.Next(&event); errors.Is(err, io.EOF) {
			return errors.New("the CA ended the stream")
		} else if err != nil {
			return err
		}
		if event.Revocation != nil {
			if err := show(*event.Revocation); err != nil {
				return err
			}
		}
		if event.Pong == 1 && !follow {
			return nil
		}
	}
}

func printRevocation(r control.Revocation) error {
	_, err := fmt.Printf("%d  %s  %s by %s: %s\n", r.Seq, when(r.At, time.Now()), word(r.Kind+":"+r.Value), word(r.By), word(r.Reason))
	return err
}
