package policy

import (
	"strings"
	"time"
)

const (
	turnStep  = 15 * time.Minute // shorter windows may be missed
	turnReach = 31 * 24 * time.Hour
)

// Turn is a moment at which the answer to a query becomes another one because of the time.
type Turn struct {
	At    time.Time `json:"at"` // to the second, UTC
	Opens bool      `json:"opens,omitempty"`
	Shuts bool      `json:"shuts,omitempty"` // neither: other rules take over
}

// Turns are the next one after q.At and the one after that, as far as the coming month has them. It is for people who plan; the CA asks the rules
// for the very minutes of a grant.
func (s *Set) Turns(q Query) (turns []Turn) {
	if q.At.IsZero() || !s.Timed() {
		return nil
	}
	at := func(t time.Time) string { q.At = t; return s.bound(q) }
	begin, state := q.At.UTC(), at(q.At)
	end := begin.Add(turnReach)
	for open := begin; open.Before(end) && len(turns) < 2; {
		next := open.Truncate(turnStep).Add(turnStep)
		if now := at(next); now != state {
			when := turned(open, next, func(t time.Time) bool { return at(t) == state })
			state = at(when)
			turns = append(turns, Turn{At: when, Opens: at(open) == "", Shuts: state == ""})
			next = when
		}
		open = next
	}
	return turns
}

// bound is the rules by which a request is granted; empty: it is not.
func (s *Set) bound(q Query) string {
	d, _ := s.decide(q)
	if len(d.Allowed) == 0 || len(d.Refused) > 0 {
		return ""
	}
	return strings.Join(d.Rules, " ")
}

// turned finds the first second at which it is no more as it was: it still is at from, and is not at to.
func turned(from, to time.Time, same func(time.Time) bool) time.Time {
	from = from.Truncate(time.Second)
	for to.Sub(from) > time.Second {
		if middle := from.Add(to.Sub(from) / 2).Truncate(time.Second); same(middle) {
			from = middle
		} else {
			to = middle
		}
	}
	return to
}

// turnsText says when, for a terminal.
func turnsText(turns []Turn) []string {
	if len(turns) == 0 {
		return nil
	}
	first := turns[0]
	text := "by these rules until " + clockText(first.At)
	switch {
	case first.Shuts:
		text = "open until " + clockText(first.At)
	case first.Opens:
		text = "opens " + clockText(first.At)
	}
	if len(turns) > 1 {
		switch second := turns[1]; {
		case second.Opens:
			text += "; opens again " + clockText(second.At)
		case second.Shuts && first.Opens:
			text += ", until " + clockText(second.At)
		}
	}
	return []string{text}
}

func clockText(t time.Time) string {
	layout := "Mon 2006-01-02 15:04 UTC"
	if t.Second() != 0 {
		layout = "Mon 2006-01-02 15:04:05 UTC"
	}
	return t.UTC().Format(layout)
}
