// Command postern-ca is the certificate authority of postern: it keeps the CA keys, answers the control plane and
// writes the audit log. docs/operations.md says how to run it.
package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"postern/internal/command"
)

func main() { command.Main(newApp(), nil) }

func newApp() *cli.App {
	return command.Prepare(&cli.App{
		Name:     "postern-ca",
		Usage:    "the certificate authority of postern",
		Commands: []*cli.Command{initCommand, serveCommand, notifyTestCommand},
	})
}

var (
	dirFlag        = &cli.StringFlag{Name: "dir", Usage: "`DIR` with keys/ and state/", EnvVars: []string{"POSTERN_CA_DIR"}}
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
