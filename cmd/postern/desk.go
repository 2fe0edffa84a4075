package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"postern/ca/auditlog"
	"postern/internal/auditor"
	"postern/internal/command"
	"postern/internal/control"
)

var viewReasonFlag = &cli.StringFlag{Name: "reason", Usage: "why you look at it, for the log, signed by you: `TEXT` (asked for on a terminal)"}

// desk is where this auditor works.
func (c *client) desk() *auditor.Desk {
	return &auditor.Desk{
		CA: c.Client, Sign: c.keys.named, Home: c.settings.Home, KnownHosts: c.settings.knownHosts(), Ask: askSecret, Reason: askReason,
		LogKey: func() (string, error) { return logKey(c.settings.Trust) }, Seen: c.seen,
		Tell: func(text string) { fmt.Fprintln(os.Stderr, word(text)) },
	}
}

// viewReason is why somebody looks at recordings: the flag, or what they answer on the terminal. It is asked before anything that takes long.
func viewReason(c *cli.Context) (string, error) {
	if reason := strings.TrimSpace(c.String("reason")); reason != "" {
		return reason, nil
	}
	return askReason()
}

func askReason() (string, error) {
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		return "", command.Misuse("%v", auditor.ErrNoReason)
	}
	reason, err := askLine("Why do you look at it? The log keeps your answer: ")
	switch {
	case errors.Is(err, errNoTerminal), err == nil && reason == "":
		return "", command.Misuse("%v", auditor.ErrNoReason)
	}
	return reason, err
}

// seen remembers a checkpoint, once it is shown that the log has only grown from what was seen before, or has been seen further already.
func (c *client) seen(ctx context.Context, checkpoint []byte) error {
	key, err := logKey(c.settings.Trust)
	if err != nil {
		return err
	}
	m, err := openMemory(c.settings.Home, key)
	if err != nil {
		return err
	}
	defer m.close()
	remembered, older, err := m.last()
	if err != nil {
		return err
	}
	newer, err := auditlog.OpenCheckpoint(checkpoint, key)
	if err != nil {
		return err
	}
	further := older.N > newer.N
	if further { // another program of this auditor was faster
		older, newer = newer, older
	}
	proof, err := c.consistency(ctx, older.N, newer.N)
	var refused *control.Refused
	switch {
	case further && errors.As(err, &refused): // it has no log as long as that any more
		err = auditlog.CheckConsistency(nil, older, newer)
	case err == nil:
		err = auditlog.CheckConsistency(proof, newer, older)
	}
	if err != nil {
		return m.conflict(err, remembered, checkpoint)
	}
	if further {
		return nil
	}
	return m.keep(checkpoint)
}

func (c *client) consistency(ctx context.Context, from, to int64) (auditlog.Proof, error) {
	if from == 0 || from == to {
		return nil, nil
	}
	answer, err := control.Call[control.Proof](ctx, c.Client, nil, "proof", "--from", strconv.FormatInt(from, 10), "--to", strconv.FormatInt(to, 10))
	var proof auditlog.Proof
	for _, h := range answer.Hashes {
		if len(h) != 32 {
			return nil, errors.New("the CA answered with a proof that is none")
		}
		proof = append(proof, [32]byte(h))
	}
	return proof, err
}
