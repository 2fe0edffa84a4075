package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"postern/internal/auditor"
	"postern/internal/command"
	"postern/internal/control"
	"postern/internal/player"
	"postern/recorder"
	"postern/recorder/index"
	"postern/recorder/play"
)

var replayCommand = &cli.Command{
	Name:      "replay",
	Usage:     "play what the admin saw, on your terminal",
	ArgsUsage: "S-…",
	Flags: []cli.Flag{
		&cli.Float64Flag{Name: "speed", Value: 1, Usage: "play `N` times as fast, 0.25 to 16"},
		&cli.DurationFlag{Name: "idle", DefaultText: "as long as they were", Usage: "shorten pauses to this `TIME`, such as 2s"},
		&cli.DurationFlag{Name: "from", DefaultText: "the beginning", Usage: "begin at this `TIME`, such as 50m"},
		&cli.BoolFlag{Name: "text", Usage: "what the screens showed, as text, all of it at once (what you get where there is no terminal)"},
		&cli.BoolFlag{Name: "commands", Usage: "the commands that were run, and those that were seen on the screen"},
		&cli.BoolFlag{Name: "files", Usage: "the files that were transferred and changed"},
		jsonFlag, webFlag, openFlag, keystrokesFlag, viewReasonFlag,
	},
	Action: func(c *cli.Context) error {
		if c.Bool("web") {
			return replayWeb(c)
		}
		args, err := command.Exactly(c, "S-…")
		if err != nil {
			return err
		}
		if speed := c.Float64("speed"); !(speed >= 0.25 && speed <= 16) || c.Duration("idle") < 0 || c.Duration("from") < 0 {
			return command.Misuse("--speed is from 0.25 to 16, --idle and --from are not negative")
		}
		view := auditor.View{Kind: control.ViewReplay, Keystrokes: c.Bool("keystrokes")}
		switch {
		case c.Bool("commands") || c.Bool("files"):
			return withArchive(c, view, args[0], func(a *recorder.Archive, damage error) error {
				warnOf(damage)
				return printIndex(c, a)
			})
		case c.Bool("json"):
			return command.Misuse("--json is for --commands and --files; every frame as JSON is: postern export %s --format jsonl", args[0])
		case c.Bool("text") || !term.IsTerminal(int(os.Stdout.Fd())) || !term.IsTerminal(int(os.Stdin.Fd())):
			return withRecording(c, view, args[0], func(r *recorder.Reader) error { return printScreens(c, r) })
		}
		return withArchive(c, view, args[0], func(a *recorder.Archive, damage error) error { return watchIt(c, a, damage) })
	},
}

// printScreens writes what the screens showed, and beside it what was done.
func printScreens(c *cli.Context, r *recorder.Reader) error {
	printHeader(r.Header())
	s := play.Screens{Channel: -1, From: c.Duration("from"), Notes: os.Stderr, Keystrokes: c.Bool("keystrokes"), Colour: colour(bold, "") != ""}
	return s.Write(r, forEyes(os.Stdout))
}

// warnOf says first what is wrong with what follows.
func warnOf(damage error) {
	if damage != nil {
		fmt.Fprintln(os.Stderr, colour(red, "WARNING: "+word(damage.Error())))
	}
}

// watchIt is the player.
func watchIt(c *cli.Context, a *recorder.Archive, damage error) error {
	h, err := a.Header(c.Context)
	if err != nil {
		return cmp.Or(damage, err)
	}
	return player.Run(c.Context, player.Recording{Archive: a, Header: h, Damage: damage}, player.Options{
		Speed: c.Float64("speed"), Idle: c.Duration("idle"), From: c.Duration("from"), Keystrokes: c.Bool("keystrokes"),
	})
}

// printIndex lists commands, or files, or both.
func printIndex(c *cli.Context, a *recorder.Archive) error {
	entries, bad := index.Of(c.Context, a, nil) // with an error come those that are good
	var commands []index.Command
	var files []index.File
	for _, e := range entries {
		commands, files = append(commands, e.Commands...), append(files, e.Files...)
	}
	if c.Bool("commands") {
		if err := printRows(c, commands, []string{"AT", "CHANNEL", "HOW", "EXIT", "COMMAND"}, commandRow, "no command was run or seen"); err != nil {
			return err
		}
	}
	if c.Bool("files") {
		if err := printRows(c, files, []string{"AT", "CHANNEL", "WHAT", "PATH", "BYTES", "SHA256", "STATUS"}, fileRow, "no file was transferred or changed"); err != nil {
			return err
		}
	}
	return bad
}

