package report

import (
	"encoding/json"
	"fmt"
	"time"

	"postern/recorder/index"
)

const (
	// mostDetails is how many commands, files and so on a report holds: some 100 MB.
	mostDetails = 500_000
	// mostOfOne is how many of them one session may have, so that one does not push out the others.
	mostOfOne = 20_000
	// drift is how much longer than the log says a session may have lasted by its own clock before a moment in it is worth a note.
	drift = 2 * time.Minute
)

// Session is the one with that id, or nil.
func (r *Report) Session(id string) *Session {
	for _, s := range r.Sessions {
		if s.ID == id {
			return s
		}
	}
	return nil
}

// Take adds what the entries of a session's index say. They are a bastion's reading of what hosts and clients said: counted with care, and
// cut to the period.
func (r *Report) Take(s *Session, entries []index.Entry) {
	t := taking{r: r, s: s, open: map[uint32]int{}, asked: map[operation]int{}, refused: map[time.Time]bool{}}
	cut := 0
	for _, e := range entries {
		if e.Cut {
			cut++
		}
		for _, c := range e.Commands {
			t.command(c)
		}
		for _, f := range e.Files {
			t.file(f)
		}
		for _, f := range e.Forwards {
			t.forward(f)
		}
		for _, m := range e.Marks {
			t.mark(m)
		}
	}
	s.Recording.Read = true
	r.Proof.Read++
	if cut > 0 {
		r.Limits = append(r.Limits, fmt.Sprintf("%s: in %s of its recording more happened than an index holds; the rest is in the recording", s.ID, many(cut, "segment")))
	}
	if t.strange > 0 && s.Recording.Problem == "" {
		s.Recording.Problem = fmt.Sprintf("its index names %d moments at which there was no session: the bastion's clock or the bastion is wrong", t.strange)
	}
	if s.Omitted > 0 {
		r.Limits = append(r.Limits, fmt.Sprintf("%s: %d more things happened than fit into a report; they are counted, and in its recording", s.ID, s.Omitted))
	}
}

type taking struct {
	r       *Report
	s       *Session
	count   int
	strange int
	open    map[uint32]int // forward that has not ended, by channel
	asked   map[operation]int
	refused map[time.Time]bool // moments at which a command, file or forward was denied
}

// operation is one that changes something: it is told when it is asked, and again when it is answered.
type operation struct {
	channel uint32
	name    string
	number  uint64
}

// at says when something happened, and whether that is in the period.
func (t *taking) at(since time.Duration) (time.Time, bool) {
	if since < 0 || since > 100*24*time.Hour {
		t.strange++
		return t.s.Started, t.in(t.s.Started)
	}
	at := t.s.Started.Add(since)
	if !t.s.Ended.IsZero() && at.After(t.s.Ended.Add(drift)) {
		t.strange++
	}
	return at, t.in(at)
}

func (t *taking) in(at time.Time) bool {
	if !at.Before(t.r.From) && at.Before(t.r.To) {
		return true
	}
	t.s.Outside++
	return false
}

// room says whether one more detail fits.
func (t *taking) room() bool {
	if t.count >= mostOfOne || t.r.details >= mostDetails {
		t.s.Omitted++
		return false
	}
	t.count++
	t.r.details++
	return true
}

func (t *taking) deny(at time.Time) {
	t.s.totals.Denied++
	t.refused[at] = true
}

func (t *taking) command(c index.Command) {
	at, in := t.at(c.At)
	if !in {
		return
	}
	t.s.totals.Commands++
	if c.Refused {
		t.deny(at)
	}
	if t.room() {
		t.s.Commands = append(t.s.Commands, Command{At: at, Text: c.Text, Seen: c.Seen, Refused: c.Refused, Exit: c.Exit})
	}
}

func (t *taking) file(f index.File) {
	at, in := t.at(f.At)
	if !in {
		return
	}
	op := operation{f.Channel, f.Operation, f.Number}
	if i, told := t.asked[op]; told && f.Number > 0 {
		t.s.Files[i].Status = f.Status
		delete(t.asked, op)
		return
	}
	out := File{At: at, Protocol: f.Protocol, Operation: f.Operation, Path: f.Path, To: f.To, Bytes: f.Bytes, SHA256: f.SHA256, Status: f.Status, Denied: f.Denied}
	sum := &t.s.totals
	switch {
	case f.Denied:
		t.deny(at)
	case f.Operation == "read":
		out.Direction = "from"
		sum.FilesFrom++
		sum.BytesFrom = saturated(sum.BytesFrom, f.Bytes)
	case f.Operation == "write":
		out.Direction = "to"
		sum.FilesTo++
		sum.BytesTo = saturated(sum.BytesTo, f.Bytes)
	}
	if t.room() {
		t.s.Files = append(t.s.Files, out)
		if out.Direction == "" && f.Status == "" && !f.Denied {
			t.asked[op] = len(t.s.Files) - 1
		}
	}
}

// forward takes one when it opens and completes it when it ends.
func (t *taking) forward(f index.Forward) {
	at, in := t.at(f.At)
	if !in {
		return
	}
	out := Forward{At: at, Kind: f.Kind, To: f.To, From: f.From, Sent: f.Sent, Received: f.Received, Seconds: f.Seconds, Ended: f.Ended,
		Denied: f.Denied, Why: f.Why, channel: f.Channel}
	if i, ok := t.open[f.Channel]; ok && f.Ended && t.s.Forwards[i].Kind == f.Kind && t.s.Forwards[i].To == f.To {
		out.At = t.s.Forwards[i].At
		t.s.Forwards[i] = out
		delete(t.open, f.Channel)
		return
	}
	if f.Denied {
		t.deny(at)
	} else {
		t.s.totals.Forwards++
	}
	if !t.room() {
		return
	}
	t.s.Forwards = append(t.s.Forwards, out)
	if !f.Ended && !f.Denied {
		t.open[f.Channel] = len(t.s.Forwards) - 1
	}
}

func (t *taking) mark(m index.Mark) {
	at, in := t.at(m.At)
	if !in {
		return
	}
	mark := Mark{At: at, Kind: m.Kind, Text: m.Text}
	switch m.Kind {
	case "denied":
		if t.refused[at] {
			return // it is of a command, file or forward that was counted
		}
		t.s.totals.Denied++
		if t.room() {
			t.s.Denied = append(t.s.Denied, mark)
		}
	case "note", "agent", "listen":
		if t.room() {
			t.s.Notes = append(t.s.Notes, mark)
		}
	}
}

// Same says whether two entries name the same commands, files and forwards: what a report is made of.
func Same(a, b index.Entry) bool {
	details := func(e index.Entry) string {
		j, err := json.Marshal([]any{e.Commands, e.Files, e.Forwards})
		if err != nil {
			return err.Error()
		}
		return string(j)
	}
	return details(a) == details(b)
}
