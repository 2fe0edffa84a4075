package player

import (
	"bytes"
	"context"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"

	"github.com/gdamore/tcell/v2"

	"postern/recorder"
	"postern/recorder/screen"
)

// tty is the auditor's terminal: it keeps what is written to it, and a test types on it.
type tty struct {
	mu      sync.Mutex
	written bytes.Buffer
	keys    chan []byte
	closed  chan struct{}
}

func (y *tty) Start() error { return nil }
func (y *tty) Stop() error  { return nil }
func (y *tty) Drain() error {
	select {
	case <-y.closed:
	default:
		close(y.closed)
	}
	return nil
}
func (y *tty) NotifyResize(func()) {}
func (y *tty) WindowSize() (tcell.WindowSize, error) {
	return tcell.WindowSize{Width: 90, Height: 30}, nil
}
func (y *tty) Close() error { return nil }
func (y *tty) Read(p []byte) (int, error) {
	select {
	case b := <-y.keys:
		return copy(p, b), nil
	case <-y.closed:
		return 0, nil
	}
}
func (y *tty) Write(p []byte) (int, error) {
	y.mu.Lock()
	defer y.mu.Unlock()
	return y.written.Write(p)
}

func (y *tty) text() string {
	y.mu.Lock()
	defer y.mu.Unlock()
	return y.written.String()
}

// evil is what a host would like to reach the terminal of an auditor. 31337 is in every piece, so that it is found again.
func evil() []string {
	var list []string
	for _, s := range []string{
		"\x1b]52;c;31337\a", "\x1b]52;c;31337\x1b\\", "\x1b]0;31337\a", "\x1b]2;31337\x1b\\", "\x1b]8;;http://31337/\x1b\\link\x1b]8;;\x1b\\", "\x1b]4;1;31337\a", "\x1b]1337;File=31337:AAAA\a", "\x1b]9;31337\a",
		"\x1bP+q31337\x1b\\", "\x1bP$q31337\x1b\\", "\x1bP1000p31337\x1b\\", "\x1b_G31337\x1b\\", "\x1b^31337\x1b\\", "\x1bX31337\x1b\\", "\x1bk31337\x1b\\",
		"\x1b[31337n", "\x1b[?31337n", "\x1b[31337c", "\x1b[>31337c", "\x1b[=31337c", "\x1b[31337t", "\x1b[21;31337t", "\x1b[?31337h", "\x1b[?1000;31337h", "\x1b[?31337$p", "\x1b[31337;1*y", "\x1b[31337#{", "\x1b[>31337q",
		"\x1b[31337b", "\x1b[31337@", "\x1b[31337L", "\x1b[31337M", "\x1b[31337S", "\x1b[31337T", "\x1b[31337X", "\x1b[31337P", "\x1b[31337I", "\x1b[31337Z", "\x1b[31337A", "\x1b[31337;31337H", "\x1b[31337d", "\x1b[31337G", "\x1b[31337r", "\x1b[31337m", "\x1b[38;5;31337m", "\x1b[48;2;31337;31337;31337m",
		"\x05\x1bZ\x1b[c\x1b[5n\x1b[6n", "\u009b31337n", "\u009d52;c;31337\u009c", "\u0090+q31337\u009c", "\x9b31337n", "\x9d52;c;31337\x9c",
		"\u202e\u2066\u200f\u061c", "\ufeff\u2028\u2029", "\ufe0f\u200d\u20e3", "e" + strings.Repeat("\u0301", 2000), "\U000e0041\U000e0042", "\x1b[8mhidden\x1b[28m", "\x7f\x00\x01\x02\x1a",
	} {
		list = append(list, s, "x"+s, strings.Repeat(s, 20), s[:len(s)-1]) // whole, after text, many, and cut off
	}
	return append(list, strings.Repeat("\x1b[999999999b\x1b[999999999I\x1b[999999999L", 2000), strings.Repeat("\x1b#8\x1b[2J", 5000), strings.Repeat("\x1b]52;c;", 100)+strings.Repeat("A", 100000)+"\a")
}

