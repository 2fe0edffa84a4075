package report

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// width is that of a text report, in characters.
const width = 120

// Text writes the report for a terminal or a printer, at most 120 characters wide.
func (r *Report) Text(w io.Writer) error {
	p := &page{w: bufio.NewWriter(w)}
	p.head(r)
	p.totals("By person", "PERSON", r.People)
	p.totals("By host", "HOST", r.Hosts)
	p.emergencies(r)
	p.sessions(r)
	p.requests(r)
	p.hands(r)
	p.events(r)
	p.recordings(r)
	return p.w.Flush()
}

type page struct{ w *bufio.Writer }

func (p *page) line(format string, args ...any) { fmt.Fprintf(p.w, format+"\n", args...) }

func (p *page) title(text string) {
	p.line("\n%s\n%s", strings.ToUpper(text), strings.Repeat("─", utf8.RuneCountInString(text)))
}

// put writes text behind an indentation, broken between words where it is too wide.
func (p *page) put(indent, text string) {
	text = Visible(text)
	room := width - utf8.RuneCountInString(indent)
	for runes := []rune(text); len(runes) > 0; {
		n := len(runes)
		if n > room {
			n = room
			for i := n; i > room/2; i-- {
				if runes[i] == ' ' {
					n = i
					break
				}
			}
		}
		p.line("%s%s", indent, strings.TrimRight(string(runes[:n]), " "))
		runes = []rune(strings.TrimLeft(string(runes[n:]), " "))
		indent = strings.Repeat(" ", utf8.RuneCountInString(indent))
	}
}

func (p *page) head(r *Report) {
	p.put("", "ACCESS REPORT of "+r.CA)
	p.put("", fmt.Sprintf("%s to %s, UTC%s", clock(r.From, minute), clock(r.To, minute), only(r)))
	p.put("made    ", clock(r.Made, moment)+" by "+r.By)
	p.put("reason  ", r.Reason)
	p.line("")
	p.put("", r.Proof.verdict())
	for _, f := range r.Proof.Failures {
		p.put("  BAD   ", f.String())
	}
	p.put("log     ", fmt.Sprintf("%d entries up to %s, root %s", r.Proof.Leaves, clock(r.Proof.Latest, moment), r.Proof.Root))
	if len(r.Proof.Witnesses) > 0 {
		p.put("seen by ", r.Proof.cosigned())
	}
	p.put("from    ", r.Proof.sources())
	for _, n := range r.Proof.Notes {
		p.put("note    ", n.String())
	}
	t := r.Totals
	p.line("")
	p.put("", fmt.Sprintf("%s, %s, %s in them; %s; %s from hosts (%s), %s to hosts (%s); %s; %s denied; %d cut.",
		many(t.Requests, "request"), many(t.Sessions, "session"), length(t.Seconds), many(t.Commands, "command"),
		many(t.FilesFrom, "file"), size(t.BytesFrom), many(t.FilesTo, "file"), size(t.BytesTo), many(t.Forwards, "forward"),
		many(t.Denied, "attempt"), t.Cut))
}

func only(r *Report) string {
	text := ""
	if r.User != "" {
		text += ", person " + r.User
	}
	if r.Host != "" {
		text += ", host " + r.Host
	}
	return text
}

func (p *page) totals(title, name string, list []Totals) {
	if len(list) == 0 {
		return
	}
	p.title(title)
	p.line("%-24s %8s %8s %9s %8s %7s %9s %7s %9s %8s %6s %4s", name, "REQUESTS", "SESSIONS", "TIME", "COMMANDS", "FROM", "BYTES", "TO", "BYTES", "FORWARDS", "DENIED", "CUT")
	for _, t := range list {
		p.line("%-24s %8d %8d %9s %8d %7d %9s %7d %9s %8d %6d %4d", short(t.Name, 24), t.Requests, t.Sessions, length(t.Seconds), t.Commands,
			t.FilesFrom, size(t.BytesFrom), t.FilesTo, size(t.BytesTo), t.Forwards, t.Denied, t.Cut)
	}
}

