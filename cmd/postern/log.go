package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"postern/ca/auditlog"
	"postern/internal/command"
	"postern/internal/control"
	"postern/internal/ocsf"
	"postern/internal/report"
)

var logCommand = &cli.Command{
	Name:  "log",
	Usage: "the audit log, for people and for a SIEM, as it is or as it grows; postern verify proves what it says",
	Flags: []cli.Flag{
		&cli.Int64Flag{Name: "from", DefaultText: "the first", Usage: "begin at leaf `N`"},
		&cli.Int64Flag{Name: "to", DefaultText: "the end", Usage: "end before leaf `N`"},
		&cli.StringFlag{Name: "since", Usage: "only what is of `WHEN` or later: 30d, 12h, 2w (ago), 2026-10-01, or a time"},
		&cli.StringFlag{Name: "format", Value: "text", Usage: "text, jsonl (an entry a line, with its leaf hash), json (all of them as one array) or ocsf (an OCSF event a line): `FORMAT`"},
		&cli.BoolFlag{Name: "follow", Aliases: []string{"f"}, Usage: "go on with what comes, and hold all of it against the log's checkpoints"},
		&cli.StringFlag{Name: "state", Usage: "with --follow: keep in `FILE` how far it went, and go on from there"},
		jsonFlag,
	},
	Action: func(c *cli.Context) error {
		if err := command.FlagsOnly(c); err != nil {
			return err
		}
		w, err := wantedLeaves(c)
		if err != nil {
			return err
		}
		s, err := settingsOf(c)
		if err != nil {
			return err
		}
		if c.Bool("follow") {
			return followLog(c, s, w)
		}
		ca, err := s.connect(c.Context)
		if err != nil {
			return err
		}
		defer ca.close()
		return ca.printLog(c, w)
	},
}

var logFormats = []string{"text", "jsonl", "json", "ocsf"}

// wanted says which leaves are printed.
type wanted struct {
	from, to int64
	since    time.Time
	format   string
}

func wantedLeaves(c *cli.Context) (w wanted, err error) {
	w = wanted{from: c.Int64("from"), to: c.Int64("to"), format: c.String("format")}
	if w.to == 0 {
		w.to = math.MaxInt64
	}
	if text := c.String("since"); text != "" {
		if w.since, err = command.Since(text, time.Now()); err != nil {
			return w, command.Misuse("--since: %v", err)
		}
	}
	follow := c.Bool("follow")
	switch {
	case w.from < 0 || w.to < 0:
		return w, command.Misuse("leaves are numbered from 0")
	case !slices.Contains(logFormats, w.format):
		return w, command.Misuse("--format is text, jsonl, json or ocsf")
	case follow && (c.Int64("to") != 0 || w.format == "json" || c.Bool("json")):
		return w, command.Misuse("what is followed has no end: no --to, and no JSON array; --format jsonl has a line for each entry")
	case !follow && c.String("state") != "":
		return w, command.Misuse("--state belongs to --follow")
	}
	return w, nil
}

func (w wanted) has(index int64, at time.Time) bool {
	return index >= w.from && index < w.to && (w.since.IsZero() || !at.Before(w.since))
}

// printLog prints the log as it stands. Events remember what came before them, so for those it is read from its beginning.
func (c *client) printLog(cc *cli.Context, w wanted) error {
	begin := w.from
	if w.format == "ocsf" {
		begin = 0
	}
	words := []string{"log", "--from", strconv.FormatInt(begin, 10)}
	if w.to < math.MaxInt64 {
		words = append(words, "--to", strconv.FormatInt(w.to, 10))
	}
	signed, err := c.whole(cc.Context, begin, w)
	if err != nil {
		return err
	}
	stream, err := c.Stream(cc.Context, words...)
	if err != nil {
		return err
	}
	defer stream.Close()
	var grown auditlog.Range
	out := bufio.NewWriter(os.Stdout)
	p := &leafPrinter{wanted: w, out: out, mapper: &ocsf.Mapper{Product: command.Version()}, raw: cc.Bool("json")}
	p.begin()
	for {
		var leaf control.Leaf
		err := stream.Next(&leaf)
		if err == io.EOF {
			p.end()
			if err := out.Flush(); err != nil || grown.N >= signed.N {
				return err
			}
			return fmt.Errorf("the CA signed for %d leaves and sent %d", signed.N, grown.N)
		}
		if err == nil && leaf.Index < begin {
			err = fmt.Errorf("the CA sent leaf %d where %d or a later one belongs", leaf.Index, begin)
		}
		if err == nil {
			err = p.print(leaf)
		}
		if grown.Add(leaf.Data); err == nil && grown.N == signed.N && grown.Tree() != signed {
			err = errors.Join(out.Flush(), fmt.Errorf("these %d leaves do not make the root that the CA signed; do not rely on them", grown.N))
		}
		if err != nil {
			return err
		}
		begin = leaf.Index + 1
	}
}

