package screen

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// What programs draw is recorded from a pane of tmux, and then painted here. Both must show the same.
func TestProgramsLikeTmux(t *testing.T) {
	m := newTerminal(t)
	text := filepath.Join(t.TempDir(), "text")
	var lines strings.Builder
	for i := range 300 {
		fmt.Fprintf(&lines, "line %d of a text with wörds, 界面 and\ttabs %s\n", i, strings.Repeat("=", i%90))
	}
	if err := os.WriteFile(text, []byte(lines.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		command string
		keys    []string
		sees    string
	}{
		"vim":      {"vim -u NONE -N --cmd 'set ruler incsearch hlsearch' " + text, []string{"10j", "5dd", "ihello world", "Escape", "G", "dd", "gg", "/line 70", "Enter", ":vsplit", "Enter", "20j", ":echo 'so-far'", "Enter"}, "so-far"},
		"less":     {"LESS= less " + text, []string{"Space", "Space", "j", "j", "k", "/line 20", "Enter", "G", "k", ":p"}, "No previous file"},
		"top":      {"top -d 1000", []string{"c", "1"}, "PID"},
		"ls":       {"ls -l --color=always / /etc; echo don''e; sleep 100", nil, "done"},
		"progress": {`i=0; while [ $i -lt 100 ]; do i=$((i+1)); printf '\r%3d%% [%-*s]' $i $((i/3+1)) '='; done; printf '\033[5A\033[1Jclea''red'; sleep 100`, nil, "cleared"},
		"shell":    {"env -i PS1='$ ' TERM=xterm-256color LC_ALL=C.UTF-8 bash --norc --noprofile", []string{"echo one two thre", "C-a", "C-f", "C-d", "C-e", "BSpace", "C-w", "Enter", "echo " + strings.Repeat("long ", 30), "C-a", "X", "C-e", "C-u", "echo don''e", "Enter"}, "done"},
		"man":      {"MANPAGER='less -R' man bash 2>/dev/null || LESS=-R less " + text, []string{"Space", "b", "Space", ":p"}, "No previous file"},
	} {
		t.Run(name, func(t *testing.T) {
			columns, rows := 80, 24
			window := strings.TrimSpace(m.run("new-window", "-d", "-P", "-F", "#{window_id}", "sh"))
			m.run("resize-window", "-t", window, "-x", fmt.Sprint(columns), "-y", fmt.Sprint(rows))
			raw := filepath.Join(t.TempDir(), "raw")
			m.run("pipe-pane", "-t", window, "cat > "+raw)
			m.run("send-keys", "-t", window, "-l", "clear; "+c.command)
			m.run("send-keys", "-t", window, "Enter")
			for _, k := range c.keys {
				m.settle(t, window)
				m.run("send-keys", "-t", window, k)
			}
			// A program may paint on after it said what is awaited, and what it wrote reaches the file later than the screen.
			for end := time.Now().Add(time.Minute); ; {
				want := asTmux.Replace(m.settle(t, window))
				b, _ := os.ReadFile(raw)
				got := ours(piece{columns, rows, string(b)})
				if got == want && strings.Contains(want, c.sees) {
					break
				}
				if time.Now().After(end) {
					t.Fatalf("it does not say %q, or not here\n--- tmux\n%s\n--- here\n%s\n--- of %d bytes", c.sees, want, got, len(b))
				}
			}
			m.run("kill-window", "-t", window)
		})
	}
}

// settle waits until a window does not change, and returns what is on it.
func (m *terminal) settle(t *testing.T, window string) string {
	t.Helper()
	last, same := "", 0
	for range 200 {
		now := tidy(strings.Split(m.run("capture-pane", "-p", "-t", window), "\n"))
		if now == last && now != "" {
			same++
		} else {
			last, same = now, 0
		}
		if same >= 3 {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	return last
}
