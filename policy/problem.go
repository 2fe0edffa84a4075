package policy

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// problem is one thing wrong with the directory. Line 0: the file as a whole; no file: the directory.
type problem struct {
	file string
	line int
	text string
}

func (p problem) Error() string {
	switch {
	case p.file == "":
		return p.text
	case p.line == 0:
		return p.file + ": " + p.text
	}
	return fmt.Sprintf("%s:%d: %s", p.file, p.line, p.text)
}

// problems gathers what is wrong, so that a person mends everything in one go.
type problems struct{ list []problem }

func (ps *problems) add(file string, line int, format string, args ...any) {
	ps.list = append(ps.list, problem{file, line, oneLine(fmt.Sprintf(format, args...))})
}

// shown keeps one systematic mistake from burying a terminal.
const shown = 40

func (ps *problems) err() error {
	if len(ps.list) == 0 {
		return nil
	}
	slices.SortStableFunc(ps.list, func(a, b problem) int {
		return cmp.Or(strings.Compare(a.file, b.file), cmp.Compare(a.line, b.line))
	})
	list := slices.Compact(ps.list)
	var errs []error
	for _, p := range list[:min(len(list), shown)] {
		errs = append(errs, p)
	}
	if more := len(list) - shown; more > 0 {
		errs = append(errs, fmt.Errorf("and %d more errors", more))
	}
	return errors.Join(errs...)
}

// oneLine keeps the promise of one line per error, whatever was quoted in it.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, text)
}

// among lists the possibilities behind an error when they are few enough to help: " (groups are: dba, privacy)".
func among(what string, possible []string) string {
	if len(possible) == 0 {
		return fmt.Sprintf(" (there are no %s)", what)
	}
	if len(possible) > 20 {
		return ""
	}
	possible = slices.Clone(possible)
	slices.Sort(possible)
	return fmt.Sprintf(" (%s are: %s)", what, strings.Join(possible, ", "))
}
