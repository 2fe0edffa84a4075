package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"postern/internal/command"
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
		viewReasonFlag,
	},
	Action: func(c *cli.Context) error {
		args, err := command.Exactly(c, "S-…")
		if err != nil {
			return err
		}
		if c.Float64("speed") <= 0 || c.Duration("idle") < 0 || c.Duration("from") < 0 {
			return command.Misuse("--speed is above 0, --idle and --from are not negative")
		}
		return withRecording(c, args[0], func(r *recorder.Reader) error {
			printHeader(r.Header())
			return playback(c).Play(c.Context, r, os.Stdout)
		})
	},
}

func playback(c *cli.Context) play.Player {
	p := play.Player{
		Speed: c.Float64("speed"), Idle: c.Duration("idle"), From: c.Duration("from"),
		Notes: os.Stderr, Colour: colour(bold, "") != "",
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
func withRecording(c *cli.Context, id string, show func(*recorder.Reader) error) error {
	ca, err := connect(c)
	if err != nil {
		return err
	}
	defer ca.close()
	r, err := ca.open(c, id)
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

var exportCommand = &cli.Command{
	Name:      "export",
	Usage:     "write a recording for other programs",
	ArgsUsage: "S-… --format asciicast|text|jsonl|sealed",
	Flags: []cli.Flag{
		&cli.StringFlag{Name: "format", Value: "text", Usage: "asciicast (for asciinema), text (what was printed), jsonl (every frame), sealed (for verify --recording): `FORMAT`"},
		outputFlag, viewReasonFlag,
	},
	Action: func(c *cli.Context) error {
		args, err := command.Exactly(c, "S-…")
		if err != nil {
			return err
		}
		if c.String("format") == "sealed" {
			return fetchSealed(c, args[0])
		}
		write, known := formats[c.String("format")]
		if !known {
			return command.Misuse("there is no format %q (formats are: asciicast, text, jsonl, sealed)", c.String("format"))
		}
		return withRecording(c, args[0], func(r *recorder.Reader) error {
			return writing(c.String("output"), func(w io.Writer) error { return write(r, forTerminal(w)) })
		})
	},
}

var formats = map[string]func(*recorder.Reader, io.Writer) error{
	"asciicast": func(r *recorder.Reader, w io.Writer) error { return play.Asciicast(r, -1, w) },
	"text":      func(r *recorder.Reader, w io.Writer) error { return play.Text(r, -1, w, w) },
	"jsonl":     play.Events,
}

func fetchSealed(c *cli.Context, id string) error {
	if c.String("output") == "" && term.IsTerminal(int(os.Stdout.Fd())) {
		return command.Misuse("a sealed recording is binary; name a file with -o FILE")
	}
	ca, err := connect(c)
	if err != nil {
		return err
	}
	defer ca.close()
	return writing(c.String("output"), func(w io.Writer) error {
		_, err := ca.fetch(c, id, w)
		return err
	})
}

// forTerminal filters what goes to a terminal: what a host printed may be made to act on the auditor's.
func forTerminal(w io.Writer) io.Writer {
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return &filtered{out: w}
	}
	return w
}

type filtered struct {
	out    io.Writer
	filter play.Filter
	shown  []byte
}

func (f *filtered) Write(p []byte) (int, error) {
	f.shown = f.filter.Append(f.shown[:0], p)
	if _, err := f.out.Write(f.shown); err != nil {
		return 0, err
	}
	return len(p), nil
}