// whole is the tree that leaves are held against when all of them are read for a program; a part of them says nothing about the rest.
func (c *client) whole(ctx context.Context, begin int64, w wanted) (tree auditlog.TreeHead, err error) {
	if begin > 0 || w.to < math.MaxInt64 || w.format == "text" {
		return tree, nil
	}
	keys, err := trusted(c.settings.Trust)
	if err != nil {
		return tree, err
	}
	signed, err := c.Run(ctx, nil, "checkpoint")
	if err != nil {
		return tree, err
	}
	return auditlog.OpenCheckpoint(signed, keys.Log)
}

// leafPrinter writes leaves in one of the formats.
type leafPrinter struct {
	wanted
	out    io.Writer
	mapper *ocsf.Mapper
	raw    bool // as the CA sent them
	count  int
}

// logLine is a line of JSON.
type logLine struct {
	Index int64           `json:"index"`
	Hash  string          `json:"leaf_hash"` // RFC 6962, base64
	Entry json.RawMessage `json:"entry"`
}

func (p *leafPrinter) begin() {
	if p.format == "json" && !p.raw {
		fmt.Fprint(p.out, "[")
	}
}

func (p *leafPrinter) end() {
	if p.format == "json" && !p.raw {
		fmt.Fprintln(p.out, "\n]")
	}
}

func (p *leafPrinter) print(leaf control.Leaf) error {
	// One that is no entry is printed, too: it is the first thing that somebody should see.
	e, bad := auditlog.Decode(leaf.Data)
	if bad != nil {
		e = auditlog.Entry{Type: "unreadable"}
	}
	hash := auditlog.LeafHash(leaf.Data)
	var event ocsf.Event
	if p.format == "ocsf" {
		event = p.mapper.Event(ocsf.Leaf{Index: leaf.Index, Hash: hash, Data: leaf.Data})
	}
	if bad == nil && !p.has(leaf.Index, e.At) || bad != nil && (leaf.Index < p.from || leaf.Index >= p.to) {
		return nil
	}
	p.count++
	switch {
	case p.raw:
		return jsonLine(p.out, leaf)
	case p.format == "ocsf":
		return p.line("", "\n", event)
	case p.format == "jsonl" || p.format == "json":
		line := logLine{Index: leaf.Index, Hash: hash.String(), Entry: leaf.Data}
		if bad != nil {
			line.Entry, _ = json.Marshal(map[string]any{"unreadable": leaf.Data})
		}
		if p.format == "jsonl" {
			return p.line("", "\n", line)
		}
		return p.line(map[bool]string{true: "\n", false: ",\n"}[p.count == 1], "", line)
	}
	_, err := fmt.Fprintf(p.out, "%-5d  %s  %-13s %-10s %s\n", leaf.Index, clock(e.At, time.Now()), word(e.Type), word(e.Actor), word(about(e)))
	return err
}

// line writes one JSON value, on one line whatever is in it.
func (p *leafPrinter) line(before, after string, v any) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return err
	}
	_, err := io.WriteString(p.out, before+string(report.Plain(bytes.TrimSpace(b.Bytes())))+after)
	return err
}