// printRows is a table for people, or a line of JSON for each; none says that there is nothing.
func printRows[T any](c *cli.Context, list []T, heading []string, row func(T) []string, none string) error {
	if c.Bool("json") {
		return linesOfJSON(forEyes(os.Stdout), list)
	}
	rows := [][]string{heading}
	for _, v := range list {
		rows = append(rows, row(v))
	}
	return rowsOr(rows, none)
}

func linesOfJSON[T any](out io.Writer, list []T) error {
	for _, v := range list {
		if err := jsonLine(out, v); err != nil {
			return err
		}
	}
	return nil
}

func commandRow(c index.Command) []string {
	how, exit := "run", ""
	switch {
	case c.Refused:
		how = "refused"
	case c.Seen:
		how = "seen" // read off the terminal: a host may have made it up
	}
	if c.Exit != nil {
		exit = fmt.Sprint(*c.Exit)
	}
	return []string{offset(c.At), fmt.Sprint(c.Channel), how, exit, c.Text}
}

func fileRow(f index.File) []string {
	what, path := f.Protocol+" "+f.Operation, f.Path
	if f.Denied {
		what = "denied: " + what
	}
	if f.To != "" {
		path += " to " + f.To
	}
	return []string{offset(f.At), fmt.Sprint(f.Channel), what, path, fmt.Sprint(f.Bytes), f.SHA256, f.Status}
}

// offset is a time since the session began.
func offset(d time.Duration) string {
	s := int64(d / time.Second)
	return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
}

func printHeader(h recorder.Header) {
	if h.Person == "" { // it is in the first frame, and none is sealed yet
		return
	}
	fmt.Fprintln(os.Stderr, word(fmt.Sprintf("%s: %s as %s on %s through %s, from %s, %s", h.Session, h.Person, h.Account, h.Host, h.Bastion,
		h.Client, when(h.Started, time.Now()))))
}

// forEyes makes what the screens showed safe for a terminal: it has no controls, but may have characters that turn text around.
func forEyes(f *os.File) io.Writer {
	if term.IsTerminal(int(f.Fd())) {
		return visibly{f}
	}
	return f
}

type visibly struct{ out io.Writer }

func (v visibly) Write(p []byte) (int, error) {
	if _, err := io.WriteString(v.out, visible(string(p))); err != nil {
		return 0, err
	}
	return len(p), nil
}

// withArchive opens a recording whose segments come when they are wanted, shows what is good of it, and ends with what is not.
func withArchive(c *cli.Context, view auditor.View, id string, show func(a *recorder.Archive, damage error) error) error {
	var err error
	if view.Reason, err = viewReason(c); err != nil {
		return err
	}
	ca, err := connect(c)
	if err != nil {
		return err
	}
	defer ca.close()
	access, err := ca.desk().View(c.Context, view, id)
	if err != nil {
		return err
	}
	defer access.Close()
	if view.Keystrokes {
		if _, err := access.KeystrokeKey(id); err != nil { // who asks for what was typed is told when there is none
			return err
		}
	}
	a, damage := access.Archive(c.Context, id)
	if a == nil {
		return damage
	}
	if err := show(a, damage); err != nil {
		return err
	}
	return damage
}

// withRecording fetches, verifies and opens a recording, shows what is good of it, and ends with what is not.
func withRecording(c *cli.Context, view auditor.View, id string, show func(*recorder.Reader) error) error {
	var err error
	if view.Reason, err = viewReason(c); err != nil {
		return err
	}
	ca, err := connect(c)
	if err != nil {
		return err
	}
	defer ca.close()
	r, err := ca.open(c, view, id)
	if err != nil {
		return err
	}
	defer r.Close()
	reader, err := r.reader()
	if err != nil {
		return err
	}
	if term.IsTerminal(int(os.Stdout.Fd())) && c.String("output") == "" {
		defer fmt.Print(play.Restore) // what was printed may end inside a full screen program
	}
	if err := show(reader); err != nil {
		return err
	}
	if r.damage != nil {
		return fmt.Errorf("the recording of %s does not verify: %w", r.session.ID, r.damage)
	}
	return nil
}
