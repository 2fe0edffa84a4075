package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"postern/internal/command"
	"postern/internal/control"
)

var requestCommand = &cli.Command{
	Name:      "request",
	Usage:     "ask for accounts on hosts, for minutes, for a reason",
	ArgsUsage: "ACCOUNT@HOST… --for 15m --reason TEXT",
	Flags: []cli.Flag{
		&cli.DurationFlag{Name: "for", DefaultText: "must be said", Usage: "how long from the first certificate, such as 15m: `TIME`"},
		&cli.StringFlag{Name: "reason", Usage: "why, for the approvers and for the log: `TEXT`"},
		&cli.StringFlag{Name: "only", Usage: "ask for these capabilities only, such as shell,sftp-read: `LIST`"},
		&cli.StringFlag{Name: "rule", Usage: "ask under the rule with this `ID`"},
		&cli.BoolFlag{Name: "emergency", Usage: "at once, without approvals, where a rule for emergencies allows it; everything is recorded, people are told, and it is reviewed"},
		&cli.BoolFlag{Name: "wait", Usage: "wait for the approvals, then take the certificate"},
		noAgentFlag, jsonFlag,
	},
	Action: func(c *cli.Context) error {
		targets, err := command.AtLeast(c, "ACCOUNT@HOST")
		if err != nil {
			return err
		}
		words, err := requestWords(c, targets)
		if err != nil {
			return err
		}
		ca, err := connect(c)
		if err != nil {
			return err
		}
		defer ca.close()
		request, err := control.Call[control.Request](c.Context, ca.Client, nil, words...)
		if err != nil {
			return err
		}
		return ca.followUp(c, request)
	},
}

func requestWords(c *cli.Context, targets []string) ([]string, error) {
	for _, target := range targets {
		if account, host, ok := strings.Cut(target, "@"); !ok || account == "" || host == "" {
			return nil, command.Misuse("%q names no account on a host; write it as root@%s", target, strings.Trim(target, "@"))
		}
	}
	if c.Duration("for") <= 0 && (!c.Bool("emergency") || c.IsSet("for")) {
		return nil, command.Misuse("say for how long, for instance --for 15m")
	}
	if strings.TrimSpace(c.String("reason")) == "" {
		return nil, command.Misuse(`say why, for instance --reason "INC-4412 restore failed"`)
	}
	words := append([]string{"request"}, targets...)
	if c.Bool("emergency") {
		words = append(words, "--emergency")
	}
	if c.IsSet("for") {
		words = append(words, "--for", c.Duration("for").String())
	}
	for _, flag := range []string{"only", "rule"} {
		if value := c.String(flag); value != "" {
			words = append(words, "--"+flag, value)
		}
	}
	return append(words, reasonWords(c.String("reason"))...), nil
}

// followUp tells what became of a fresh request and, when the person waits, sees it through to the certificate.
func (c *client) followUp(cc *cli.Context, request control.Request) error {
	asJSON := cc.Bool("json")
	if asJSON {
		jsonLine(os.Stdout, request)
	} else {
		printAsked(request)
	}
	if !cc.Bool("wait") {
		return nil
	}
	if err := c.waitApproved(cc.Context, request); err != nil {
		return err
	}
	return c.takeCertificate(cc, request.ID)
}

func printAsked(r control.Request) {
	fmt.Printf("%s  %s for %s\n", colour(bold, r.ID), word(strings.Join(r.Targets, ", ")), short(time.Duration(r.ForSeconds)*time.Second))
	printTerms(os.Stdout, r)
	if r.State == control.Pending {
		fmt.Printf("waiting for %s until %s; they approve with: postern approve %s\n", waitingFor(r), when(r.ClaimBy, time.Now()), r.ID)
		return
	}
	fmt.Printf("approved; take the certificate before %s with: postern certificate %s\n", when(r.ClaimBy, time.Now()), r.ID)
}

// waitingFor names what is missing: "1 of privacy, 1 of ehr-owners".
func waitingFor(r control.Request) string {
	if h, held := r.Held(); held {
		return missingOf(h.Needs)
	}
	if e, waits := r.Extending(); waits {
		return missingOf(e.Needs)
	}
	return missingOf(r.Needs)
}

func missingOf(needs []control.Need) string {
	var missing []string
	for _, need := range needs {
		if left := need.Count - len(need.Have); left > 0 {
			missing = append(missing, fmt.Sprintf("%d of %s", left, word(need.Group)))
		}
	}
	if len(missing) == 0 {
		return "nobody"
	}
	return strings.Join(missing, ", ")
}

const pollEvery = time.Second

// waitApproved returns when every approval is there, or with the reason why that will not happen any more.
func (c *client) waitApproved(ctx context.Context, request control.Request) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	said := waitingFor(request)
	for {
		switch request.State {
		case control.Approved, control.Granted:
			return nil
		case control.Pending:
		default:
			return refusedState(request)
		}
		if now := waitingFor(request); now != said {
			said = now
			fmt.Fprintf(os.Stderr, "now waiting for %s\n", now)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%s is still waiting; once it is approved take the certificate with: postern certificate %s", request.ID, request.ID)
		}
		next, err := control.Call[control.Request](ctx, c.Client, nil, "show", request.ID)
		if err != nil && ctx.Err() == nil {
			return err
		}
		if err == nil {
			request = next
		}
	}
}

func refusedState(r control.Request) error {
	message := fmt.Sprintf("%s is %s", r.ID, r.State)
	if n := len(r.Votes); n > 0 && (r.State == control.Denied || r.State == control.Withdrawn) {
		message += " by " + word(r.Votes[n-1].Person)
	}
	return errors.New(message)
}

// sshWords is what to type to reach a target: the account is left out when ssh would take it anyway.
func sshWords(target string) string {
	account, host, _ := strings.Cut(target, "@")
	if me, err := user.Current(); err == nil && me.Username == account {
		return "ssh " + host
	}
	return "ssh " + target
}
