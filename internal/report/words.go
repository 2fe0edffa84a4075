package report

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	moment  = "2006-01-02 15:04:05"
	minute  = "2006-01-02 15:04"
	ofDay   = "15:04:05"
	unknown = "-"
)

// length is a number of seconds as people say it: 45s, 12m 30s, 3h 20m.
func length(seconds int64) string {
	switch {
	case seconds < 60:
		return fmt.Sprintf("%ds", seconds)
	case seconds < 3600 && seconds%60 == 0:
		return fmt.Sprintf("%dm", seconds/60)
	case seconds < 3600:
		return fmt.Sprintf("%dm %ds", seconds/60, seconds%60)
	case seconds%3600 < 60:
		return fmt.Sprintf("%dh", seconds/3600)
	}
	return fmt.Sprintf("%dh %dm", seconds/3600, seconds%3600/60)
}

// size is a number of bytes in three digits.
func size(n uint64) string {
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	f, i := float64(n)/1000, 0
	for ; f >= 999.5 && i < 5; i++ {
		f /= 1000
	}
	unit := []string{"kB", "MB", "GB", "TB", "PB", "EB"}[i]
	if f < 10 {
		return fmt.Sprintf("%.1f %s", f, unit)
	}
	return fmt.Sprintf("%.0f %s", f, unit)
}

// opened is how long a session was open in the period.
func (s *Session) opened() string {
	if s.Seconds == 0 {
		return "less than a second"
	}
	return length(s.Seconds)
}

// used is the time in which a request was used.
func (r *Request) used() string {
	if len(r.Sessions) > 0 {
		return length(r.Used)
	}
	return unknown
}

// ifAny is a length of time, and nothing for none.
func ifAny(seconds int64) string {
	if seconds == 0 {
		return unknown
	}
	return length(seconds)
}

func many(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	if stem, ok := strings.CutSuffix(one, "y"); ok {
		return fmt.Sprintf("%d %sies", n, stem)
	}
	return fmt.Sprintf("%d %ss", n, one)
}

func clock(t time.Time, layout string) string {
	if t.IsZero() {
		return unknown
	}
	return t.UTC().Format(layout)
}

// ended is how a session ended, in a few words.
func (s *Session) ended() string {
	switch {
	case s.End == "":
		return "still open"
	case s.End == "closed":
		return "closed by the admin"
	case s.Cut != "":
		return s.Cut
	}
	return s.End
}

// within is when a session was open in the period; what was cut off is marked.
func (s *Session) within() string {
	from, to := clock(s.Started, minute), "…"
	if !s.Ended.IsZero() {
		to = clock(s.Ended, ofDay)
		if s.Started.Format(time.DateOnly) != s.Ended.Format(time.DateOnly) {
			to = clock(s.Ended, minute)
		}
	}
	if s.Started.Second() != 0 {
		from = clock(s.Started, moment)
	}
	return from + " – " + to + s.marks()
}

func (s *Session) marks() string {
	var marks []string
	if s.Before {
		marks = append(marks, "began before the period")
	}
	if s.After {
		marks = append(marks, "ends after the period")
	}
	if len(marks) == 0 {
		return ""
	}
	return " (" + strings.Join(marks, ", ") + ")"
}

// approvers names who approved and how, for one line.
func approvers(list []Approval) string {
	var words []string
	for _, a := range list {
		if a.Decision == approve {
			words = append(words, fmt.Sprintf("%s (%s)", a.Person, a.How()))
		}
	}
	if len(words) == 0 {
		return "nobody"
	}
	return strings.Join(words, ", ")
}

// verdict is one line on the proof.
func (p Proof) verdict() string {
	if !p.Good() {
		return fmt.Sprintf("NOT PROVEN: %s in the log. Nothing below is to be relied on until they are explained.", many(len(p.Failures), "failure"))
	}
	return fmt.Sprintf("Proven: %s of the log make the root that the CA signed, and each says what it may.", many(int(p.Leaves), "entry"))
}

// cosigned names the witnesses.
func (p Proof) cosigned() string {
	var words []string
	for _, w := range p.Witnesses {
		words = append(words, fmt.Sprintf("%s for the first %d entries, %s", w.Name, w.Leaves, clock(w.At, moment)))
	}
	return strings.Join(words, "; ")
}

// sources says where commands and files come from.
func (p Proof) sources() string {
	switch p.Recordings {
	case FromFrames:
		return "commands, files and forwards were made out here from the frames of the recordings"
	case FromIndex:
		return "commands, files and forwards are as the bastions indexed them in the sealed recordings"
	}
	return "the recordings were left out, and with them commands, files and forwards"
}

// How commands and files were found.
const (
	NotRead    = "not read"
	FromIndex  = "index"
	FromFrames = "frames"
)

// section is one group of sessions.
type section struct {
	Name     string
	Sessions []*Session
	Totals   Totals
}

// sections groups the sessions as the report wants it, in the order of names; days and sessions in that of time.
func (r *Report) sections() (list []*section) {
	known := map[string]*section{}
	for _, s := range r.Sessions {
		name := map[string]string{"person": s.Person, "host": s.Host, "day": s.day(r), "request": s.Request}[r.Group]
		if known[name] == nil {
			known[name] = &section{Name: name}
			list = append(list, known[name])
		}
		known[name].Sessions = append(known[name].Sessions, s)
		known[name].Totals.add(s.sum())
	}
	sortSections(list, r.Group)
	return list
}

func sortSections(list []*section, group string) {
	if group == "request" {
		return // that of the sessions
	}
	slices.SortStableFunc(list, func(a, b *section) int { return strings.Compare(a.Name, b.Name) })
}
