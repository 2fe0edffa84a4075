package bastion

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"postern/internal/control"
)

// survivors says of the programs of a session which may outlive it on the host, and why: what to look for there.
func (s *session) survivors(channels []*channel) (list []string) {
	account, _, _ := strings.Cut(s.reply.Session.Target, "@")
	for _, c := range channels {
		why := ""
		switch {
		case !c.started() || c.pty.Load(): // a terminal takes its programs along, but for those that left it
			continue
		case c.subsystem.Load():
			why = "a subsystem takes no signal and ends when it next reads"
		case account == "root":
			why = "sshd passes no signal to a command of root"
		default:
			why = "killed, but for what it put into another session of its own"
		}
		list = append(list, fmt.Sprintf("channel %d without a terminal: %s", c.id, why))
	}
	slices.Sort(list)
	return list
}

// cutAll ends sessions that were stopped, and tells the CA what was done when the last connection is closed.
func (b *Bastion) cutAll(r control.Revocation, hit []*ending, readers int, heard time.Time) {
	end(hit, func() {
		if b.Receipt == nil || r.Seq == 0 {
			return
		}
		for _, receipt := range receipts(r.Seq, b.Now(), time.Since(heard), outcome(hit, heard)) {
			b.Receipt(receipt)
		}
	})
	b.Log.Warn("revocation", "seq", r.Seq, "target", r.Target().String(), "by", r.By, "sessions", len(hit), "auditors", readers, "took", time.Since(heard).String())
}

// outcome is what the receipts say of each.
func outcome(list []*ending, heard time.Time) []control.CutSession {
	told := make([]control.CutSession, len(list))
	for i, e := range list {
		told[i] = control.CutSession{Session: e.s.reply.Session.ID, Closed: micros(e.closed.Sub(heard)), Left: micros(e.left.Sub(heard)), Survivors: e.s.survivors(e.channels)}
		if !e.signalled.IsZero() {
			told[i].Signalled = micros(e.signalled.Sub(heard))
		}
	}
	return told
}

// receipts are for so many sessions as fit into each, and one if there are none: a bastion that had nothing to cut says so.
func receipts(seq uint64, now time.Time, took time.Duration, done []control.CutSession) (list []control.CutReceipt) {
	heard := now.Add(-took).UTC()
	for part := range slices.Chunk(done, control.MaxCutSessions) {
		list = append(list, control.CutReceipt{Seq: seq, Heard: heard, Sessions: part})
	}
	if len(list) == 0 {
		list = []control.CutReceipt{{Seq: seq, Heard: heard}}
	}
	for i := range list {
		list[i].Part, list[i].Parts = i, len(list)
	}
	return list
}

// micros is at least one: zero says that it never was.
func micros(d time.Duration) int64 { return max(1, d.Microseconds()) }
