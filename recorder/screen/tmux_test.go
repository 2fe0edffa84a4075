package screen

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// terminal is a real one: a server of tmux without anybody attached.
type terminal struct {
	t      *testing.T
	socket string
	files  int
}

func newTerminal(t *testing.T) *terminal {
	t.Helper()
	if _, err := exec.LookPath("tmux"); err != nil {
		t.Fatal("tmux is needed to judge the screen by: make deps")
	}
	m := &terminal{t: t, socket: filepath.Join(t.TempDir(), "tmux")}
	m.run("-f", "/dev/null", "new-session", "-d", "-x", "200", "-y", "60", "sleep 1000")
	t.Cleanup(func() { m.run("kill-server") })
	return m
}

func (m *terminal) run(args ...string) string {
	m.t.Helper()
	c := exec.Command("tmux", append([]string{"-u", "-S", m.socket}, args...)...)
	c.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "TMUX=")
	out, err := c.CombinedOutput()
	if err != nil {
		m.t.Fatalf("tmux %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// show prints pieces in a window of some size, changes the size between them, and returns what is on it.
func (m *terminal) show(pieces ...piece) string {
	m.t.Helper()
	m.files++
	dir := m.t.TempDir()
	var script strings.Builder
	script.WriteString("stty raw -echo\n")
	for i, p := range pieces {
		file := filepath.Join(dir, fmt.Sprint(i))
		if err := os.WriteFile(file, []byte(p.text), 0o600); err != nil {
			m.t.Fatal(err)
		}
		// The answer to the last question says that tmux has read everything before.
		fmt.Fprintf(&script, "tmux -S %[1]s wait-for go-%[2]d-%[3]d\ncat %[4]s\nprintf '\\033[5n'\ndd bs=1 count=4 >/dev/null 2>&1\ntmux -S %[1]s wait-for -S did-%[2]d-%[3]d\n", m.socket, m.files, i, file)
	}
	script.WriteString("sleep 1000\n")
	file := filepath.Join(dir, "script")
	if err := os.WriteFile(file, []byte(script.String()), 0o600); err != nil {
		m.t.Fatal(err)
	}
	window := strings.TrimSpace(m.run("new-window", "-d", "-P", "-F", "#{window_id}", "sh "+file))
	for i, p := range pieces {
		m.run("resize-window", "-t", window, "-x", fmt.Sprint(p.columns), "-y", fmt.Sprint(p.rows))
		m.run("wait-for", "-S", fmt.Sprintf("go-%d-%d", m.files, i))
		m.run("wait-for", fmt.Sprintf("did-%d-%d", m.files, i))
	}
	shown := m.run("capture-pane", "-p", "-t", window)
	m.run("kill-window", "-t", window)
	return tidy(strings.Split(shown, "\n"))
}

type piece struct {
	columns, rows int
	text          string
}

func tidy(lines []string) string {
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.TrimRight(strings.Join(lines, "\n"), "\n")
}

func ours(pieces ...piece) string {
	s := New(pieces[0].columns, pieces[0].rows)
	for _, p := range pieces {
		s.Resize(p.columns, p.rows)
		s.Write([]byte(p.text))
	}
	return asTmux.Replace(tidy(s.Text()))
}

// asTmux undoes the character set of lines: tmux keeps it as an attribute that it does not print.
var asTmux = strings.NewReplacer("┌", "l", "─", "q", "┐", "k", "└", "m", "┘", "j", "│", "x")

// draw makes a stream at random of what terminals agree about.
func draw(r *rand.Rand, columns, rows int) string {
	var b strings.Builder
	words := []string{"the quick", "brown-fox", "äöü", "界面", "ｗｉｄｅ", "e\u0301", "“•”", "0123456789", "x", "  ", "日", "🙂ok"}
	csi := func(format string, args ...any) { fmt.Fprintf(&b, "\x1b["+format, args...) }
	top, bottom := 1, rows
	inside := func() { // tmux inserts and deletes rows outside of the region too
		csi("?6l")
		csi("%d;%dH", top+r.IntN(bottom-top+1), 1+r.IntN(columns))
	}
	// tmux leaves halves of wide characters behind when it moves cells, so one stream has those and another moves cells.
	wide := r.IntN(2) == 0
	if !wide {
		words = slices.DeleteFunc(words, func(w string) bool { return strings.ContainsAny(w, "界ｗ日🙂") })
	}
	erase := func() int {
		if wide {
			return 2
		}
		return r.IntN(3)
	}
	for range 20 + r.IntN(200) {
		n := r.IntN(34)
		if wide && (n >= 15 && n <= 17 || n == 27) {
			continue
		}
		switch n {
		case 0, 1, 2, 3, 4:
			// Terminals differ in what moves do after the last column, so text ends before it, or goes on, or is followed by a place.
			b.WriteString(words[r.IntN(len(words))])
			if r.IntN(3) == 0 {
				csi("%d;%dH", 1+r.IntN(rows), 1+r.IntN(columns))
			} else {
				b.WriteString("\r")
			}
		case 5:
			b.WriteString(strings.Repeat(string(rune('a'+r.IntN(26))), r.IntN(2*columns)) + "\r")
		case 6:
			b.WriteString("\r\n")
		case 7:
			b.WriteString("\n")
		case 8:
			csi("%d;%dH", r.IntN(rows+3), r.IntN(columns+3))
		case 9:
			csi("%d%c", r.IntN(6), "ABCDEFGd"[r.IntN(8)])
		case 10:
			csi("%dJ", erase())
		case 11, 12:
			csi("%dK", erase())
		case 13:
			inside()
			csi("%dL\r", r.IntN(5)) // tmux stays in its column
		case 14:
			inside()
			csi("%dM\r", r.IntN(5))
		case 15:
			csi("%dG", 1+r.IntN(columns/2)) // tmux leaves what it should push off the end
			csi("%d@", r.IntN(4))
		case 16:
			csi("%dP", r.IntN(9))
		case 17:
			csi("%dX", r.IntN(9))
		case 18:
			csi("%dS", r.IntN(4))
		case 19:
			csi("%dT", r.IntN(4))
		case 20:
			top = 1 + r.IntN(rows-1)
			bottom = min(top+1+r.IntN(rows), rows)
			csi("?6l") // tmux does not count home from the region
			csi("%d;%dr", top, bottom)
		case 21:
			top, bottom = 1, rows
			csi("?6l")
			csi("r")
		case 22:
			b.WriteString("\x1bM")
		case 23:
			b.WriteString("\x1bD")
		case 24:
			b.WriteString("\x1b7")
		case 25:
			b.WriteString("\x1b8")
		case 26:
			csi("?6l") // which tmux does not save
			csi("?1049%c", "hl"[r.IntN(2)])
		case 27:
			csi("4h")
			b.WriteString("ins")
			csi("4l")
			csi("%d;1H", 1+r.IntN(rows))
		case 28:
			b.WriteString("\x1b(0lqqk\x1b(B\r")
		case 29:
			csi("%d;%dm", r.IntN(110), r.IntN(110))
		case 30:
			b.WriteString("\t")
		case 31:
			csi("?7l")
			b.WriteString(strings.Repeat("n", r.IntN(columns+9)) + "\r")
			csi("?7h")
		case 32:
			b.WriteString("\x1b]0;title\a\x1bPq\x1b\\")
		case 33:
			csi("?6%c", "hl"[r.IntN(2)])
		}
	}
	return b.String()
}

func TestLikeTmux(t *testing.T) {
	m := newTerminal(t)
	seed := uint64(1)
	streams := 60
	if text := os.Getenv("SCREEN_SEED"); text != "" {
		fmt.Sscan(text, &seed, &streams)
	}
	for i := range streams {
		r := rand.New(rand.NewPCG(seed, uint64(i)))
		columns, rows := 10+r.IntN(90), 4+r.IntN(30)
		p := piece{columns, rows, draw(r, columns, rows)}
		want, got := m.show(p), ours(p)
		if got != want {
			short := shorten(m, p)
			t.Errorf("stream %d of %d by %d: %q\n--- tmux\n%s\n--- here\n%s", i, columns, rows, short.text, m.show(short), ours(short))
			if t.Failed() {
				return
			}
		}
	}
}

// shorten looks for a beginning of a stream that shows the difference.
func shorten(m *terminal, p piece) piece {
	deadline := time.Now().Add(20 * time.Second)
	low, high := 0, len(p.text)
	for low+1 < high && time.Now().Before(deadline) {
		middle := (low + high) / 2
		q := piece{p.columns, p.rows, p.text[:middle]}
		if m.show(q) != ours(q) {
			high = middle
		} else {
			low = middle
		}
	}
	p.text = p.text[:high]
	return p
}
