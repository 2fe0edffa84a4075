package command

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// UsageError is a command line that makes no sense, in one line. An empty one has been explained by printing the help.
type UsageError string

func (e UsageError) Error() string { return string(e) }

// Misuse is a [UsageError] from a format.
func Misuse(format string, args ...any) error { return UsageError(fmt.Sprintf(format, args...)) }

// Exactly returns the command's arguments when there are as many as it has names, and none is empty.
func Exactly(c *cli.Context, names ...string) ([]string, error) {
	if given := c.Args().Slice(); len(given) > len(names) {
		return nil, Misuse("%q is one argument too many (%s; text with spaces needs quotes)", given[len(names)], hint(c))
	}
	return AtLeast(c, names...)
}

// AtLeast returns the command's arguments when there are as many as it has names, or more, and none is empty.
func AtLeast(c *cli.Context, names ...string) ([]string, error) {
	given := c.Args().Slice()
	switch {
	case len(given) < len(names):
		return nil, Misuse("%s is missing (%s)", names[len(given)], hint(c))
	case slices.Contains(given, ""):
		return nil, Misuse("an argument is empty (%s)", hint(c))
	}
	return given, nil
}

// FlagsOnly checks that a command without arguments has none, and that the text flags it cannot do without are set: on the command
// line or in their environment variables. Every such command calls it: urfave/cli passes over words that nobody asks for.
func FlagsOnly(c *cli.Context, required ...string) error {
	if _, err := Exactly(c); err != nil {
		return err
	}
	return Required(c, required...)
}

// Required checks that text flags are set: on the command line or in their environment variables.
func Required(c *cli.Context, flags ...string) error {
	for _, name := range flags {
		if c.String(name) == "" {
			return Misuse("--%s is missing (%s)", name, hint(c))
		}
	}
	return nil
}

// hint is where to read on: the usage of a command with arguments, else its help.
func hint(c *cli.Context) string {
	if c.Command.ArgsUsage != "" {
		return "usage: " + c.Command.HelpName + " " + c.Command.ArgsUsage
	}
	return seeHelp(c)
}

func seeHelp(c *cli.Context) string {
	name := c.App.Name
	if c.Command != nil && c.Command.HelpName != "" {
		name = c.Command.HelpName
	}
	return "see: " + name + " --help"
}

func onUsageError(c *cli.Context, err error, _ bool) error {
	return Misuse("%s (%s)", plainly(c, strings.TrimSpace(err.Error())), seeHelp(c))
}

// What package flag says; it has no types for these.
var (
	unknownFlag = regexp.MustCompile(`^flag provided but not defined: -+(.+)$`)
	badValue    = regexp.MustCompile(`^invalid value (".*") for flag -+(\S+): `)
)

// plainly puts what package flag says of a flag the way flags are written here, with what would be right.
func plainly(c *cli.Context, text string) string {
	if found := unknownFlag.FindStringSubmatch(text); found != nil {
		return "there is no flag --" + found[1]
	}
	found := badValue.FindStringSubmatch(text)
	if found == nil {
		return text
	}
	flags := c.App.Flags
	if c.Command != nil {
		flags = append(slices.Clone(c.Command.Flags), flags...)
	}
	wants := "is not what it takes"
	switch lookup(flags, found[2]).(type) {
	case *cli.DurationFlag:
		wants = "is no length of time: write it as 15m, 1h30m or 20s"
	case *cli.IntFlag, *cli.Int64Flag, *cli.UintFlag, *cli.Uint64Flag, *cli.Float64Flag:
		wants = "is no number it can be"
	}
	return fmt.Sprintf("--%s: %s %s", found[2], found[1], wants)
}

// noCommand is what a program or a group of commands does when it is given no command, or one it does not have.
func noCommand(c *cli.Context) error {
	if c.Args().First() == "help" {
		return cli.ShowSubcommandHelp(c)
	}
	if c.Args().Present() {
		return Misuse("there is no command %q (%s)", c.Args().First(), seeHelp(c))
	}
	if err := cli.ShowSubcommandHelp(c); err != nil {
		return err
	}
	return UsageError("")
}
