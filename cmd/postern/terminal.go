package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"
	"unicode"

	"golang.org/x/term"

	"postern/internal/command"
)

// The few colours we use, on terminals only.
const (
	red    = "31"
	green  = "32"
	yellow = "33"
	bold   = "1"
)

func colour(code, text string) string {
	if os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" || !term.IsTerminal(int(os.Stdout.Fd())) {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// visible makes text of other people safe to show: control and format characters (a cursor movement, a right-to-left
// override) could make an approver read something else than what is signed.
func visible(text string) string {
	var out strings.Builder
	for _, r := range text {
		if r == '\n' || unicode.IsPrint(r) {
			out.WriteRune(r)
		} else {
			quoted := strconv.QuoteRuneToASCII(r)
			out.WriteString(quoted[1 : len(quoted)-1])
		}
	}
	return out.String()
}

// word is visible text on one line.
func word(text string) string { return strings.ReplaceAll(visible(text), "\n", " ") }

// colouredTable is a table whose rows, counted without the heading, have colours. Whole lines are coloured after they were aligned, since escapes take
// no room on a terminal.
func colouredTable(w io.Writer, rows [][]string, code func(row int) string) error {
	var text strings.Builder
	if err := table(&text, rows); err != nil {
		return err
	}
	for n, line := range strings.Split(strings.TrimSuffix(text.String(), "\n"), "\n") {
		if n > 0 && code(n-1) != "" {
			line = colour(code(n-1), line)
		}
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
	}
	return nil
}

// table prints rows in aligned columns; the first row is the heading.
func table(w io.Writer, rows [][]string) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		for i, cell := range row {
			row[i] = word(cell)
		}
		fmt.Fprintln(t, strings.TrimRight(strings.Join(row, "\t"), "\t"))
	}
	return t.Flush()
}

// facts prints name and value, one a line, aligned; empty values are left out.
func facts(w io.Writer, pairs ...string) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			fmt.Fprintf(t, "%s\t%s\n", pairs[i], word(pairs[i+1]))
		}
	}
	return t.Flush()
}

// jsonLine prints v for a script.
func jsonLine(w io.Writer, v any) error { return json.NewEncoder(w).Encode(v) }

// clock is a time in the local zone, with its date when that is not today.
func clock(t, now time.Time) string {
	if t.IsZero() {
		return ""
	}
	t, now = t.Local(), now.Local()
	if t.Format(time.DateOnly) == now.Format(time.DateOnly) {
		return t.Format("15:04:05")
	}
	return t.Format("2006-01-02 15:04")
}

// when is a time and how far it is from now: "14:05:00 (in 12m)".
func when(t, now time.Time) string {
	if t.IsZero() {
		return ""
	}
	if d := t.Sub(now); d >= 0 {
		return fmt.Sprintf("%s (in %s)", clock(t, now), short(d))
	}
	return fmt.Sprintf("%s (%s ago)", clock(t, now), short(now.Sub(t)))
}

// short is a duration in its two leading units: 45s, 12m, 3h20m, 5d.
func short(d time.Duration) string {
	switch d = d.Round(time.Second); {
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour && (d%time.Minute == 0 || d > 10*time.Minute):
		return fmt.Sprintf("%dm", d.Round(time.Minute)/time.Minute)
	case d < time.Hour:
		return fmt.Sprintf("%dm%ds", d/time.Minute, d%time.Minute/time.Second)
	case d < 24*time.Hour && d.Round(time.Minute)%time.Hour == 0:
		return fmt.Sprintf("%dh", d.Round(time.Minute)/time.Hour)
	case d < 24*time.Hour:
		d = d.Round(time.Minute)
		return fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%dd", d/(24*time.Hour))
}

var errNoTerminal = errors.New("there is no terminal to ask on")

// confirm asks a question on the terminal; anything but yes is no.
func confirm(question string) (bool, error) {
	answer, err := askLine(question + " [y/N] ")
	answer = strings.ToLower(answer)
	return answer == "y" || answer == "yes", err
}

// askLine reads a line from the terminal; at its end the answer is empty.
func askLine(prompt string) (string, error) {
	return ask(prompt, func(tty *os.File) (string, error) {
		answer, err := bufio.NewReader(tty).ReadString('\n')
		if err != nil && answer == "" {
			fmt.Fprintln(tty)
		}
		return strings.TrimSpace(answer), nil
	})
}

// askSecret reads a line from the terminal without showing it.
func askSecret(prompt string) ([]byte, error) {
	return ask(prompt, func(tty *os.File) ([]byte, error) {
		secret, err := term.ReadPassword(int(tty.Fd()))
		fmt.Fprintln(tty)
		return secret, err
	})
}

// ask asks on the terminal. Whoever presses ^C at the question wants to be back at the shell, with a terminal that shows what they type; the read
// itself would go on until the next line.
func ask[T any](prompt string, read func(tty *os.File) (T, error)) (answer T, err error) {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return answer, errNoTerminal
	}
	defer tty.Close()
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(stop)
	before, _ := term.GetState(int(tty.Fd()))
	fmt.Fprint(tty, prompt)
	done := make(chan struct{})
	var said T
	var failed error
	go func() {
		defer close(done)
		said, failed = read(tty)
	}()
	select {
	case <-done:
		return said, failed
	case <-stop:
		if before != nil {
			_ = term.Restore(int(tty.Fd()), before)
		}
		fmt.Fprintln(tty)
		return answer, command.ErrInterrupted
	}
}
