package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/crypto/ssh"

	"postern/ca/statement"
	"postern/internal/command"
	"postern/internal/control"
	"postern/internal/sshsig"
)

var yesFlag = &cli.BoolFlag{Name: "yes", Usage: "sign without asking"}

var approveCommand = &cli.Command{
	Name:      "approve",
	Usage:     "show the statement, and sign it with your key: for a request, more time, or what a limit holds",
	ArgsUsage: "R-…",
	Flags:     []cli.Flag{yesFlag, jsonFlag},
	Action:    func(c *cli.Context) error { return decide(c, control.Approve) },
}

var denyCommand = &cli.Command{
	Name:      "deny",
	Usage:     "refuse a request, signed, with a reason",
	ArgsUsage: "R-… --reason TEXT",
	Flags:     []cli.Flag{reasonFlag, yesFlag, jsonFlag},
	Action:    func(c *cli.Context) error { return decide(c, control.Deny) },
}

var withdrawCommand = &cli.Command{
	Name:      "withdraw",
	Usage:     "take back your request, or your approval and what came of it",
	ArgsUsage: "R-…",
	Flags:     []cli.Flag{reasonFlag, yesFlag, jsonFlag},
	Action:    func(c *cli.Context) error { return decide(c, control.Withdraw) },
}

var reasonFlag = &cli.StringFlag{Name: "reason", Usage: "why, for the log: `TEXT`"}

func needReason(c *cli.Context) (string, error) {
	if strings.TrimSpace(c.String("reason")) == "" {
		return "", command.Misuse(`say why: --reason "…"`)
	}
	return strings.TrimSpace(c.String("reason")), nil
}

// decide signs one decision about one request.
func decide(c *cli.Context, decision string) error {
	args, err := command.Exactly(c, "R-…")
	if err != nil {
		return err
	}
	because := strings.TrimSpace(c.String("reason"))
	if decision == control.Deny || decision == control.Clear {
		if because, err = needReason(c); err != nil {
			return err
		}
	}
	return sign(c, args[0], said{decision: decision, because: because})
}

// said is what somebody signs about a request.
type said struct{ decision, verdict, because string }

// words are the options that say it to the CA.
func (s said) words() []string {
	if s.verdict != "" {
		return append([]string{"--verdict=" + s.verdict}, reasonWords(s.because)...)
	}
	return reasonWords(s.because)
}

// sign shows what there is to sign, signs it and hands it in.
func sign(c *cli.Context, id string, s said) error {
	ca, err := connect(c)
	if err != nil {
		return err
	}
	defer ca.close()
	request, err := control.Call[control.Request](c.Context, ca.Client, nil, "show", id)
	if err != nil {
		return err
	}
	text, signer, err := ca.toSign(c, request, s)
	if err != nil {
		return err
	}
	if s.decision == control.Approve {
		printTerms(os.Stderr, request)
	}
	signature, err := signShown(text, signer, c.Bool("yes"))
	if err != nil {
		return err
	}
	after, err := control.Call[control.Request](c.Context, ca.Client, signature, append([]string{s.decision, request.ID}, s.words()...)...)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return jsonLine(os.Stdout, after)
	}
	return printDecided(after, s.decision)
}

// reasonWords joins the text to its option, so that a text which looks like an option is none.
func reasonWords(because string) []string {
	if because == "" {
		return nil
	}
	return []string{"--reason=" + because}
}

// requestStatement is toSign for a decision without a verdict.
func (c *client) requestStatement(cc *cli.Context, request control.Request, decision, because string) (string, ssh.Signer, error) {
	return c.toSign(cc, request, said{decision: decision, because: because})
}

// toSign returns the statement the CA wants signed, once it says exactly what the request that the CA showed says, and the key to sign it with.
func (c *client) toSign(cc *cli.Context, request control.Request, s said) (string, ssh.Signer, error) {
	me, err := control.Call[control.Identity](cc.Context, c.Client, nil, "whoami")
	if err != nil {
		return "", nil, err
	}
	text, err := c.statement(cc, request.ID, s)
	if err != nil {
		return "", nil, err
	}
	if err := checkDecision(text, request, statement.About(request, me.CA, s.decision, me.Name, s.because).Finding(s.verdict)); err != nil {
		return "", nil, err
	}
	token := request.Touch || request.PIN
	if h, held := request.Held(); held && s.decision != control.Withdraw {
		token = h.Touch || h.PIN
	} else if e, waits := request.Extending(); waits && s.decision != control.Withdraw {
		token = e.Touch || e.PIN
	}
	signer, err := c.keys.forDecision(me.Key, token)
	return text, signer, err
}

// checkDecision makes sure that we sign what we were shown: the request is the one its digest names, and the statement says
// what the request says, to the byte.
func checkDecision(text string, request control.Request, want statement.Statement) error {
	if statement.Digest(request) != request.Digest {
		return fmt.Errorf("%s: the CA shows a request that does not have its digest %s; nothing was signed", request.ID, request.Digest)
	}
	if _, err := statement.Parse(text); err != nil { // something in it speaks for something else
		return fmt.Errorf("%s: %w; nothing was signed:\n%s", request.ID, err, strings.TrimSpace(text))
	}
	if text != want.Text() {
		return fmt.Errorf("%s: the statement of the CA does not say what its request says; nothing was signed:\n%s", request.ID, strings.TrimSpace(text))
	}
	return nil
}