func (p *page) emergencies(r *Report) {
	if len(r.Emergencies) == 0 {
		return
	}
	p.title("Emergency access")
	for _, e := range r.Emergencies {
		state := e.Said()
		switch e.State {
		case "open":
			state += ", due " + clock(e.Due, minute)
		case "overdue":
			state += " since " + clock(e.Due, minute)
		}
		p.put("  ", fmt.Sprintf("%s  %s  %s: %s", e.Request, clock(e.Created, minute), e.Person, state))
	}
}

func (p *page) sessions(r *Report) {
	p.title("Sessions by " + r.Group)
	if len(r.Sessions) == 0 {
		p.line("none in this period")
	}
	for _, group := range r.sections() {
		p.line("\n%s  %s, %s", short(group.Name, 60), many(len(group.Sessions), "session"), length(group.Totals.Seconds))
		for _, s := range group.Sessions {
			p.session(s)
		}
	}
}

func (p *page) session(s *Session) {
	p.line("")
	p.put("  ", fmt.Sprintf("%s  %s as %s on %s  %s", s.ID, s.Person, s.Account, s.Host, s.within()))
	if s.Doubt != "" {
		p.put("    NOT PROVEN: ", s.Doubt)
	}
	p.put("    why       ", fmt.Sprintf("%s  (%s)", s.Reason, s.Request))
	p.put("    approved  ", approvers(s.Approvals))
	p.put("    time      ", fmt.Sprintf("asked %s, granted %s, open %s in the period; %s", length(s.Asked), length(s.Granted), s.opened(), s.ended()))
	p.put("    from      ", fmt.Sprintf("%s through %s; recording %s", s.Client, s.Bastion, s.Recording.describe()))
	for _, c := range s.Commands {
		p.put("    "+clock(c.At, ofDay)+"  $ ", c.Text+c.marks())
	}
	for _, f := range s.Files {
		p.put("    "+clock(f.At, ofDay)+"  ", f.words())
		if f.SHA256 != "" {
			p.put("              sha256 ", f.SHA256)
		}
	}
	for _, f := range s.Forwards {
		p.put("    "+clock(f.At, ofDay)+"  ", f.words())
	}
	for _, m := range append(append([]Mark{}, s.Denied...), s.Notes...) {
		p.put("    "+clock(m.At, ofDay)+"  ", m.Kind+": "+m.Text)
	}
	if s.Outside > 0 {
		p.line("    and %s outside of the period", many(s.Outside, "event"))
	}
	if s.Omitted > 0 {
		p.line("    and %s that the report has no room for", many(s.Omitted, "event"))
	}
}

func (r Recording) describe() string {
	text := r.State
	if r.Problem != "" {
		text += ", " + r.Problem
	}
	return text
}

func (c Command) marks() string {
	var marks []string
	if c.Seen {
		marks = append(marks, "seen")
	}
	if c.Refused {
		marks = append(marks, "REFUSED")
	}
	if c.Exit != nil && *c.Exit != 0 {
		marks = append(marks, fmt.Sprintf("exit %d", *c.Exit))
	}
	if len(marks) == 0 {
		return ""
	}
	return "   [" + strings.Join(marks, ", ") + "]"
}

func (f File) words() string {
	text := f.Operation + " " + f.Path
	switch f.Direction {
	case "from":
		text = "← from host  " + f.Path
	case "to":
		text = "→ to host    " + f.Path
	}
	if f.To != "" {
		text += " to " + f.To
	}
	if f.Direction != "" {
		text += "  " + size(f.Bytes)
	}
	return text + f.trouble()
}

func (f File) trouble() string {
	switch {
	case f.Denied:
		return "  DENIED"
	case f.Status != "" && f.Status != "ok":
		return "  " + f.Status
	}
	return ""
}

func (f Forward) words() string {
	text := "forward " + f.Kind + " to " + f.To
	switch {
	case f.Denied:
		return text + "  DENIED " + f.Why
	case f.Why != "":
		return text + "  refused: " + f.Why
	}
	return text + fmt.Sprintf("  %s sent, %s received", size(f.Sent), size(f.Received))
}

