package command

import (
	"strings"

	"github.com/urfave/cli/v2"
)

// arrange puts flags before arguments, because urfave/cli takes a flag after the first argument for an argument:
// "request root@phi1 --for 15m" would ask for three targets. Flags of the program itself may stand anywhere too.
func arrange(app *cli.App, args []string) ([]string, error) {
	if len(args) == 0 {
		return args, nil
	}
	a := arranger{global: app.Flags}
	a.split(app.Commands, args[1:])
	if a.missing != "" {
		return nil, Misuse("--%s needs a value", a.missing)
	}
	out := append([]string{args[0]}, a.globals...)
	out = append(out, a.words...)
	out = append(out, a.flags...)
	if len(a.arguments) == 0 || a.help { // urfave/cli would look for help on the argument
		return out, nil
	}
	return append(append(out, "--"), a.arguments...), nil
}

type arranger struct {
	global, local                    []cli.Flag
	globals, words, flags, arguments []string // what was found, in the order to give back
	missing                          string   // a flag that stood last and lacks its value
	help                             bool
}

func (a *arranger) split(commands []*cli.Command, args []string) {
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if arg == "--" {
			a.arguments = append(a.arguments, args[i+1:]...)
			return
		}
		if len(arg) > 1 && arg[0] == '-' {
			i += a.flag(args[i:])
			continue
		}
		if command := find(commands, arg); command != nil && len(a.arguments) == 0 {
			a.words = append(a.words, arg)
			a.local, commands = command.Flags, command.Subcommands
			continue
		}
		if commands != nil && len(a.arguments) == 0 {
			// Not a command: leave it where urfave/cli looks for one, so that it is reported as that.
			a.words = append(a.words, arg)
			commands = nil
			continue
		}
		a.arguments = append(a.arguments, arg)
		commands = nil
	}
}

// flag takes the flag at the head of args and returns how many words beyond it belong to it.
func (a *arranger) flag(args []string) int {
	name, _, joined := strings.Cut(strings.TrimLeft(args[0], "-"), "=")
	bin, flag := &a.flags, lookup(a.local, name)
	if flag == nil {
		if flag = lookup(a.global, name); flag != nil {
			bin = &a.globals
		}
	}
	_, isBool := flag.(*cli.BoolFlag)
	if flag == nil || isBool || joined {
		a.help = a.help || flag == nil && (name == "help" || name == "h")
		*bin = append(*bin, args[0]) // an unknown flag is urfave/cli's to report
		return 0
	}
	if len(args) == 1 {
		a.missing = name
		return 0
	}
	*bin = append(*bin, args[0], args[1])
	return 1
}

func find(commands []*cli.Command, name string) *cli.Command {
	for _, command := range commands {
		if command.HasName(name) {
			return command
		}
	}
	return nil
}

func lookup(flags []cli.Flag, name string) cli.Flag {
	for _, flag := range flags {
		for _, n := range flag.Names() {
			if n == name && flag != cli.HelpFlag { // which urfave/cli appends at the first run
				return flag
			}
		}
	}
	return nil
}
