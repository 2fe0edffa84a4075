// Command main is scripts/lab: it brings labs up and down.
package main

import (
	"fmt"
	"os"

	"postern/internal/lab"
)

const usage = `usage: scripts/lab up DIR            build the programs and bring a lab up below DIR
       scripts/lab down DIR          end its processes; its files stay
       scripts/lab reload DIR        make the CA read DIR/policy again
       scripts/lab start DIR NAME    start one of its processes that has ended: ca, bastion, phi1, host-phi1, agent-alice …
       scripts/lab kill DIR NAME     end one the hard way, with SIGKILL
POSTERN_LAB_BIN names a directory with the four programs built already.
`

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	wanted := map[string]int{"up": 2, "down": 2, "reload": 2, "start": 3, "kill": 3}
	if len(args) == 0 || len(args) != wanted[args[0]] {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
	if args[0] == "up" {
		l, err := lab.Up(lab.Config{Dir: args[1], Root: ".", Bin: os.Getenv("POSTERN_LAB_BIN"), Log: os.Stdout})
		if err != nil {
			return err
		}
		fmt.Printf("lab: up in %s\n\n    . %s/alice/env\n    postern request %s@phi1 --for 15m --reason \"why\"\n    ssh -F %s/alice/ssh_config phi1\n",
			l.Dir, l.Dir, l.Account, l.Dir)
		return nil
	}
	l, err := lab.Load(args[1])
	if err != nil {
		return err
	}
	switch args[0] {
	case "down":
		return l.Down()
	case "reload":
		return l.Reload()
	case "start":
		return l.Start(args[2])
	default:
		return l.Kill(args[2])
	}
}