// harmless is all that may be in what the player writes beside text: places, colours, modes of the screen, of the cursor, of keys and of pasting, character sets.
var harmless = regexp.MustCompile(`\x1b\[[0-9;:]*[HmJKABCDGdXrb]|\x1b\[\?(1|7|12|25|1049|2004|1000|1002|1003|1004|1006|2026|9001)(;[0-9]+)*[hl]|\x1b\[!p|\x1b[()][B0]|\x1b[=>78]|\x1b\[[0-6] q|\x1b\[4l|\x1b\[>4;[0-2]m|\x1b\[2[23];[0-9;]+t|\x1b\]8;;\x1b\\|\x1b\]112\x07|\x1b\[>[0-9;]*[umn]|\x1b\[<[0-9]*u|\x1b\[=[0-9;]*u|[\r\n\x08\x0e\x0f]`)

func TestNothingOfTheHostReachesTheTerminal(t *testing.T) {
	t.Setenv("TERM", "xterm-256color")
	frames := []recorder.Frame{pty(0, 0, 80, 24), pty(0, 2, 1<<31, 1<<31), request(0, 1, "exec", "\x1b]52;c;31337\a\u202e")}
	var at time.Duration
	for i, s := range evil() {
		at += 10 * time.Millisecond
		frames = append(frames, output(at, uint32(i%3), s), output(at, uint32(i%3), "\x1b\\\x18 text "))
	}
	frames = append(frames, recorder.Frame{Type: recorder.TypeNote, At: at, Channel: 1, Data: []byte("\x1b]52;c;31337\a\u202e")}, output(at+time.Second, 0, "\x18\x1bcthe very end"))
	r := record(t, frames...)
	y := &tty{keys: make(chan []byte, 1000), closed: make(chan struct{})}
	terminal, err := tcell.NewTerminfoScreenFromTty(y)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- run(context.Background(), terminal, r, Options{Speed: 16}) }()
	// Everything that the player shows is looked at: each moment, each channel, the lists, a search with its hits, the events.
	for _, keys := range []string{" ", strings.Repeat(".", 200), "\t", "\t", "\t", "o", "\t", "\t", "\x1b[B", "\r", "\x1b[H", "/31337\r", "n", "n", "N", "/.*\r", "n", "n", "\x1b", "?", " ", "\x1b[C", "\x1b[A", "\x1b[F"} {
		y.keys <- []byte(keys)
		time.Sleep(50 * time.Millisecond) // for the player to paint in between
	}
	await(t, y, "the very end")
	y.keys <- []byte("q")
	select {
	case err := <-done:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(time.Minute):
		t.Fatal("it does not end")
	}
	rest := harmless.ReplaceAllString(y.text(), "")
	for i, c := range rest {
		if c < ' ' || c == 0x7f || c >= 0x80 && c < 0xa0 || unicode.Is(unicode.Cf, c) || c == '\ufe0f' || c == '\u2028' || c == '\u2029' {
			t.Fatalf("%U reaches the terminal: %q", c, rest[max(i-40, 0):min(i+60, len(rest))])
		}
	}
	if strings.Contains(y.text(), "52;c;31337\a") || strings.Count(rest, "very end") == 0 {
		t.Errorf("what was written is not what was to be seen: %d bytes", len(rest))
	}
}

// await waits until something was painted, from the end of the recording.
func await(t *testing.T, y *tty, text string) {
	t.Helper()
	for range 1200 {
		if strings.Contains(y.text(), text) {
			return
		}
		y.keys <- []byte("a\x1b[F")
		time.Sleep(50 * time.Millisecond)
	}
	s := screen.New(90, 30)
	s.Write([]byte(y.text()))
	t.Fatalf("%q does not come:\n%s", text, strings.Join(s.Text(), "\n"))
}
