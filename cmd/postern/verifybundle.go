package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/crypto/ssh"

	"postern/internal/command"
	"postern/internal/control"
	"postern/internal/evidence"
	"postern/internal/sshsig"
	"postern/internal/verify"
	"postern/recorder"
	"postern/recorder/play"
)

// verifyBundle checks a file that postern evidence made. It asks nobody.
func verifyBundle(c *cli.Context, path string) error {
	for _, name := range []string{"recording", "no-recordings", "reason", withinFlag.Name} {
		if c.IsSet(name) {
			return command.Misuse("--%s is for the log of a CA, not for a file of evidence", name)
		}
	}
	d, err := demanded(c)
	if err != nil {
		return err
	}
	sets, err := loadReviewed(c.StringSlice("policy"))
	if err != nil {
		return err
	}
	s, err := settingsOf(c)
	if err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	bundle, err := evidence.Open(f, info.Size())
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	keys, trusted, err := anchors(c, s, bundle)
	if err != nil {
		return err
	}
	report, err := bundle.Check(keys, d.witnesses)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	judged := len(report.Log.Failures)
	judge(&report.Log, sets, report.Entry)
	for _, f := range report.Log.Failures[judged:] {
		report.Findings = append(report.Findings, evidence.Finding{Object: fmt.Sprintf("leaves/%012d.json", f.Leaf), Text: f.Text})
	}
	if !report.Covers(d.need) {
		report.Findings = append(report.Findings, evidence.Finding{Object: "witnesses", Text: fmt.Sprintf("%d witnesses must have cosigned all that is in here, and %d did", d.need, len(report.Witnessed))})
	}
	switch {
	case c.Bool("text") && len(report.Findings) == 0:
		err = bundleText(c.Context, bundle, report)
	case c.Bool("json"):
		err = jsonLine(os.Stdout, struct {
			*evidence.Report
			Trusted string `json:"trusted"`
		}{report, trusted})
	default:
		err = printBundle(report, keys, trusted)
	}
	if n := len(report.Findings); err == nil && n > 0 {
		err = fmt.Errorf("%s proves nothing: %d of the things in it are not what they should be", path, n)
	}
	return err
}

// anchors are the keys that everything is held against: those of a trust directory, and without one those that the bundle itself
// brings, which is only as good as the way it came.
func anchors(c *cli.Context, s settings, bundle *evidence.Bundle) (verify.Keys, string, error) {
	_, err := os.Stat(filepath.Join(s.Trust, "log.vkey"))
	if err == nil || c.IsSet("trust") {
		keys, err := trusted(s.Trust)
		return keys, s.Trust, err
	}
	if !errors.Is(err, os.ErrNotExist) {
		return verify.Keys{}, "", err
	}
	return bundle.Claimed, "bundle", nil
}

func printBundle(r *evidence.Report, keys verify.Keys, trusted string) error {
	if trusted == "bundle" {
		fmt.Println(colour(yellow, "THE KEYS WERE TAKEN FROM THE BUNDLE ITSELF: it proves nothing unless these are the CA's, as somebody you believe tells you.\n"+
			"Compare them, or name a directory with the right ones: --trust DIR"))
		for _, k := range []struct {
			name string
			key  ssh.PublicKey
		}{{"user CA", keys.User}, {"session CA", keys.Session}, {"host CA", keys.Host}, {"gateway CA", keys.Gateway}} {
			fmt.Printf("  %-10s  %s\n", k.name, ssh.FingerprintSHA256(k.key))
		}
		fmt.Printf("  %-10s  %s\n\n", "log", word(keys.Log))
	}
	pairs := []string{"CA", r.CA, "log", fmt.Sprintf("%d of its %d leaves, each proven to be in its signed checkpoint", r.Leaves, r.Size), "witnesses", seenBy(r.Witnessed)}
	pairs = append(pairs, requestFacts(r)...)
	for _, rec := range r.Recordings {
		pairs = append(pairs, "recording", recordedLine(rec))
	}
	if err := facts(os.Stdout, pairs...); err != nil {
		return err
	}
	for _, note := range r.Log.Notes {
		fmt.Println(colour(yellow, "note: "+visible(note.String())))
	}
	for _, f := range r.Findings {
		fmt.Println(colour(red, "BAD: "+visible(f.String())))
	}
	if len(r.Findings) == 0 {
		fmt.Println(colour(green, "everything in it verifies"))
	}
	fmt.Println("\nWhat it does not show:")
	for _, text := range r.Unproven {
		fmt.Println("  " + text)
	}
	return nil
}

