package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"postern/internal/auditor"
	"postern/internal/command"
	"postern/internal/control"
	"postern/recorder"
	"postern/recorder/play"
)

var replayCommand = &cli.Command{
	Name:      "replay",
	Usage:     "play what the admin saw, on your terminal",
	ArgsUsage: "S-…",
	Flags: []cli.Flag{
		&cli.Float64Flag{Name: "speed", Value: 1, Usage: "play `N` times as fast"},
		&cli.DurationFlag{Name: "idle", DefaultText: "as long as they were", Usage: "shorten pauses to this `TIME`, such as 2s"},
		&cli.DurationFlag{Name: "from", DefaultText: "the beginning", Usage: "show what came before this `TIME` at once"},
		&cli.BoolFlag{Name: "text", Usage: "all of it at once"},
		webFlag, openFlag, keystrokesFlag, viewReasonFlag,
	},
	Action: func(c *cli.Context) error {
		if c.Bool("web") {
			return replayWeb(c)
		}
		args, err := command.Exactly(c, "S-…")
		if err != nil {
			return err
		}
		if c.Float64("speed") <= 0 || c.Duration("idle") < 0 || c.Duration("from") < 0 {
			return command.Misuse("--speed is above 0, --idle and --from are not negative")
		}
		return withRecording(c, auditor.View{Kind: control.ViewReplay, Keystrokes: c.Bool("keystrokes")}, args[0], func(r *recorder.Reader) error {
			printHeader(r.Header())
			return playback(c).Play(c.Context, r, os.Stdout)
		})
	},
}

func playback(c *cli.Context) play.Player {
	p := play.Player{
		Speed: c.Float64("speed"), Idle: c.Duration("idle"), From: c.Duration("from"),
		Notes: os.Stderr, Keystrokes: c.Bool("keystrokes"), Colour: colour(bold, "") != "",
	}
	if c.Bool("text") {
		p.Wait = func(ctx context.Context, _ time.Duration) error { return ctx.Err() }
	}
	return p
}

func printHeader(h recorder.Header) {
	fmt.Fprintln(os.Stderr, word(fmt.Sprintf("%s: %s as %s on %s through %s, from %s, %s", h.Session, h.Person, h.Account, h.Host, h.Bastion,
		h.Client, when(h.Started, time.Now()))))
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
		defer fmt.Print(play.Restore) // a recording may end inside a full screen program
	}
	if err := show(reader); err != nil {
		return err
	}
	if r.damage != nil {
		return fmt.Errorf("the recording of %s does not verify: %w", r.session.ID, r.damage)
	}
	return nil
}
