// Command postern-ca is the certificate authority of postern: it keeps the CA keys, answers the control plane and
// writes the audit log. docs/operations.md says how to run it.
package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/urfave/cli/v2"
)

func main() {
	app := &cli.App{
		Name:                   "postern-ca",
		Usage:                  "the certificate authority of postern",
		UseShortOptionHandling: false,
		HideHelpCommand:        true,
		Commands:               []*cli.Command{initCommand, serveCommand},
		ExitErrHandler:         func(*cli.Context, error) {}, // main prints, once
	}
	for _, cmd := range app.Commands {
		cmd.OnUsageError = func(_ *cli.Context, err error, _ bool) error { return usage{err} }
	}
	app.OnUsageError = func(_ *cli.Context, err error, _ bool) error { return usage{err} }
	err := app.Run(os.Args)
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, "postern-ca: "+err.Error())
	if _, misused := err.(usage); misused {
		os.Exit(2)
	}
	os.Exit(1)
}

// usage is an error in the command line.
type usage struct{ error }

// noArguments refuses words that the flag package would silently pass over, flags behind them included.
func noArguments(c *cli.Context) error {
	if c.NArg() > 0 {
		return usage{fmt.Errorf("%s takes no argument %q", c.Command.Name, c.Args().First())}
	}
	return nil
}

var (
	dirFlag        = &cli.StringFlag{Name: "dir", Usage: "`DIR` with keys/ and state/", Required: true, EnvVars: []string{"POSTERN_CA_DIR"}}
	passphraseFlag = &cli.StringFlag{Name: "passphrase-file", Usage: "`FILE` whose first line unlocks the keys", EnvVars: []string{"POSTERN_CA_PASSPHRASE_FILE"}}
)

// passphrase reads the first line of the file; none without the flag.
func passphrase(c *cli.Context) ([]byte, error) {
	path := c.String("passphrase-file")
	if path == "" {
		return nil, nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	first, _, _ := strings.Cut(string(b), "\n")
	if first == "" {
		return nil, fmt.Errorf("%s: its first line is empty; it should hold the passphrase", path)
	}
	return []byte(first), nil
}