// requestFacts tells what the leaves prove: who asked for what, who decided, what was signed.
func requestFacts(r *evidence.Report) []string {
	var pairs []string
	ended := map[string]bool{}
	for _, e := range r.Entries() {
		switch {
		case e.Request != nil:
			q := e.Request
			pairs = append(pairs, "request", q.ID, "asked", fmt.Sprintf("%s: %s for %s, %s, %s", utc(e.At), q.Person, strings.Join(q.Targets, " "), short(time.Duration(q.ForSeconds)*time.Second), strings.Join(q.Capabilities, " ")),
				"because", q.Reason, "by rules", fmt.Sprintf("%s of policy %s", strings.Join(q.Rules, " "), q.Policy))
		case e.Vote != nil:
			pairs = append(pairs, e.Vote.Decision, fmt.Sprintf("%s: %s, signed with %s%s", utc(e.At), e.Vote.Person, e.Vote.Key, touched(e.Vote.Vote)))
		case e.State != nil:
			pairs = append(pairs, "became", fmt.Sprintf("%s: %s", utc(e.At), e.State.State))
		case e.Certificate != nil:
			pairs = append(pairs, "certificate", fmt.Sprintf("%s: %s %d", utc(e.At), e.Certificate.CA, e.Certificate.Serial))
		case e.Revocation != nil:
			pairs = append(pairs, "revocation", fmt.Sprintf("%s: %s:%s by %s: %s", utc(e.At), e.Revocation.Kind, e.Revocation.Value, e.Revocation.By, e.Revocation.Reason))
		case e.Session != nil:
			pairs = append(pairs, "session", fmt.Sprintf("%s: %s as %s through %s from %s", utc(e.At), e.Session.ID, e.Session.Target, e.Session.Bastion, e.Session.Client))
		case e.Extension != nil:
			pairs = append(pairs, "extension", fmt.Sprintf("%s: %s: %s", utc(e.At), e.Actor, extended(*e.Extension)))
		case e.Risk != nil, e.Cut != nil, e.Overdue != nil:
			pairs = append(pairs, e.Type, utc(e.At)+": "+about(e))
		case e.Progress != nil && e.Progress.End != "" && !ended[e.Progress.Session]: // it is said again when all of it is sealed
			ended[e.Progress.Session] = true
			pairs = append(pairs, "ended", fmt.Sprintf("%s: %s, %s, after %d frames", utc(e.At), e.Progress.Session, e.Progress.End, e.Progress.Frames))
		}
	}
	return pairs
}

// touched says what a FIDO token proves beside the key: stock tools do not show it.
func touched(v control.Vote) string {
	s, err := sshsig.Verify([]byte(v.Signature), control.Namespace, []byte(v.Statement))
	switch {
	case err != nil || !strings.HasPrefix(s.Key.Type(), "sk-"):
		return ""
	case s.Verified:
		return ", touched, PIN given"
	case s.Presence:
		return ", touched"
	}
	return ", not touched"
}

func utc(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05Z") }

func seenBy(list []evidence.Seen) string {
	var parts []string
	for _, s := range list {
		parts = append(parts, fmt.Sprintf("%s cosigned %d leaves at %s", s.Witness, s.Leaves, utc(s.At)))
	}
	return strings.Join(parts, "; ")
}

func recordedLine(r evidence.Recorded) string {
	var text string
	switch {
	case r.Of == 0 && !r.Whole && r.Destroyed != "":
		return r.Session + ": " + r.Destroyed
	case r.Of == 0 && !r.Whole:
		return r.Session + ": not in here; its logged heads are"
	case r.Whole:
		text = fmt.Sprintf("%s: all of it, %s, %s, as logged", r.Session, count(int(r.Of), "segment"), count(int(r.Frames), "frame"))
	default:
		text = fmt.Sprintf("%s: %d of %s, in their places", r.Session, len(r.Segments), count(int(r.Of), "segment"))
	}
	if r.Destroyed != "" {
		return text + "; " + r.Destroyed
	}
	if r.Live {
		text += "; the session was not over, so more followed"
	}
	if r.Read {
		return text + "; opened, and every frame is that of the chain"
	}
	return text + "; sealed"
}

// bundleText prints what the host printed, of every recording that the bundle has the key of.
func bundleText(ctx context.Context, bundle *evidence.Bundle, r *evidence.Report) error {
	shown := false
	for _, rec := range r.Recordings {
		if !rec.Read {
			continue
		}
		shown = true
		a, segments, err := bundle.Archive(ctx, r, rec.Session)
		if err != nil {
			return err
		}
		fmt.Fprintln(os.Stderr, recordedLine(rec))
		if err := printSegments(ctx, a, segments); err != nil {
			return err
		}
	}
	if !shown {
		return errors.New("nothing in the bundle can be read: it was made without --open")
	}
	return nil
}

// printSegments writes the output of the host, filtered for a terminal; what is missing in between is said.
func printSegments(ctx context.Context, a *recorder.Archive, segments []uint64) error {
	filters := map[uint32]*play.Filter{}
	next := uint64(0)
	for _, n := range segments {
		if n != next {
			fmt.Fprintf(os.Stderr, "[%d segments are not in here]\n", n-next)
		}
		next = n + 1
		frames, err := a.Frames(ctx, n)
		if err != nil {
			return err
		}
		for _, f := range frames {
			if f.Type != recorder.TypeData || f.Stream == recorder.Stdin {
				continue
			}
			if filters[f.Channel] == nil {
				filters[f.Channel] = new(play.Filter)
			}
			if _, err := os.Stdout.Write(filters[f.Channel].Append(nil, f.Data)); err != nil {
				return err
			}
		}
	}
	return nil
}
