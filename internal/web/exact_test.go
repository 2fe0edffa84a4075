package web

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"postern/recorder"
	"postern/recorder/screen"
)

// frames are all of a channel's output, from the archive.
func (w *world) output(t *testing.T, id string, channel uint32) (frames []recorder.Frame) {
	t.Helper()
	archive, err := recorder.OpenArchive(context.Background(), stored{w, id}, w.private, w.bastion)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range archive.Parts() {
		list, err := archive.Frames(context.Background(), part.Number)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range list {
			if f.Channel == channel && f.Stream == recorder.Stdout && (f.Type == recorder.TypeData || f.Type == recorder.TypeRequest) {
				frames = append(frames, f)
			}
		}
	}
	return frames
}

// painted is what the screen was at a moment, by an emulator that saw all of it.
func painted(frames []recorder.Frame, columns, rows int, at time.Duration) string {
	s := screen.New(columns, rows)
	for _, f := range frames {
		if f.At <= at && f.Type == recorder.TypeData {
			s.Write(f.Data)
		}
	}
	var lines []string
	for _, line := range s.Text() {
		lines = append(lines, strings.TrimRight(line, " "))
	}
	return strings.TrimRight(strings.Join(lines, "\n"), "\n")
}

// Wherever one jumps to in three hours, the screen is the one that the admin saw then.
func TestSeekIsExact(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.hours(t)
	frames := w.output(t, s.ID, 0)
	b := newBrowser(t)
	b.open(w.serve(t, func(c *Config) { c.First = s.ID }))
	b.sees(".badge", "verified")
	b.until(`document.querySelector(".ap-term-text")`)
	random := rand.New(rand.NewPCG(4, 4))
	for range 12 {
		at := random.Float64() * 10800
		b.js(fmt.Sprintf(`location.hash = "%s@%.3f"`, s.ID, at))
		b.until(fmt.Sprintf(`Math.abs(Number(document.querySelector(".timeline").getAttribute("aria-valuenow")) - %.3f) < 0.1 && !document.querySelector(".waiting")`, at))
		want := painted(frames, 120, 40, time.Duration(at*1e9))
		b.frame()
		if got := b.screen(); got != want {
			t.Errorf("at %.3f the screen is\n%s\nand was\n%s", at, got, want)
		}
	}
}

// A moment late in a session is shown as fast as its beginning.
func TestLateIsAsFastAsEarly(t *testing.T) {
	w := newWorld(t)
	s := w.hours(t)
	v := welcome(t, w.serve(t, nil))
	v.ask("POST", "/api/open", `{"session":"`+s.ID+`"}`, nil)
	v.ask("GET", "/api/session/"+s.ID+"/events", "", nil)
	took := func(at int) (best time.Duration, bytes int) {
		best = time.Hour
		for range 5 {
			began := time.Now()
			_, _, text := v.ask("GET", fmt.Sprintf("/api/session/%s/output?channel=0&at=%d", s.ID, at), "", nil)
			best, bytes = min(best, time.Since(began)), len(text)
		}
		return best, bytes
	}
	first, some := took(300)
	last, more := took(3 * 3600)
	t.Logf("5 minutes: %v, %d bytes; 3 hours: %v, %d bytes", first, some, last, more)
	if more > some*2*lead {
		t.Errorf("at the end %d bytes are needed, at the beginning %d", more, some)
	}
}

// Far from any place to begin, the screen has its size, says that it was begun in the middle, and costs no more than near one.
func TestFarFromAnywhere(t *testing.T) {
	w := newWorld(t)
	k := w.record(t, "S-FARFARFAR1", "alice", "postgres@ehr-db-2", monday)
	k.terminal(0, 132, 43)
	block := strings.Repeat("no way to begin\r\n", 8<<10)
	for range 60 {
		k.wait(time.Second).print(0, block)
	}
	k.wait(time.Second).print(0, "\x1b[H\x1b[2Ja place")
	s := k.wait(time.Second).end("closed")
	v := welcome(t, w.serve(t, nil))
	v.ask("POST", "/api/open", `{"session":"`+s.ID+`"}`, nil)
	v.ask("GET", "/api/session/"+s.ID+"/events", "", nil)
	for at, exact := range map[int]bool{2: true, 58: false, 62: true} {
		_, _, text := v.ask("GET", fmt.Sprintf("/api/session/%s/output?channel=0&at=%d", s.ID, at), "", nil)
		var p piece
		if err := json.Unmarshal([]byte(text), &p); err != nil {
			t.Fatal(err)
		}
		if p.Exact != exact || p.Columns != 132 || p.Rows != 43 || p.Next-p.First > lead+1 {
			t.Errorf("at %d: exact %v, %d × %d, segments %d to %d", at, p.Exact, p.Columns, p.Rows, p.First, p.Next)
		}
	}
}