// about is one line on what an entry says.
func about(e auditlog.Entry) string {
	switch {
	case e.Genesis != nil:
		return "the log of " + e.Genesis.Name
	case e.Policy != nil:
		return e.Policy.Digest
	case e.Request != nil && e.Request.Emergency:
		return fmt.Sprintf("EMERGENCY %s of %s for %s: %s", e.Request.ID, strings.Join(e.Request.Targets, ", "), short(time.Duration(e.Request.ForSeconds)*time.Second), e.Request.Reason)
	case e.Overdue != nil:
		return fmt.Sprintf("the review of %s, an emergency of %s, is overdue since %s", e.Overdue.Request, e.Overdue.Person, e.Overdue.By.UTC().Format(time.RFC3339))
	case e.Sheet != nil:
		return fmt.Sprintf("the sheet of %s was handed out, sealed to %s", e.Sheet.Request, e.Sheet.To.Bastion)
	case e.SheetUse != nil:
		return aboutUse(*e.SheetUse)
	case e.Request != nil && e.Request.Sheet != nil:
		return fmt.Sprintf("%s asks for a sealed grant of %v for %s: %s", e.Request.ID, e.Request.Targets, short(time.Duration(e.Request.ForSeconds)*time.Second), e.Request.Reason)
	case e.Request != nil:
		return fmt.Sprintf("%s asks for %s for %s: %s", e.Request.ID, strings.Join(e.Request.Targets, ", "), short(time.Duration(e.Request.ForSeconds)*time.Second), e.Request.Reason)
	case e.Vote != nil:
		return fmt.Sprintf("%s %s, signed by %s", strings.TrimSpace(e.Vote.Decision+" "+e.Vote.Verdict), e.Vote.Request, e.Vote.Key)
	case e.State != nil:
		return fmt.Sprintf("%s is %s: %s", e.State.Request, e.State.State, e.State.Why)
	case e.Extension != nil:
		return extended(*e.Extension)
	case e.Certificate != nil:
		return strings.TrimSpace(fmt.Sprintf("%s certificate %d %s %s", e.Certificate.CA, e.Certificate.Serial, e.Certificate.Request, e.Certificate.Session))
	case e.Revocation != nil:
		return fmt.Sprintf("%d %s: %s", e.Revocation.Seq, e.Revocation.Target(), e.Revocation.Reason)
	case e.Risk != nil:
		return fmt.Sprintf("%s of %s: %s (%d): %s", e.Risk.Request, e.Risk.Person, e.Risk.Reason(), e.Risk.Count, e.Risk.Action)
	case e.Halt != nil:
		return fmt.Sprintf("%s, %s: %s", e.Halt.Request, e.Halt.State, e.Halt.What())
	case e.Cut != nil:
		return fmt.Sprintf("%s ended %s for revocation %d", e.Cut.Bastion, count(len(e.Cut.Sessions), "session"), e.Cut.Seq)
	case e.HostEnded != nil:
		return e.HostEnded.String()
	case e.Session != nil:
		return fmt.Sprintf("%s of %s to %s through %s", e.Session.ID, e.Session.Request, e.Session.Target, e.Session.Bastion)
	case e.Progress != nil:
		text := fmt.Sprintf("%s has %s, %s sealed", e.Progress.Session, count(int(e.Progress.Frames), "frame"), count(int(e.Progress.Segments), "segment"))
		if e.Progress.End != "" {
			text += "; it ended: " + e.Progress.End
		}
		return text
	case e.RecordingKey != nil:
		return fmt.Sprintf("%s for %s", e.RecordingKey.ID, e.RecordingKey.Month)
	case e.View != nil:
		return viewed(*e.View)
	}
	return aboutCustody(e)
}

func aboutUse(u control.SheetUse) string {
	if u.Again {
		return fmt.Sprintf("THE SHEET OF %s WAS USED TWICE, again by %s at %s", u.Request, u.Person, u.Started.UTC().Format(time.RFC3339))
	}
	return fmt.Sprintf("%s used the sheet of %s for %s at %s, without the CA", u.Person, u.Request, u.Session, u.Started.UTC().Format(time.RFC3339))
}

// extended is one line on what was asked of an extension, or became of it.
func extended(e auditlog.Extension) string {
	text := fmt.Sprintf("%s by %s, until %s", e.Request, short(time.Duration(e.ForSeconds)*time.Second), e.Ends.UTC().Format(time.RFC3339))
	if e.State == control.Pending {
		return "to extend " + text + ", is asked for: " + e.Reason
	}
	return "to extend " + text + ", is " + e.State
}

// aboutCustody is one line on what keeps or destroys recordings; of a type that this version does not know it is all of the entry.
func aboutCustody(e auditlog.Entry) string {
	switch {
	case e.Rewrap != nil:
		return fmt.Sprintf("%s is sealed to %d recipients: %s", e.Rewrap.Key, len(e.Rewrap.Recipients), e.Rewrap.Reason)
	case e.Custody != nil:
		return fmt.Sprintf("%s %s %s: %s", e.Custody.ID, e.Custody.Act, e.Custody.Scope, e.Custody.Reason)
	case e.Deletion != nil:
		return fmt.Sprintf("%s: %s%s is to be destroyed %s", e.Deletion.ID, e.Deletion.Session, e.Deletion.Key, strings.Join(e.Deletion.Because, " "))
	case e.Receipt != nil && e.Receipt.Declined != "":
		return fmt.Sprintf("%s: %s%s was not destroyed: %s", e.Receipt.Order, e.Receipt.Session, e.Receipt.Key, e.Receipt.Declined)
	case e.Receipt != nil:
		return fmt.Sprintf("%s: %s%s is destroyed", e.Receipt.Order, e.Receipt.Session, e.Receipt.Key)
	}
	b, _ := json.Marshal(e)
	return string(b)
}

var checkpointCommand = &cli.Command{
	Name:  "checkpoint",
	Usage: "the log's signed size and root, for a witness to keep",
	Action: func(c *cli.Context) error {
		if err := command.FlagsOnly(c); err != nil {
			return err
		}
		ca, err := connect(c)
		if err != nil {
			return err
		}
		defer ca.close()
		signed, err := ca.Run(c.Context, nil, "checkpoint")
		if err != nil {
			return err
		}
		_, err = os.Stdout.Write(signed)
		return err
	},
}
