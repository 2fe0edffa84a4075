// Command postern-bastion stands between admins and hosts: it checks certificates, opens sessions with the CA's leave, relays and records
// them. It holds no CA key and cannot read what it records. docs/operations.md says how to run it.
package main

import (
	"log/slog"
	"os"

	"github.com/urfave/cli/v2"

	"postern/internal/command"
)

func main() {
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, nil)))
	command.Main(newApp(), nil)
}

func newApp() *cli.App {
	return command.Prepare(&cli.App{
		Name:     program,
		Usage:    "lets admins through to hosts, for as long as they may, and records it",
		Commands: []*cli.Command{initCommand, serveCommand},
	})
}

const program = "postern-bastion"

var dirFlag = &cli.StringFlag{Name: "dir", Usage: "`DIR`ectory of this bastion: its identity and its recordings", EnvVars: []string{"POSTERN_BASTION_DIR"}}
