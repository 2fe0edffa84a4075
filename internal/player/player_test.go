package player

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gdamore/tcell/v2"

	"postern/recorder"
)

// desk is a player on a terminal that is a test's.
type desk struct {
	t *testing.T
	*player
	terminal tcell.SimulationScreen
}

func sit(t *testing.T, r Recording, o Options, columns, rows int) *desk {
	t.Helper()
	o.From = max(o.From, 10*time.Millisecond)
	terminal := tcell.NewSimulationScreen("UTF-8")
	if err := terminal.Init(); err != nil {
		t.Fatal(err)
	}
	terminal.SetSize(columns, rows)
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	d := &desk{t, newPlayer(ctx, r, o, columns, rows), terminal}
	d.begin()
	d.until(func() bool { return d.show != nil && !d.busy })
	return d
}

// until does what is posted until something is true.
func (d *desk) until(ready func() bool) {
	d.t.Helper()
	deadline := time.After(time.Minute)
	for !ready() {
		select {
		case fn := <-d.post:
			fn()
		case <-deadline:
			d.t.Fatalf("it does not come; the screen is\n%s", d.screen())
		}
	}
}

// press gives keys, and waits for what they ask for.
func (d *desk) press(keys ...any) {
	d.t.Helper()
	for _, k := range keys {
		switch k := k.(type) {
		case tcell.Key:
			d.key(tcell.NewEventKey(k, 0, 0))
		case string:
			for _, r := range k {
				d.key(tcell.NewEventKey(tcell.KeyRune, r, 0))
			}
		}
		d.until(func() bool { return !d.busy && d.wanting == nil })
	}
}

// screen is what the auditor sees.
func (d *desk) screen() string {
	d.paint(d.terminal)
	d.terminal.Show()
	cells, columns, _ := d.terminal.GetContents()
	var b strings.Builder
	for i, c := range cells {
		if len(c.Runes) > 0 {
			b.WriteString(string(c.Runes))
		}
		if i%columns == columns-1 {
			b.WriteByte('\n')
		}
	}
	return b.String()
}

func (d *desk) shows(texts ...string) {
	d.t.Helper()
	s := d.screen()
	for _, text := range texts {
		if !strings.Contains(s, text) {
			d.t.Errorf("%q is not on the screen\n%s", text, s)
		}
	}
}

func (d *desk) hides(texts ...string) {
	d.t.Helper()
	s := d.screen()
	for _, text := range texts {
		if strings.Contains(s, text) {
			d.t.Errorf("%q is on the screen\n%s", text, s)
		}
	}
}

// counted is a session that prints its seconds.
func seconds(t testing.TB, count int) Recording {
	frames := []recorder.Frame{pty(0, 0, 60, 10), request(0, 0, "shell", "")}
	for i := range count {
		frames = append(frames, output(time.Duration(i)*time.Second, 0, fmt.Sprintf("second %d.\r\n", i)))
	}
	return record(t, frames...)
}

func TestTimePasses(t *testing.T) {
	d := sit(t, seconds(t, 100), Options{}, 80, 24)
	d.shows("second 0.", "verified 1 of 1 segment", "S-1  alice → postgres@db", "0:00:00 / 0:01:39")
	d.advance(10400 * time.Millisecond)
	d.shows("second 10.", "▶ 0:00:10")
	d.hides("second 11.")
	d.press("++")
	d.advance(time.Second)
	d.shows("second 14.", "4×")
	d.press(" ")
	d.advance(time.Hour)
	d.hides("second 15.")
	d.press(".")
	d.shows("second 15.", "⏸")
	d.hides("second 16.")
	d.press(" ")
	for range 100 {
		d.advance(time.Second)
	}
	d.shows("second 99.", "the end")
}

// On a small terminal what is typed and told has the room, and all keys can be read.
func TestSmallTerminal(t *testing.T) {
	d := sit(t, seconds(t, 100), Options{}, 40, 10)
	d.shows("▶ 0:00:00 / 0:01:39  1×", "verified 1/1")
	d.press("/second 42")
	d.shows("/second 42")
	d.press(tcell.KeyEnter)
	d.until(func() bool { return strings.Contains(d.message, "hit 1") })
	d.shows("hit 1 of 1: second 42.")
	d.press("?")
	d.shows("keys: lines 1 to 7 of 23; q leaves", "space      play, pause")
	d.press(tcell.KeyEnd)
	d.shows("Esc        end the search", "q          quit")
	d.press("q")
	d.hides("q          quit")
	d = sit(t, seconds(t, 1), Options{}, 80, 24)
	d.press("?")
	d.shows("space      play, pause             .        one step", "q          quit")
}

