package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/crypto/ssh"

	"postern/ca/statement"
	"postern/internal/command"
	"postern/internal/control"
)

var revokeCommand = &cli.Command{
	Name:  "revoke",
	Usage: "cut access now, live sessions included",
	Description: "TARGET is a request (R-…), or everything given so far to person:NAME, account:ACCOUNT@HOST, host:NAME, key:SHA256:…, approver:NAME (what that\n" +
		"person ever approved), serial:NUMBER of a user certificate, bastion:NAME, or all: (the panic button). Several of them mean what all of them name.\n" +
		"A revoked key stays dead, and so does a revoked bastion until the policy gives it another key. With --for nothing is given anew for that time.",
	ArgsUsage: "TARGET… --reason TEXT",
	Flags: []cli.Flag{
		reasonFlag,
		&cli.DurationFlag{Name: "for", Usage: "and give nothing of it anew for this `TIME`, such as 2h"},
		&cli.BoolFlag{Name: "dry-run", Usage: "show what it would hit, and do nothing"},
		&cli.DurationFlag{Name: "wait", Value: receiptTime, Usage: "for this `TIME` at most, to see what the bastions did and whether the hosts know"},
		yesFlag, jsonFlag,
	},
	Action: func(c *cli.Context) error {
		args, err := command.AtLeast(c, "TARGET…")
		if err != nil {
			return err
		}
		target, err := control.ParseTarget(strings.Join(args, " "))
		if err != nil {
			return command.Misuse("%v", err)
		}
		if c.Duration("for") < 0 || c.Duration("for")%time.Second != 0 {
			return command.Misuse("--for is a time in whole seconds, such as 2h")
		}
		if c.Duration("wait") < 0 || c.Duration("wait") > longestWait {
			return command.Misuse("--wait is a time up to %s", longestWait)
		}
		because := strings.TrimSpace(c.String("reason"))
		if !c.Bool("dry-run") {
			if because, err = needReason(c); err != nil {
				return err
			}
		}
		ca, err := connect(c)
		if err != nil {
			return err
		}
		defer ca.close()
		return ca.revoke(c, revoking{target, c.Duration("for"), because})
	},
}

// revoking is what somebody wants revoked.
type revoking struct {
	target  control.Target
	hold    time.Duration
	because string
}

// words are the arguments of the CA's command, the reason last.
func (r revoking) words(before ...string) []string {
	for _, s := range r.target {
		before = append(before, s.String())
	}
	if r.hold > 0 {
		before = append(before, "--for", r.hold.String())
	}
	return append(before, reasonWords(r.because)...)
}

// revoke is for emergencies: it shows what it hits and signs, but asks only when somebody is there to answer.
func (c *client) revoke(cc *cli.Context, r revoking) error {
	reach, err := control.Call[control.Reach](cc.Context, c.Client, nil, append(r.words("revoke"), "--dry-run")...)
	if err != nil {
		return err
	}
	if cc.Bool("dry-run") && cc.Bool("json") {
		return jsonLine(os.Stdout, reach)
	}
	printReach(reach, cc.Bool("dry-run"))
	if cc.Bool("dry-run") {
		return nil
	}
	text, signer, err := c.cutStatement(cc, r, reach)
	if err != nil {
		return err
	}
	signature, err := signShown(text, signer, cc.Bool("yes"))
	if err != nil {
		return err
	}
	cut, err := control.Call[control.Revocation](cc.Context, c.Client, signature, r.words("revoke")...)
	if err != nil {
		return err
	}
	if cc.Bool("json") {
		return jsonLine(os.Stdout, cut)
	}
	printCut(cut)
	return c.awaitReceipts(cc.Context, cut, reach, cc.Duration("wait"))
}

func printTold(r control.Told) {
	switch {
	case r.HostEnded == nil:
		printReceipt(r.CutReceipt)
	case r.HostEnded.Left > 0:
		fmt.Println(colour(red, word(r.HostEnded.String())))
	default:
		fmt.Println(word(r.HostEnded.String()))
	}
}

func printReceipt(r control.CutReceipt) {
	last := int64(0)
	for _, s := range r.Sessions {
		last = max(last, s.Closed)
	}
	fmt.Printf("%s ended %s", word(r.Bastion), count(len(r.Sessions), "live session"))
	if len(r.Sessions) > 0 {
		fmt.Printf(", the last one %s after it heard of it", (time.Duration(last) * time.Microsecond).Round(100*time.Microsecond))
	}
	fmt.Println()
	for _, s := range r.Sessions {
		for _, survivor := range s.Survivors {
			fmt.Printf("  %s: may run on: %s\n", s.Session, word(survivor))
		}
	}
}

// mostShown is how many lines of what is hit are shown to somebody who revokes it. A dry run shows more.
const mostShown = 20

