package player

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/gdamore/tcell/v2"

	"postern/recorder"
	"postern/recorder/index"
)

// long is an hour in which about so many bytes are printed: programs that draw, and logs, cleared every few minutes.
func long(t testing.TB, bytes int) (Recording, *bastion) {
	t.Helper()
	frames := []recorder.Frame{pty(0, 0, 120, 40), request(0, 0, "shell", "")}
	var b strings.Builder
	for second := range 3600 {
		b.Reset()
		fmt.Fprintf(&b, "\x1b[?2004h$ \x1b[?2004lsecond %d\r\n", second)
		if second%300 == 0 {
			b.WriteString("\x1b[H\x1b[2J")
		}
		for i := 0; b.Len() < bytes/3600; i++ {
			if second/300%2 == 0 {
				fmt.Fprintf(&b, "2026-01-02T03:04:05Z host unit[%d]: request %d took %d ms\r\n", i%97, second*1000+i, i*7919%1009)
			} else {
				fmt.Fprintf(&b, "\x1b[%d;1H\x1b[38;5;%dm%5d\x1b[39m %-8s \x1b[1m%d\x1b[0m %s\x1b[K", 1+i%40, i%256, second*31+i*7919, "user", i*i, strings.Repeat("|", i*31%30))
			}
		}
		fmt.Fprintf(&b, "\x1b[40;1H\x1b[Kat %d", second)
		frames = append(frames, output(time.Duration(second)*time.Second, 0, b.String()))
	}
	return recordAt(t, frames...)
}

func TestOpenInTheMiddle(t *testing.T) {
	r, b := long(t, 20<<20)
	segments := len(r.Archive.Parts())
	d := sit(t, r, Options{From: 50 * time.Minute}, 120, 42)
	if n := b.fetched.Load(); int(n) > segments/2 {
		t.Errorf("%d of %d segments were fetched for the first moment", n, segments)
	}
	d.press(" ")
	d.shows("at 2999")
	d.hides("may be incomplete")
	first := d.screen()
	d.until(func() bool { return d.exact && !d.show.partial })
	d.shows("at 2999", fmt.Sprintf("verified %d of %d segments", segments, segments))
	if exact := d.screen(); content(exact) != content(first) {
		t.Errorf("what was painted from the middle\n%s\nis not what there was\n%s", first, exact)
	}
	// Going back is done from a snapshot, whatever the way.
	b.fetched.Store(0)
	d.press(tcell.KeyHome, "g59:59", tcell.KeyEnter, "g30:00", tcell.KeyEnter)
	d.shows("at 1799")
}

// content is a screen without the status.
func content(s string) string { return s[:strings.LastIndex(s, "0:50:00")] }

// A segment that does not come does not keep keys from being heard, and one that is not what was signed is told in red.
func TestSegmentsThatDoNotCome(t *testing.T) {
	r, b := long(t, 4<<20)
	b.hold = make(chan struct{})
	terminal := tcell.NewSimulationScreen("UTF-8")
	if err := terminal.Init(); err != nil {
		t.Fatal(err)
	}
	terminal.SetSize(100, 30)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	d := &desk{t, newPlayer(ctx, r, Options{}, 100, 30), terminal}
	d.begin()
	d.shows("fetching…", "verified 0 of")
	d.key(tcell.NewEventKey(tcell.KeyRune, 'o', 0))
	d.key(tcell.NewEventKey(tcell.KeyEscape, 0, 0))
	d.key(tcell.NewEventKey(tcell.KeyEnd, 0, 0))
	d.key(tcell.NewEventKey(tcell.KeyHome, 0, 0))
	d.key(tcell.NewEventKey(tcell.KeyRune, '?', 0))
	d.shows("play, pause")
	d.key(tcell.NewEventKey(tcell.KeyEscape, 0, 0))
	b.altered = int64(len(r.Archive.Parts()) - 2)
	close(b.hold)
	d.until(func() bool { return d.show != nil && !d.busy })
	d.press(tcell.KeyHome)
	d.press(tcell.KeyEnd)
	d.until(func() bool { _, fault := d.finder.state(); return fault != nil })
	d.shows("DOES NOT VERIFY", "DO NOT RELY ON THIS: a part is missing")
	// What is behind it is shown all the same.
	d.press(tcell.KeyEnd)
	d.shows("at 3599")
}

// A recording that is not what was logged is shown as far as it is good, under a warning that stays.
func TestDamagedRecordings(t *testing.T) {
	r, _ := long(t, 1<<20)
	r.Damage = errors.New("the recording of S-1 does not verify: cut short: it has 2 segments, and 3 were logged")
	d := sit(t, r, Options{}, 100, 30)
	warning := "DO NOT RELY ON THIS: the recording of S-1 does not verify: cut short"
	d.shows(warning, "DOES NOT VERIFY")
	d.press(tcell.KeyEnd)
	d.shows(warning, "at 3599")
	d.press("?")
	d.shows(warning, "play, pause")
	d.press("qt")
	d.until(func() bool { return d.pager.ready })
	d.shows(warning, "what was printed before", "at 3599")
}

func BenchmarkOpen(b *testing.B) {
	r, bastion := long(b, 200<<20)
	sealed := 0
	for _, p := range r.Archive.Parts() {
		sealed += int(p.Sealed)
	}
	b.Logf("%d segments, %d MB sealed", len(r.Archive.Parts()), sealed>>20)
	for _, from := range []time.Duration{0, 50 * time.Minute} {
		b.Run(from.String(), func(b *testing.B) {
			for b.Loop() {
				bastion.fetched.Store(0)
				terminal := tcell.NewSimulationScreen("UTF-8")
				if err := terminal.Init(); err != nil {
					b.Fatal(err)
				}
				terminal.SetSize(120, 42)
				ctx, cancel := context.WithCancel(context.Background())
				p := newPlayer(ctx, r, Options{From: from}, 120, 42)
				p.begin()
				for p.show == nil {
					(<-p.post)()
				}
				p.paint(terminal)
				cancel()
			}
			b.ReportMetric(float64(bastion.fetched.Load()), "segments")
		})
	}
}

// BenchmarkSearch looks for what is not there in all of it.
func BenchmarkSearch(b *testing.B) {
	r, _ := long(b, 200<<20)
	for b.Loop() {
		p := newPlayer(context.Background(), r, Options{}, 120, 42)
		if _, err := index.Of(p.ctx, r.Archive, p.finder.timeline.add); err != nil {
			b.Fatal(err)
		}
		q := &search{pattern: newPattern("nowhere at all")}
		q.run(p.ctx, p.finder, 0, func() {})
		if hits, _, done, err := q.state(); hits != 0 || !done || err != nil {
			b.Fatal(hits, done, err)
		}
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		b.ReportMetric(float64(m.HeapInuse>>20), "MB-heap")
	}
}