func TestJumps(t *testing.T) {
	d := sit(t, seconds(t, 1000), Options{}, 80, 24)
	d.press(" ", tcell.KeyHome, tcell.KeyRight)
	d.shows("second 4.")
	d.press(tcell.KeyUp, tcell.KeyUp)
	d.shows("second 124.")
	d.press(tcell.KeyLeft)
	d.shows("second 119.")
	d.hides("second 120.")
	d.press("g10:00", tcell.KeyEnter)
	d.shows("second 599.")
	d.hides("second 600.")
	d.press(":+30", tcell.KeyEnter)
	d.shows("second 629.")
	d.press(tcell.KeyEnd)
	d.shows("second 999.")
	d.press(tcell.KeyHome)
	d.hides("second 1.")
	d.press("gnonsense", tcell.KeyEnter)
	d.shows("is no time")
}

func TestPausesAreCut(t *testing.T) {
	r := record(t, pty(0, 0, 60, 10), output(time.Second, 0, "one"), output(time.Hour/2, 0, "two"))
	d := sit(t, r, Options{Idle: 2 * time.Second}, 100, 24)
	for range 40 {
		d.advance(100 * time.Millisecond)
	}
	d.shows("onetwo", "0:30:00 / 0:30:00")
	d.press(tcell.KeyHome, "i ") // it was at its end
	for range 40 {
		d.advance(100 * time.Millisecond)
	}
	d.hides("two")
}

func TestSearchOfScreens(t *testing.T) {
	r := record(t, pty(0, 0, 60, 10),
		output(time.Second, 0, "nothing\r\n"),
		output(2*time.Second, 0, "pass\x1b[31mwo\x1b[0mrd one\r\n"), // split by colours
		output(3*time.Second, 0, "xxxxword\x1b[8Dpass two\x1b[5Cx\r\n"),
		output(4*time.Second, 0, "\x1b[2J\x1b[Hempty"),
		output(5*time.Second, 0, "\x1b[5;1HPASSW"), output(6*time.Second, 0, "ORD three"),
		output(7*time.Second, 0, strings.Repeat("line\r\n", 30)+"password four\r\n"+strings.Repeat("line\r\n", 30)),
	)
	d := sit(t, r, Options{}, 80, 24)
	d.press("/password", tcell.KeyEnter)
	d.shows("password one", "hit 1 of")
	d.until(func() bool { _, _, done, _ := d.player.search.state(); return done })
	d.press("n")
	d.shows("PASSWORD three", "hit 2 of 3")
	d.hides("password one")
	d.press("n")
	d.shows("hit 3 of 3 scrolled away")
	d.hides("line 0", "\npassword four")
	d.press("t")
	d.until(func() bool { return d.pager.ready })
	d.shows("\npassword four")
	d.press("q")
	d.press("n")
	d.shows("no more hits")
	d.press("N", "N")
	d.shows("password one")
	d.press("/absent", tcell.KeyEnter)
	d.until(func() bool { return d.wanting == nil })
	d.shows("no screen showed")
}

func TestChannels(t *testing.T) {
	r := record(t, pty(0, 0, 60, 10), output(0, 0, "first channel"),
		request(time.Second, 1, "exec", "make all"), output(time.Second, 1, "built\n"),
		recorder.Frame{Type: recorder.TypeData, Channel: 1, Stream: recorder.Stderr, At: 2 * time.Second, Data: []byte("went wrong\n")},
		recorder.Frame{Type: recorder.TypeExit, Channel: 1, At: 2 * time.Second, Data: recorder.Exit{Status: 2}.Marshal()},
		recorder.Frame{Type: recorder.TypeClose, Channel: 1, At: 2 * time.Second},
		output(4*time.Second, 0, "\r\nagain"))
	d := sit(t, r, Options{}, 80, 24)
	d.shows("first channel")
	d.press(" ", "g3", tcell.KeyEnter)
	d.shows("1 make all", "built", "stderr", "went wrong", "exit 2")
	d.press(tcell.KeyBacktab)
	d.shows("first channel")
	d.press(tcell.KeyBacktab)
	d.shows("command make all", "exit 2")
	d.press("g4.5", tcell.KeyEnter, "a")
	d.shows("again")
}