// printReach goes to standard output only when it is the answer.
func printReach(reach control.Reach, answer bool) {
	out := os.Stderr
	if answer {
		out = os.Stdout
	}
	fmt.Fprintf(out, "%s hits %s, %s and %s\n", word(reach.Target), count(reach.Grants, "grant"), count(reach.Certificates, "valid certificate"),
		count(reach.LiveSessions(), "live session"))
	if reach.Grants+reach.Certificates+len(reach.Sessions)+len(reach.Followed) == 0 {
		fmt.Fprintln(out, "  if somebody is in who should not be: is the name spelt as in postern sessions --live?") // a mistyped name revokes nothing, and says so like this
	}
	most := mostShown // who is about to sign wants to see the numbers above
	if answer {
		most = control.MaxReach
	}
	for _, r := range reach.Requests[:min(most, len(reach.Requests))] {
		fmt.Fprintf(out, "  %s  %s  %s  %s: %s\n", r.ID, r.State, word(r.Person), word(strings.Join(r.Targets, " ")), word(r.Reason))
	}
	if more := reach.Grants - most; more > 0 {
		fmt.Fprintf(out, "  and %s\n", count(more, "more grant"))
	}
	for _, s := range reach.Sessions[:min(most, len(reach.Sessions))] {
		fmt.Fprintf(out, "  %s  live  %s  %s through %s\n", s.ID, word(s.Person), word(s.Target), word(s.Bastion))
	}
	if more := reach.LiveSessions() - most; more > 0 {
		fmt.Fprintf(out, "  and %s\n", count(more, "more live session"))
	}
	if len(reach.Followed) > 0 {
		fmt.Fprintf(out, "  what still runs for %s on the hosts is ended too\n", count(len(reach.Followed), "session"))
	}
}

// cutStatement returns the statement the CA wants signed, once it says what was asked for and nothing else, and the key to sign it with.
func (c *client) cutStatement(cc *cli.Context, r revoking, reach control.Reach) (string, ssh.Signer, error) {
	me, err := control.Call[control.Identity](cc.Context, c.Client, nil, "whoami")
	if err != nil {
		return "", nil, err
	}
	b, err := c.Run(cc.Context, nil, r.words("show", "--statement", "--decision", control.Revoke)...)
	if err != nil {
		return "", nil, err
	}
	if err := checkRevocation(string(b), me, r, reach.Target); err != nil {
		return "", nil, err
	}
	signer, err := c.keys.forDecision(me.Key, false)
	return string(b), signer, err
}

// checkRevocation makes sure that the CA lets us sign the revocation that we asked for and nothing else. It may call a host by its name where we
// used an alias, which we were shown.
func checkRevocation(text string, me control.Identity, r revoking, shown string) error {
	s, err := statement.Parse(text)
	if err != nil {
		return err
	}
	about := s.Target
	if s.Request != "" {
		about = "request:" + s.Request
	}
	fits := about == r.target.String() || about == shown && sameButHosts(r.target, shown)
	if s.CA != me.CA || s.Decision != control.Revoke || s.Person != me.Name || s.Because != r.because || s.Request == "" && s.For != r.hold || !fits {
		return fmt.Errorf("the CA wants another statement signed than the revocation of %s; nothing was signed:\n%s", r.target, strings.TrimSpace(text))
	}
	return nil
}

// sameButHosts compares a target with the one that the CA made of it, which may name a host otherwise and nothing else.
func sameButHosts(asked control.Target, shown string) bool {
	t, err := control.ParseTarget(shown)
	if err != nil || len(t) != len(asked) {
		return false
	}
	for i, s := range t {
		was := asked[i]
		account, _, _ := strings.Cut(s.Value, "@")
		wasAccount, _, _ := strings.Cut(was.Value, "@")
		switch {
		case s.Kind != was.Kind:
			return false
		case s.Kind == "host":
		case s.Kind == "account" && account == wasAccount:
		case s != was:
			return false
		}
	}
	return true
}

func printCut(r control.Revocation) {
	what := r.Target().String()
	if r.Kind == "request" {
		what = r.Value
	}
	line := colour(red, "revoked") + " " + word(what)
	switch {
	case r.Kind == "request":
	case len(r.Requests) == 0:
		line += "; no grant was hit"
	case len(r.Requests) > mostShown:
		line += ", and with it " + count(len(r.Requests), "grant")
	default:
		line += ", and with it " + word(strings.Join(r.Requests, ", "))
	}
	if !r.Holds.IsZero() {
		line += "; it holds until " + when(r.Holds, time.Now())
	}
	fmt.Println(line)
}

var revocationsCommand = &cli.Command{
	Name:  "revocations",
	Usage: "what is cut",
	Flags: []cli.Flag{
		&cli.BoolFlag{Name: "follow", Usage: "and what will be, as it happens"},
		&cli.BoolFlag{Name: "receipts", Usage: "with what the bastions did about each"},
		jsonFlag,
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
		show := printRevocation
		if c.Bool("json") {
			show = func(r control.Revocation) error { return jsonLine(os.Stdout, r) }
		}
		if c.Bool("receipts") {
			show = ca.withReceipts(c, show)
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

// withReceipts shows after each revocation what the bastions told of it.
func (c *client) withReceipts(cc *cli.Context, show func(control.Revocation) error) func(control.Revocation) error {
	return func(r control.Revocation) error {
		list, err := control.List[control.Told](cc.Context, c.Client, "receipts", strconv.FormatUint(r.Seq, 10))
		if err != nil {
			return err
		}
		if err := show(r); err != nil {
			return err
		}
		for _, receipt := range list {
			if cc.Bool("json") {
				if err := jsonLine(os.Stdout, receipt); err != nil {
					return err
				}
				continue
			}
			fmt.Print("   ")
			printTold(receipt)
		}
		return nil
	}
}

func printRevocation(r control.Revocation) error {
	_, err := fmt.Printf("%d  %s  %s by %s: %s\n", r.Seq, when(r.At, time.Now()), word(r.Target().String()), word(r.By), word(r.Reason))
	return err
}
