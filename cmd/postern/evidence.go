package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"postern/internal/auditor"
	"postern/internal/command"
	"postern/internal/control"
	"postern/internal/evidence"
	"postern/internal/verify"
	"postern/recorder"
)

var evidenceCommand = &cli.Command{
	Name:      "evidence",
	Usage:     "one file that proves a session or a request to somebody who never saw the CA; postern verify FILE checks it",
	ArgsUsage: "S-…|R-… -o FILE",
	Flags: []cli.Flag{
		&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "the `FILE` to make"},
		viewReasonFlag, witnessFlag, witnessesFlag,
		&cli.BoolFlag{Name: "no-recording", Usage: "leave the recording out: who asked, who approved, what was signed, and the heads of the recording"},
		&cli.StringFlag{Name: "segments", Usage: "only these segments of the recording: `3-7,9`"},
		&cli.DurationFlag{Name: "from", DefaultText: "the beginning", Usage: "only what was recorded from this `TIME` of the session on, such as 10m"},
		&cli.DurationFlag{Name: "to", DefaultText: "the end", Usage: "only what was recorded up to this `TIME`"},
		&cli.BoolFlag{Name: "open", Usage: "with the key of the session, so that whoever has the file reads the recording; wants --confirm"},
		&cli.StringFlag{Name: "confirm", Usage: "the ID again, to confirm --open: `ID`"},
	},
	Action: func(c *cli.Context) error {
		args, err := command.Exactly(c, "S-…|R-…")
		if err != nil {
			return err
		}
		want, err := wantedParts(c, strings.ToUpper(args[0]))
		if err != nil {
			return err
		}
		if want.reason, err = evidenceReason(c, want); err != nil {
			return err
		}
		if want.out, err = openOutput(want.output); err != nil {
			return err
		}
		defer want.out.abandon()
		ca, err := connect(c)
		if err != nil {
			return err
		}
		defer ca.close()
		return ca.evidence(c.Context, want)
	},
}

// parts is what of a session goes into a bundle.
type parts struct {
	id, output, reason string
	out                *output
	demand             demand
	none, open         bool
	segments           func(n uint64) bool // nil: all
	from, to           time.Duration       // 0: no bound
}

func (p parts) chosen() bool { return p.segments != nil || p.from > 0 || p.to > 0 }

func wantedParts(c *cli.Context, id string) (parts, error) {
	p := parts{id: id, output: c.String("output"), none: c.Bool("no-recording"), open: c.Bool("open"), from: c.Duration("from"), to: c.Duration("to")}
	var err error
	if p.demand, err = demanded(c); err != nil {
		return p, err
	}
	if text := c.String("segments"); text != "" {
		if p.segments, err = parseSegments(text); err != nil {
			return p, err
		}
	}
	switch {
	case p.output == "":
		return p, command.Misuse("name a file with -o FILE")
	case p.none && (p.chosen() || p.open):
		return p, command.Misuse("--no-recording leaves nothing to choose or to open")
	case p.from < 0 || p.to < 0 || p.to > 0 && p.to <= p.from:
		return p, command.Misuse("--from and --to are times of the session, the first before the second")
	case p.segments != nil && (p.from > 0 || p.to > 0):
		return p, command.Misuse("choose with --segments or with --from and --to")
	case p.open && strings.ToUpper(c.String("confirm")) != id:
		return p, command.Misuse("--open gives whoever has the file what was on the screen, patients' data included; if that is meant, add: --confirm %s", id)
	}
	return p, nil
}

// parseSegments reads a list such as 3-7,9.
func parseSegments(text string) (func(uint64) bool, error) {
	type span struct{ from, to uint64 }
	var spans []span
	for _, word := range strings.Split(text, ",") {
		first, last, many := strings.Cut(word, "-")
		if !many {
			last = first
		}
		from, err := strconv.ParseUint(first, 10, 32)
		to, err2 := strconv.ParseUint(last, 10, 32)
		if err != nil || err2 != nil || to < from {
			return nil, command.Misuse("--segments %q is not a list like 3-7,9", text)
		}
		spans = append(spans, span{from, to})
	}
	return func(n uint64) bool {
		return slices.ContainsFunc(spans, func(s span) bool { return s.from <= n && n <= s.to })
	}, nil
}