// statement asks the CA for the text to sign; subject is a request or what is to be revoked.
func (c *client) statement(cc *cli.Context, subject string, s said) (string, error) {
	words := append([]string{"show", subject, "--statement", "--decision", s.decision}, s.words()...)
	text, err := c.Run(cc.Context, nil, words...)
	return string(text), err
}

// forDecision is the key one logged in with, or where a touch is asked for and that key is no token, one that is.
func (k *keyring) forDecision(login string, touch bool) (ssh.Signer, error) {
	signer, err := k.named(login)
	if err != nil || !touch || isToken(signer) {
		return signer, err
	}
	for _, other := range k.signers {
		if isToken(other) {
			return other, nil
		}
	}
	return nil, errors.New("this needs a signature by a FIDO key (sk-…), and you have none at hand; load it with ssh-add")
}

func isToken(signer ssh.Signer) bool { return strings.HasPrefix(signer.PublicKey().Type(), "sk-") }

// signShown shows the very bytes, asks, and signs them.
func signShown(text string, signer ssh.Signer, yes bool) ([]byte, error) {
	if err := showStatement(text); err != nil {
		return nil, err
	}
	if !yes {
		agreed, err := confirm(signQuestion(signer))
		if err != nil {
			return nil, fmt.Errorf("%w; --yes signs without asking", err)
		}
		if !agreed {
			return nil, errors.New("nothing was signed")
		}
	}
	return signText(text, signer)
}

// showStatement shows the very bytes that are to be signed.
func showStatement(text string) error {
	if visible(text) != text {
		return fmt.Errorf("the statement holds characters that a terminal would not show; nothing was signed:\n%s", strings.TrimSpace(text))
	}
	fmt.Fprint(os.Stderr, text)
	return nil
}

func signQuestion(signer ssh.Signer) string {
	return "Sign this with " + ssh.FingerprintSHA256(signer.PublicKey()) + "?"
}

func signText(text string, signer ssh.Signer) ([]byte, error) {
	if isToken(signer) {
		fmt.Fprintln(os.Stderr, "touch your key "+ssh.FingerprintSHA256(signer.PublicKey()))
	}
	return sshsig.Sign(signer, control.Namespace, []byte(text))
}

// lastHalt is what holds a request, or held it, if the last signature about a request that runs was about that.
func lastHalt(r control.Request) *control.Halt {
	var halt *control.Halt
	var newest time.Time
	for i, h := range r.Halts {
		for _, v := range h.Votes {
			if !v.At.Before(newest) {
				halt, newest = &r.Halts[i], v.At
			}
		}
	}
	for _, e := range r.Extensions {
		for _, v := range e.Votes {
			if v.At.After(newest) {
				return nil
			}
		}
	}
	return halt
}

func printDecided(r control.Request, decision string) error {
	_, waits := r.Extending()
	_, held := r.Held()
	switch n := len(r.Extensions); {
	case decision == control.Review && r.Owes != nil && r.Owes.Done.IsZero():
		fmt.Printf("%s  signed; its review still waits for %s\n", colour(bold, r.ID), missingOf(r.Owes.Needs))
	case decision == control.Review && r.Owes != nil && r.Owes.Misuse():
		fmt.Printf("%s  signed; the review is complete. %s gets no other emergency until somebody else who reviews it says: postern clear %s\n", colour(bold, r.ID), word(r.Person), r.ID)
	case decision == control.Review:
		fmt.Printf("%s  signed; the review is complete\n", colour(bold, r.ID))
	case decision == control.Clear:
		fmt.Printf("%s  signed; %s may have emergencies again\n", colour(bold, r.ID), word(r.Person))
	case held && decision != control.Withdraw:
		h, _ := r.Held()
		fmt.Printf("%s  signed; %s, and waits for %s: postern approve %s\n", colour(bold, r.ID), h.What(), waitingFor(r), r.ID)
	case lastHalt(r) != nil && r.State == control.Granted && decision == control.Approve:
		fmt.Printf("%s  signed; %s goes on\n", colour(bold, r.ID), cmp.Or(lastHalt(r).Session, "the grant"))
	case lastHalt(r) != nil && r.State == control.Granted && decision == control.Deny:
		fmt.Printf("%s  not released; %s ends, and the grant opens no other session\n", colour(bold, r.ID), cmp.Or(lastHalt(r).Session, "the grant"))
	case waits && decision == control.Approve:
		fmt.Printf("%s  signed; to extend it still waits for %s\n", colour(bold, r.ID), waitingFor(r))
	case n > 0 && r.State == control.Granted && r.Extensions[n-1].State == control.Denied:
		fmt.Printf("%s  not extended; it ends %s\n", colour(bold, r.ID), when(r.Ends, time.Now()))
	case n > 0 && r.State == control.Granted:
		fmt.Printf("%s  signed; extended, it ends %s\n", colour(bold, r.ID), when(r.Ends, time.Now()))
	case decision != control.Approve:
		fmt.Printf("%s  %s\n", colour(bold, r.ID), r.State)
	case r.State == control.Pending:
		fmt.Printf("%s  signed; still waiting for %s\n", colour(bold, r.ID), waitingFor(r))
	default:
		fmt.Printf("%s  signed; %s\n", colour(bold, r.ID), colour(green, r.State))
	}
	return nil
}