func (p *page) requests(r *Report) {
	p.title("Requests")
	if len(r.Requests) == 0 {
		p.line("none in this period")
		return
	}
	p.line("%-10s %-16s %-12s %-10s %7s %8s %8s  %s", "REQUEST", "CREATED", "PERSON", "STATE", "ASKED", "GRANTED", "USED", "TARGETS")
	for _, q := range r.Requests {
		p.line("%-10s %-16s %-12s %-10s %7s %8s %8s  %s", short(q.ID, 10), clock(q.Created, minute), short(q.Person, 12), short(q.State, 10), length(q.Asked), ifAny(q.Granted), q.used(),
			short(strings.Join(q.Targets, " "), 40))
		p.put("           why  ", q.Reason)
		for _, a := range q.Approvals {
			text := fmt.Sprintf("%s by %s, %s, %s", a.Said(), a.Person, clock(a.At, moment), a.How())
			if a.Because != "" {
				text += ": " + a.Because
			}
			p.put("           ", text)
		}
		if q.Unused() {
			p.line("           approved, and never used")
		}
	}
}

func (p *page) hands(r *Report) {
	if len(r.Hands) == 0 {
		return
	}
	p.title("Who approves whom")
	for _, h := range r.Hands {
		p.put("  ", fmt.Sprintf("%s approved %d of %d requests of %s", h.Approver, h.Approved, h.Of, h.Requester))
	}
	for _, h := range r.OneSided {
		p.put("  ! ", fmt.Sprintf("one pair of hands: %s approved %d of the %d requests of %s", h.Approver, h.Approved, h.Of, h.Requester))
	}
	for _, m := range r.Mutual {
		p.put("  ! ", fmt.Sprintf("each other: %s approved %d of %s, and %s %d of %s", m.A, m.AForB, m.B, m.B, m.BForA, m.A))
	}
}

func (p *page) events(r *Report) {
	if len(r.Revocations) > 0 {
		p.title("Revocations")
	}
	for _, v := range r.Revocations {
		p.put("  ", fmt.Sprintf("%s  %s by %s: %s; %s", clock(v.At, moment), v.Target, v.By, v.Reason, many(len(v.Requests), "grant")))
	}
	if len(r.Views) > 0 {
		p.title("Who looked at recordings")
	}
	for _, v := range r.Views {
		p.put("  ", fmt.Sprintf("%s  %s: %s", clock(v.At, moment), v.Auditor, v.words()))
	}
}

func (v View) words() string {
	text := v.Reason
	if v.Kind != "" {
		text = v.Kind + ", " + text
	}
	if len(v.Sessions) == 0 {
		return text
	}
	const most = 8
	if n := len(v.Sessions); n > most {
		return text + "; " + strings.Join(v.Sessions[:most], " ") + fmt.Sprintf(" and %d more", n-most)
	}
	return text + "; " + strings.Join(v.Sessions, " ")
}

func (p *page) recordings(r *Report) {
	p.title("Recordings and their keys")
	if len(r.Recordings) == 0 {
		p.line("  every recording is whole")
	}
	for _, g := range r.Recordings {
		mark := "  "
		if g.Bad {
			mark = "! "
		}
		p.put("  "+mark, g.Session+": "+g.Problem)
	}
	for _, k := range r.Keys {
		text := k.Month + ": "
		if k.ID != "" {
			text += fmt.Sprintf("%s of %s, %s", k.ID, k.Auditor, clock(k.Added, minute))
		}
		mark := "  "
		if k.Problem != "" {
			mark, text = "! ", strings.TrimSuffix(text, ": ")+"; "+k.Problem
		}
		p.put("  "+mark, text)
	}
	for _, c := range r.Custody {
		text := fmt.Sprintf("%s  %s: %s", clock(c.At, moment), c.By, c.What)
		if c.Reason != "" {
			text += "; " + c.Reason
		}
		p.put("    ", text)
	}
	for _, limit := range r.Limits {
		p.put("  ! ", limit)
	}
}