// evidenceReason asks why only when a recording is looked at.
func evidenceReason(c *cli.Context, p parts) (string, error) {
	if p.none {
		return "", nil
	}
	return viewReason(c)
}

func (c *client) evidence(ctx context.Context, want parts) error {
	p, err := c.proveLog(ctx)
	if err != nil {
		return err
	}
	for _, f := range p.Failures {
		fmt.Fprintln(os.Stderr, colour(yellow, "the log is not in order, and whoever checks the bundle may see it: "+visible(f.String())))
	}
	contents := evidence.Contents{ID: want.id, Source: evidence.Source{Leaves: p.leaves, Checkpoint: p.checkpoint, Keys: p.trust}}
	contents.CA, _, _ = strings.Cut(p.trust.Log, "+")
	if contents.Cosigned, err = c.cosigned(ctx); err != nil {
		return err
	}
	sessions, err := evidence.Sessions(p.leaves, want.id)
	if err != nil {
		return err
	}
	if !want.none && len(sessions) > 0 {
		taken, err := c.take(ctx, p, want, sessions)
		defer taken.close()
		if err != nil {
			return err
		}
		contents.Recordings = taken.recordings
	}
	return c.writeEvidence(want, contents, p.trust)
}

// writeEvidence writes the bundle and checks it as the receiver will, before it gets its name.
func (c *client) writeEvidence(want parts, contents evidence.Contents, trust verify.Keys) error {
	var report *evidence.Report
	err := want.out.write(func(w io.Writer) error {
		f, ok := w.(*os.File)
		if !ok {
			return errors.New("evidence goes into a file")
		}
		if _, err := evidence.Write(f, contents); err != nil {
			return err
		}
		size, err := f.Seek(0, io.SeekEnd)
		if err != nil {
			return err
		}
		bundle, err := evidence.Open(f, size)
		if err != nil {
			return err
		}
		if report, err = bundle.Check(trust, want.demand.witnesses); err != nil {
			return err
		}
		for _, f := range report.Findings {
			fmt.Fprintln(os.Stderr, colour(red, "BAD: "+visible(f.String())))
		}
		if !report.Covers(want.demand.need) {
			return fmt.Errorf("%d witnesses must have cosigned all of it, and %d did; wait for their next look, or see postern witness once", want.demand.need, len(report.Witnessed))
		}
		return f.Sync()
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "%s: %s\n", want.output, word(evidenceLine(report)))
	if want.open {
		fmt.Fprintln(os.Stderr, colour(yellow, "whoever has this file can read the recording; it is as confidential as what was on the screen"))
	}
	if n := len(report.Findings); n > 0 {
		return fmt.Errorf("%d things in it do not verify; whoever checks it will see them", n)
	}
	return nil
}

func evidenceLine(r *evidence.Report) string {
	text := fmt.Sprintf("%s with %s, %d of %d leaves", r.Request, count(len(r.Sessions), "session"), r.Leaves, r.Size)
	for _, rec := range r.Recordings {
		text += "; " + recordedLine(rec)
	}
	return text
}

// count is a number with its word: no session, 1 session, 2 sessions.
func count(n int, what string) string {
	switch n {
	case 0:
		return "no " + what
	case 1:
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// taken are recordings as they were fetched, in files that are gone when it is closed. What is in them is sealed.
type taken struct {
	recordings map[string]evidence.Recording
	files      []*os.File
}

func (t *taken) close() {
	for _, f := range t.files {
		f.Close()
	}
}

// take fetches what is wanted of each recording. That it is looked at is in the log before the first byte comes.
func (c *client) take(ctx context.Context, p *proof, want parts, sessions []string) (*taken, error) {
	t := &taken{recordings: map[string]evidence.Recording{}}
	access, err := c.desk().View(ctx, auditor.View{Kind: control.ViewEvidence, Reason: want.reason}, sessions...)
	if err != nil {
		return t, fmt.Errorf("%w; evidence without the recording is made with --no-recording", err)
	}
	defer access.Close()
	for _, s := range p.Sessions {
		if !slices.Contains(sessions, s.ID) || s.Destroyed != nil && s.Destroyed.Receipt.Everything {
			continue // the leaves tell what became of it
		}
		take := t.whole
		if want.chosen() {
			take = excerpt
		}
		if t.recordings[s.ID], err = take(ctx, access, s, want); err != nil {
			return t, fmt.Errorf("recording of %s: %w", s.ID, err)
		}
	}
	return t, nil
}

// whole fetches all of a recording.
func (t *taken) whole(ctx context.Context, access *auditor.Access, s verify.Session, want parts) (evidence.Recording, error) {
	var r evidence.Recording
	f, err := os.CreateTemp("", "postern-recording-*")
	if err != nil {
		return r, err
	}
	os.Remove(f.Name())
	t.files = append(t.files, f)
	if err := access.Fetch(ctx, s.ID, f); err != nil {
		return r, err
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return r, err
	}
	r.Sealed = io.NewSectionReader(f, 0, size)
	r.Key, err = sessionKey(access, s, want, r.Sealed)
	return r, err
}

// sessionKey takes the key of a session out of the beginning of its recording, if the receiver is to have it.
func sessionKey(access *auditor.Access, s verify.Session, want parts, recording io.Reader) (*recorder.SessionKey, error) {
	if !want.open {
		return nil, nil
	}
	private, err := access.Key(s.ID)
	if err != nil {
		return nil, err
	}
	key, err := private.SessionKey(recording)
	return &key, err
}

// excerpt fetches the outline of a recording and the segments that were chosen.
func excerpt(ctx context.Context, access *auditor.Access, s verify.Session, want parts) (evidence.Recording, error) {
	r := evidence.Recording{Bodies: map[uint64][]byte{}}
	source, err := access.Source(ctx, s.ID)
	if err != nil {
		return r, err
	}
	outline, err := source.Outline(ctx)
	if err != nil {
		return r, err
	}
	defer outline.Close()
	if r.Outline, err = recorder.BareOutline(outline); err != nil {
		return r, err
	}
	if r.Key, err = sessionKey(access, s, want, bytes.NewReader(r.Outline)); err != nil {
		return r, err
	}
	proven, err := verify.Outline(ctx, source, s)
	if err != nil {
		return r, err
	}
	chosen := want.segments
	if chosen == nil {
		if chosen, err = between(ctx, access, source, s, want); err != nil {
			return r, err
		}
	}
	for n := range proven.Segments {
		if chosen(n) {
			if r.Bodies[n], err = source.Body(ctx, n); err != nil {
				return r, err
			}
		}
	}
	if len(r.Bodies) == 0 {
		return r, fmt.Errorf("nothing of its %s was chosen", count(int(proven.Segments), "segment"))
	}
	return r, nil
}

// between finds the segments with frames between two times of the session: by the sealed index, and where there is none by reading them.
func between(ctx context.Context, access *auditor.Access, source recorder.Source, s verify.Session, want parts) (func(uint64) bool, error) {
	key, err := access.Key(s.ID)
	if err != nil {
		return nil, fmt.Errorf("the time of a segment shows only to who can open it: %w; choose with --segments", err)
	}
	a, err := verify.OpenOutline(ctx, source, s, key)
	if err != nil {
		return nil, err
	}
	within := map[uint64]bool{}
	for _, p := range a.Parts() {
		begin, end := p.Begin, p.End
		if p.Index == nil {
			frames, err := a.Frames(ctx, p.Number)
			if err != nil {
				return nil, err
			}
			if len(frames) == 0 {
				continue
			}
			begin, end = frames[0].At, frames[len(frames)-1].At
		}
		within[p.Number] = end >= want.from && (want.to == 0 || begin <= want.to)
	}
	return func(n uint64) bool { return within[n] }, nil
}
