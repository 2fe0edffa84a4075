package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"postern/internal/auditor"
	"postern/internal/command"
)

var viewReasonFlag = &cli.StringFlag{Name: "reason", Usage: "why you look at it, for the log, signed by you: `TEXT` (asked for on a terminal)"}

// desk is where this auditor works.
func (c *client) desk() *auditor.Desk {
	return &auditor.Desk{
		CA: c.Client, Sign: c.keys.named, Home: c.settings.Home, KnownHosts: c.settings.knownHosts(), Ask: askSecret, Reason: askReason,
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
