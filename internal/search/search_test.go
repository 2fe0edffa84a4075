package search

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"postern/recorder"
)

const ms = time.Millisecond

func find(t testing.TB, a *recorder.Archive, pattern string, change ...func(*Query)) (hits []Hit) {
	t.Helper()
	p, err := Compile(pattern, false)
	if err != nil {
		t.Fatal(err)
	}
	q := &Query{Pattern: p}
	for _, c := range change {
		c(q)
	}
	err = q.Session(context.Background(), a, func(h Hit) error { hits = append(hits, h); return nil }, func(uint64) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	return hits
}

func thorough(q *Query) { q.Thorough = true }

func told(hits []Hit) string {
	var list []string
	for _, h := range hits {
		list = append(list, fmt.Sprintf("%v %s %q", h.At-time.Second, h.Kind, h.Text[h.Begin:h.End]))
	}
	return strings.Join(list, "; ")
}

func TestHits(t *testing.T) {
	for name, test := range map[string]struct {
		pattern string
		frames  []recorder.Frame
		want    string
	}{
		"in a line":   {"needle", []recorder.Frame{exec(0, "x"), output(0, 5*ms, "hay\nneedle in it\nhay\n")}, `5ms output "needle"`},
		"either case": {"needle", []recorder.Frame{exec(0, "x"), output(0, 5*ms, "a NEEDLE\n")}, `5ms output "NEEDLE"`},
		"exact case":  {"Needle", []recorder.Frame{exec(0, "x"), output(0, 5*ms, "needle Needle\n")}, `5ms output "Needle"`},
		"of commands": {"needle", []recorder.Frame{exec(0, "cat needle")}, `0s command "needle"`},
		"of stderr": {"needle", []recorder.Frame{exec(0, "x"), {Type: recorder.TypeData, Stream: recorder.Stderr, At: 2 * ms, Data: []byte("no needle")}},
			`2ms output "needle"`},
		"split by colours": {"needle", []recorder.Frame{pty(0), output(0, 5*ms, "a ne\x1b[1;31med"), output(0, 6*ms, "\x1b[0mle\r\n")}, `6ms output "needle"`},
		"two on a screen":  {"needle", []recorder.Frame{pty(0), output(0, 5*ms, "\x1b[2;2Hneedle\x1b[5;5Hneedle")}, `5ms output "needle"; 5ms output "needle"`},
		"corrected": {"needle", []recorder.Frame{pty(0), output(0, 5*ms, "# cat nee"), output(0, 300*ms, "x"), output(0, 600*ms, "\b \b"), output(0, 900*ms, "dle\r\n")},
			`900ms output "needle"`},
		"typed": {`need\w*`, []recorder.Frame{pty(0), output(0, 1*ms, "\r\n\x1b[Hx\x1b[H# "), output(0, 300*ms, "nee"), output(0, 600*ms, "d"), output(0, 900*ms, "l"), output(0, 1200*ms, "e\r\n"),
			output(0, 1500*ms, "# ")}, `600ms output "need"`},
		"put together": {"needle", []recorder.Frame{pty(0), output(0, 1*ms, "\x1b[3;1Hne  le"), output(0, 500*ms, "\x1b[3;3Hed"), output(0, 900*ms, "\x1b[9;9H.")}, `500ms output "needle"`},
		"painted again": {"needle", []recorder.Frame{pty(0), output(0, 1*ms, "\x1b[H\x1b[2Jneedle"), output(0, 500*ms, "\x1b[H\x1b[2Jneedle"), output(0, 900*ms, "\x1b[H\x1b[2J\r\nneedle")},
			`1ms output "needle"`},
		"scrolled": {"needle", []recorder.Frame{pty(0), output(0, 1*ms, "\x1b[24;1Hneedle"), output(0, 500*ms, strings.Repeat("\r\n", 50)), output(0, 900*ms, "needle")},
			`1ms output "needle"; 900ms output "needle"`},
		"gone at once": {"needle", []recorder.Frame{pty(0), output(0, 1*ms, "\x1b[?1049h\x1b[5;5Hneedle\x1b[2J\x1b[?1049l")}, `1ms output "needle"`},
		"after an editor": {"needle", []recorder.Frame{pty(0), output(0, 1*ms, "needle\r\n"), output(0, 500*ms, "\x1b[?1049h\x1b[Hhay"), output(0, 900*ms, "\x1b[?1049l"), output(0, 1500*ms, "# ")},
			`1ms output "needle"`},
		"wrapped":    {"needle", []recorder.Frame{pty(0), output(0, 1*ms, "\x1b[1;77Hneedle")}, `1ms output "needle"`},
		"of a title": {"needle", []recorder.Frame{pty(0), output(0, 1*ms, "\x1b]0;needle\x07# ")}, `1ms output "needle"`},
		"in binary":  {"needle", []recorder.Frame{exec(0, "x"), output(0, 1*ms, "\x00\xff\xfe\x1bPneedle\xff")}, `1ms output "needle"`},
		"of a transfer": {"needle", []recorder.Frame{request(0, "subsystem", struct{ Text string }{"sftp"}), output(0, 1*ms, "needle"),
			recorder.EventFrame(recorder.EventFile, recorder.File{Number: 1, Protocol: "sftp", Path: "/srv/needle", Access: "read", Read: &recorder.Transfer{}})}, `1ms file "needle"`},
	} {
		t.Run(name, func(t *testing.T) {
			a := newBastion(t).record(t, "S-1", func(add func(recorder.Frame)) {
				add(opened(0))
				var last time.Duration
				for _, f := range test.frames {
					f.At = max(f.At+time.Second, last)
					last = f.At
					add(f)
				}
			})
			if got := told(find(t, a, test.pattern)); got != test.want {
				t.Errorf("%s, want %s", got, test.want)
			}
			if got := told(find(t, a, test.pattern, thorough)); got != test.want {
				t.Errorf("thorough: %s, want %s", got, test.want)
			}
		})
	}
}
