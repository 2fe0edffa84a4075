package main

import (
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"postern/internal/auditor"
	"postern/internal/command"
	"postern/internal/control"
	"postern/recorder"
	"postern/recorder/play"
)

var keystrokesFlag = &cli.BoolFlag{Name: "keystrokes", Usage: "with what was typed on terminals, where it was recorded and is sealed to you"}

// format is a way to write a recording. One of write and files is set.
type format struct {
	about      string
	binary     bool // not for a terminal
	keystrokes bool // shows what was typed, and nothing without it
	write      func(*recorder.Reader, io.Writer) error
	dir        func(r *recorder.Reader, dir string) error
}

// formats are all of them but the sealed one, which nobody needs to open for.
var formats = map[string]format{
	"asciicast":  {about: "for asciinema", write: func(r *recorder.Reader, w io.Writer) error { return play.Asciicast(r, -1, w) }},
	"asciicast3": {about: "for asciinema 3", write: func(r *recorder.Reader, w io.Writer) error { return play.Asciicast3(r, -1, w) }},
	"screen":     {about: "what the screens showed", write: func(r *recorder.Reader, w io.Writer) error { return play.Screens{Channel: -1}.Write(r, w) }},
	"text":       {about: "what was printed", write: func(r *recorder.Reader, w io.Writer) error { return play.Text(r, -1, w, w) }},
	"jsonl":      {about: "every frame", write: play.Events},
	"keystrokes": {about: "what was typed", keystrokes: true, write: play.Keystrokes},
	"pcapng":     {about: "forwarded connections, for Wireshark", binary: true, write: exportCapture},
	"files":      {about: "transferred files, into the directory --output", dir: exportFiles},
}

var exportCommand = &cli.Command{
	Name:      "export",
	Usage:     "write a recording for other programs",
	ArgsUsage: "S-… --format " + strings.Join(formatNames(), "|"),
	Flags: []cli.Flag{
		&cli.StringFlag{Name: "format", Value: "text", Usage: formatsUsage()},
		outputFlag, keystrokesFlag, viewReasonFlag,
	},
	Action: func(c *cli.Context) error {
		args, err := command.Exactly(c, "S-…")
		if err != nil {
			return err
		}
		if c.String("format") == "sealed" {
			return fetchSealed(c, args[0])
		}
		f, known := formats[c.String("format")]
		if !known {
			return command.Misuse("there is no format %q (formats are: %s)", c.String("format"), strings.Join(formatNames(), ", "))
		}
		return f.export(c, args[0])
	},
}

func formatNames() []string { return append(slices.Sorted(maps.Keys(formats)), "sealed") }

func formatsUsage() string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(formats)) {
		list = append(list, fmt.Sprintf("%s (%s)", name, formats[name].about))
	}
	return strings.Join(list, ", ") + ", sealed (for verify --recording): `FORMAT`"
}

func (f format) export(c *cli.Context, id string) error {
	output := c.String("output")
	switch {
	case f.dir != nil && output == "":
		return command.Misuse("name a directory that is new or empty with -o DIR")
	case f.binary && output == "" && term.IsTerminal(int(os.Stdout.Fd())):
		return command.Misuse("this format is binary; name a file with -o FILE")
	}
	view := auditor.View{Kind: control.ViewExport, Keystrokes: f.keystrokes || c.Bool("keystrokes")}
	if f.dir != nil {
		undo, err := newDir(output)
		if err != nil {
			return err
		}
		defer undo()
		return withRecording(c, view, id, func(r *recorder.Reader) error { return f.dir(r, output) })
	}
	out, err := openOutput(output)
	if err != nil {
		return err
	}
	defer out.abandon()
	return withRecording(c, view, id, func(r *recorder.Reader) error {
		return out.write(func(w io.Writer) error { return f.write(r, forTerminal(w)) })
	})
}

func exportCapture(r *recorder.Reader, w io.Writer) error {
	n, err := play.Pcapng(r, w)
	if err == nil {
		fmt.Fprintln(os.Stderr, count(int(n), "forwarded connection"))
	}
	return err
}

func exportFiles(r *recorder.Reader, dir string) error {
	n, err := play.Files(r, dir)
	fmt.Fprintf(os.Stderr, "%d whole files, %d heads, %d parts; of %d nothing was kept; manifest.json says what is what\n", n.Whole, n.Heads, n.Parts, n.Nothing)
	return err
}

func fetchSealed(c *cli.Context, id string) error {
	if c.String("output") == "" && term.IsTerminal(int(os.Stdout.Fd())) {
		return command.Misuse("a sealed recording is binary; name a file with -o FILE")
	}
	reason, err := viewReason(c)
	if err != nil {
		return err
	}
	out, err := openOutput(c.String("output"))
	if err != nil {
		return err
	}
	defer out.abandon()
	ca, err := connect(c)
	if err != nil {
		return err
	}
	defer ca.close()
	access, err := ca.desk().View(c.Context, auditor.View{Kind: control.ViewExport, Reason: reason}, id)
	if err != nil {
		return err
	}
	defer access.Close()
	return out.write(func(w io.Writer) error { return access.Fetch(c.Context, id, w) })
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
