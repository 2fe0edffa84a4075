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

// artist makes streams at random of what terminals agree about.
type artist struct {
	*rand.Rand
	strings.Builder
	columns, rows int
	top, bottom   int // region
	wide          bool
	words         []string
}

func draw(r *rand.Rand, columns, rows int) string {
	a := &artist{Rand: r, columns: columns, rows: rows, top: 1, bottom: rows, wide: r.IntN(2) == 0}
	a.words = []string{"the quick", "brown-fox", "äöü", "界面", "ｗｉｄｅ", "e\u0301", "“•”", "0123456789", "x", "  ", "日", "🙂ok"}
	if !a.wide { // tmux leaves halves of wide characters behind when it moves cells, so one stream has those and another moves cells
		a.words = slices.DeleteFunc(a.words, func(w string) bool { return strings.ContainsAny(w, "界ｗ日🙂") })
	}
	for range 20 + r.IntN(200) {
		switch r.IntN(5) {
		case 0, 1:
			a.text()
		case 2:
			a.move()
		case 3:
			a.rowsAndAll()
		case 4:
			a.cells()
		}
	}
	return a.String()
}

func (a *artist) csi(format string, args ...any) { fmt.Fprintf(a, "\x1b["+format, args...) }

// text writes some. Terminals differ in what moves do after the last column, so it ends in a return or is followed by a place.
func (a *artist) text() {
	switch a.IntN(8) {
	case 0:
		a.WriteString(strings.Repeat(string(rune('a'+a.IntN(26))), a.IntN(2*a.columns)) + "\r")
	case 1:
		a.WriteString("\x1b(0lqqk\x1b(B\r")
	case 2:
		a.csi("?7l")
		a.WriteString(strings.Repeat("n", a.IntN(a.columns+9)) + "\r")
		a.csi("?7h")
	case 3:
		a.csi("%d;%dm", a.IntN(110), a.IntN(110))
	case 4:
		a.WriteString("\x1b]0;title\a\x1bPq\x1b\\")
	default:
		a.WriteString(a.words[a.IntN(len(a.words))])
		if a.IntN(3) == 0 {
			a.csi("%d;%dH", 1+a.IntN(a.rows), a.column())
		} else {
			a.WriteString("\r")
		}
	}
}

func (a *artist) move() {
	switch a.IntN(9) {
	case 0:
		a.WriteString("\r\n")
	case 1:
		a.WriteString("\n")
	case 2:
		a.csi("%d;%dH", a.IntN(a.rows+3), a.column())
	case 3:
		moves := "ABEFdCDG"
		if a.wide {
			moves = moves[:5]
		}
		a.csi("%d%c", a.IntN(6), moves[a.IntN(len(moves))])
	case 4:
		a.WriteString("\x1bM")
	case 5:
		a.WriteString("\x1bD")
	case 6:
		a.WriteString([]string{"\x1b7", "\x1b8"}[a.IntN(2)])
	case 7:
		a.WriteString("\t")
	case 8:
		a.csi("?6%c", "hl"[a.IntN(2)])
	}
}

func (a *artist) rowsAndAll() {
	switch a.IntN(7) {
	case 0:
		a.csi("%dJ", a.erase())
	case 1, 2:
		a.csi("?6l") // tmux inserts and deletes rows outside of the region too, and stays in its column
		a.csi("%d;%dH", a.top+a.IntN(a.bottom-a.top+1), 1+a.IntN(a.columns))
		a.csi("%d%c\r", a.IntN(5), "LM"[a.IntN(2)])
	case 3:
		a.csi("%d%c", a.IntN(4), "ST"[a.IntN(2)])
	case 4:
		a.top = 1 + a.IntN(a.rows-1)
		a.bottom = min(a.top+1+a.IntN(a.rows), a.rows)
		a.csi("?6l") // tmux does not count home from the region
		a.csi("%d;%dr", a.top, a.bottom)
	case 5:
		a.top, a.bottom = 1, a.rows
		a.csi("?6l")
		a.csi("r")
	case 6:
		a.csi("?6l") // which tmux does not save
		a.csi("?1049%c", "hl"[a.IntN(2)])
	}
}

func (a *artist) cells() {
	n := a.IntN(6)
	if a.wide {
		n = 0
	}
	switch n {
	case 0, 1:
		a.csi("%dK", a.erase())
	case 2:
		a.csi("%dG", 1+a.IntN(a.columns/2)) // tmux leaves what it should push off the end
		a.csi("%d@", a.IntN(4))
	case 3:
		a.csi("%dP", a.IntN(9))
	case 4:
		a.csi("%dX", a.IntN(9))
	case 5:
		a.csi("4h")
		a.WriteString("ins")
		a.csi("4l")
		a.csi("%d;1H", 1+a.IntN(a.rows))
	}
}

// column is one to go to, but for the second: what is written over the right half of a wide character there leaves the left half in tmux.
func (a *artist) column() int {
	n := a.IntN(a.columns + 3)
	if n == 2 && a.wide {
		n++
	}
	return n
}

func (a *artist) erase() int {
	if a.wide {
		return 2
	}
	return a.IntN(3)
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
