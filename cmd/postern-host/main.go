// Command postern-host keeps a stock OpenSSH host under postern: the list of what is revoked, fresh and whole, and the
// certificate of the host's key. It holds no secret but the key with which it logs in to the CA.
package main

import (
	"os"

	"github.com/urfave/cli/v2"

	"postern/internal/command"
)

func main() {
	if q, ok := plainly(os.Args[1:]); ok && q.answer() == nil {
		return
	}
	command.Main(newApp(), nil)
}

func newApp() *cli.App {
	return command.Prepare(&cli.App{
		Name:  program,
		Usage: "keeps an OpenSSH host's revocations and host certificate fresh",
		Commands: []*cli.Command{
			initCommand,
			sshdConfigCommand,
			serveCommand,
			principalsCommand,
			openedCommand,
		},
	})
}

const program = "postern-host"

var dirFlag = &cli.StringFlag{Name: "dir", Usage: "this program's own `DIR`ectory", EnvVars: []string{"POSTERN_HOST_DIR"}}
