package play

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/recorder"
)

func screens(t *testing.T, frames ...recorder.Frame) string {
	t.Helper()
	var out bytes.Buffer
	if err := (Screens{Channel: -1}).Write(record(t, frames...).open(t, false), &out); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestScreens(t *testing.T) {
	lines := strings.Repeat("scrolled\r\n", 30)
	for name, c := range map[string]struct {
		frames []recorder.Frame
		want   string
	}{
		"redrawn":  {[]recorder.Frame{pty(0), data(0, 1, "10%\r20%\r\x1b[1m100%\x1b[0m\r\ndone")}, "100%\ndone\n"},
		"scrolled": {[]recorder.Frame{pty(0), data(0, 1, lines+"end")}, strings.ReplaceAll(lines, "\r", "") + "end\n"},
		"wrapped":  {[]recorder.Frame{pty(0), data(0, 1, strings.Repeat("x", 200))}, strings.Repeat("x", 200) + "\n"},
		"cleared":  {[]recorder.Frame{pty(0), data(0, 1, "before\x1b[H\x1b[2Jafter")}, "before\nafter\n"},
		"other screen": {[]recorder.Frame{pty(0), data(0, 1, "$ less\r\n\x1b[?1049h\x1b[Hpage one"), after(time.Second, data(0, 1, "\x1b[H\x1b[2Jpage two")),
			after(2*time.Second, data(0, 1, "\x1b[?1049l$ "))}, "[postern: on the full screen]\npage one\npage two\n[postern: back from the full screen]\n$ less\n$\n"},
		"no terminal": {[]recorder.Frame{request(0, "exec", "ls"), data(0, 1, "one\ntwo\n"), data(0, 2, "oh\n")}, "one\ntwo\noh\n"},
		"channels":    {[]recorder.Frame{pty(0), data(0, 1, "a"), request(1, "exec", "ls"), data(1, 1, "b\n"), frame(recorder.TypeClose, 1)}, "b\n[postern: channel 0]\na\n"},
		"not kept":    {[]recorder.Frame{request(0, "exec", "ls"), data(0, 1, "a\n"), extent(0, 1, recorder.Extent{Length: 10, Kept: []byte("bc")}), data(0, 1, "d")}, "a\nbc\n[postern: 8 bytes were not kept here]\nd\n"},
	} {
		if got := screens(t, c.frames...); got != c.want {
			t.Errorf("%s: %q, not %q", name, got, c.want)
		}
	}
}

// Lines about what was done stand where it was done, and what was over before the time to begin at is left out.
func TestScreensWithNotes(t *testing.T) {
	frames := []recorder.Frame{
		after(time.Second, request(0, "exec", "ls")), after(time.Second, data(0, 1, "one\n")), after(time.Second, recorder.Frame{Type: recorder.TypeExit, Data: recorder.Exit{}.Marshal()}),
		after(time.Second, frame(recorder.TypeClose, 0)),
		after(time.Minute, request(1, "exec", "df")), after(time.Minute, data(1, 1, "two\n")), after(time.Minute, frame(recorder.TypeClose, 1)),
	}
	for from, want := range map[time.Duration]string{
		0:                       "[1:00:01: command ls]\none\n[1:00:01: exit 0]\n[1:01:00: command df]\n[postern: channel 1: df]\ntwo\n[1:01:00: the session ended: closed]\n",
		time.Hour + time.Minute: "[1:01:00: command df]\ntwo\n[1:01:00: the session ended: closed]\n",
		2 * time.Hour:           "",
	} {
		var out bytes.Buffer
		if err := (Screens{Channel: -1, From: from, Notes: &out}).Write(record(t, frames...).open(t, false), &out); err != nil || out.String() != want {
			t.Errorf("from %s: %q, not %q (%v)", from, out.String(), want, err)
		}
	}
}

// asciicast v3 is read back the way its specification says: times are since the event before.
func TestAsciicast3(t *testing.T) {
	shell := []recorder.Frame{
		after(time.Second, pty(0)),
		after(2*time.Second, data(0, 1, "caf\xc3")), after(3*time.Second, data(0, 1, "\xa9 \x1b]52;c;AAAA\ahi")),
		after(4*time.Second, data(0, 1, "\x1b[?2004h$ ")), after(4*time.Second, data(0, 1, "ls -l")), after(4*time.Second, data(0, 1, "\r\n\x1b[?2004l\r")),
		after(5*time.Second, recorder.Frame{Type: recorder.TypeRequest, Data: recorder.Request{Name: "window-change",
			Payload: ssh.Marshal(struct{ Columns, Rows, Width, Height uint32 }{90, 1 << 30, 0, 0})}.Marshal()}),
		after(6*time.Second, recorder.Frame{Type: recorder.TypeExit, Data: recorder.Exit{Signal: "TERM"}.Marshal()}),
	}
	var out bytes.Buffer
	if err := Asciicast3(record(t, shell...).open(t, false), -1, &out); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	var head struct {
		Version int
		Term    struct {
			Cols, Rows int
			Type       string
		}
		Width *int
	}
	if err := json.Unmarshal([]byte(lines[0]), &head); err != nil || head.Version != 3 || head.Term.Cols != 80 || head.Term.Rows != 24 || head.Term.Type != "xterm" || head.Width != nil {
		t.Errorf("header %s: %v", lines[0], err)
	}
	var text []string
	total := 0.0
	for _, line := range lines[1:] {
		var e [3]any
		if err := json.Unmarshal([]byte(line), &e); err != nil || e[0].(float64) < 0 {
			t.Fatalf("%s: %v", line, err)
		}
		total += e[0].(float64)
		text = append(text, fmt.Sprint(e[1], " ", e[2]))
	}
	if got := strings.Join(text, "|"); !strings.Contains(got, "o caf|o é hi|") || !strings.Contains(got, "r 90x65535") || !regexp.MustCompile(`\|m [^|]*ls -l\|`).MatchString(got) || !strings.HasSuffix(got, "x 143") {
		t.Errorf("%q", got)
	}
	if want := time.Hour.Seconds() + 6; total < want-0.001 || total > want+0.001 {
		t.Errorf("it lasts %f s, not %f", total, want)
	}
}