func TestView(t *testing.T) {
	r := record(t, pty(0, 0, 200, 60), output(0, 0, "top left\x1b[60;190Hlow right"), window(2*time.Second, 0, 40, 5), output(3*time.Second, 0, "\x1b[H\x1b[Jsmall"))
	d := sit(t, r, Options{}, 80, 24)
	d.shows("low right")
	d.hides("top left")
	d.press(" ", strings.Repeat("k", 20), strings.Repeat("h", 30))
	d.shows("top left")
	d.press("z")
	d.shows("low right")
	d.press(tcell.KeyEnd)
	d.shows("small", "┘")
}

func TestFilesAndMarks(t *testing.T) {
	told := func(at time.Duration, name string, v any) recorder.Frame {
		f := recorder.EventFrame(name, v)
		f.Channel, f.At = 1, at
		return f
	}
	r := record(t, pty(0, 0, 60, 10), output(time.Second, 0, "$ "),
		request(2*time.Second, 1, "subsystem", "sftp"), output(2*time.Second, 1, "\x00\x00\x00\x05\x02protocol"),
		told(3*time.Second, recorder.EventFile, recorder.File{Number: 1, Protocol: "sftp", Path: "/etc/first\x1b]0;x\a", Access: "read", Read: &recorder.Transfer{Bytes: 10}, Status: "ok"}),
		told(20*time.Second, recorder.EventFile, recorder.File{Number: 2, Protocol: "sftp", Path: "/etc/second", Access: "write", Written: &recorder.Transfer{Bytes: 10}, Status: "ok"}),
		recorder.Frame{Type: recorder.TypeNote, Channel: recorder.Global, At: 30 * time.Second, Data: []byte("five minutes left")}, output(time.Minute, 0, "end"))
	d := sit(t, r, Options{}, 90, 24)
	d.until(func() bool { return d.indexed })
	d.press(" f")
	d.shows("/etc/first", "1 sftp", "received 10 bytes", "0:00:03 /")
	d.hides("protocol")
	d.press("f")
	d.shows("/etc/second", "sftp: write /etc/second")
	d.press("f")
	d.shows("there is no file after")
	d.press("F")
	d.shows("sftp: read /etc/first")
	d.press("m")
	d.shows("0:00:30 /", "five minutes left")
	d.press("o", tcell.KeyTab)
	d.shows("[files 2]", "0:00:20")
	d.press(tcell.KeyHome, tcell.KeyEnter)
	d.shows("0:00:03 /")
}

func TestTextBefore(t *testing.T) {
	var text strings.Builder
	for i := range 500 {
		fmt.Fprintf(&text, "line %d of a burst\r\n", i)
	}
	r := record(t, pty(0, 0, 60, 10), output(0, 0, text.String()), output(5*time.Second, 0, "later"))
	d := sit(t, r, Options{}, 80, 24)
	d.press("t")
	d.until(func() bool { return d.pager.ready })
	d.shows("line 499 of a", "line 490 of a", "lines 480 to 500 of 500")
	d.press(tcell.KeyHome)
	d.shows("line 0 of", "line 20 of")
	d.press(" j")
	d.shows("line 22 of", "line 42 of")
	d.press("q")
	d.shows("line 499 of")
	d.hides("line 42 of a", "later")
}

func TestCharactersOfTheWorld(t *testing.T) {
	r := record(t, pty(0, 0, 60, 10), output(0, 0, "a界面b 🙂c e\u0301d \u202eevil\u202c \x1b(0lqk\x1b(B \U0001f1e9\U0001f1ea. ｗ\x1b[1;40Hend"))
	d := sit(t, r, Options{}, 80, 24)
	d.shows("a界面b 🙂c ", "evil ", "end", "e\u0301", "┌─┐")
	d.hides("\u202e")
}
