package play

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"postern/recorder"
)

// teller makes lines for people of frames. It remembers what is asked and not answered yet.
type teller struct {
	channels channels
	sealed   map[string]bool // keys of compartments that were told of
}

func newTeller() *teller { return &teller{channels: channels{}, sealed: map[string]bool{}} }

// lines is what f says to a person, safe for a terminal: nothing for data and for what only programs ask about.
func (t *teller) lines(f recorder.Frame) (lines []string) {
	add := func(format string, args ...any) {
		lines = append(lines, fmt.Sprintf("[%s: %s]", at(f), cut(fmt.Sprintf(format, args...), mostLine)))
	}
	switch f.Type {
	case recorder.TypeEvent:
		if text := t.event(f); text != "" {
			add("%s", text)
		}
	case recorder.TypeCompartment:
		if k, err := f.CompartmentKey(); err == nil && !t.sealed[k.Key] {
			t.sealed[k.Key] = true
			add("what is typed from here on is sealed to %s; --keystrokes shows it to who holds that key", printable(k.Key))
		}
	case recorder.TypeClose:
		ch := t.channels.of(f)
		for _, text := range ch.unanswered() {
			add("%s", text)
		}
		if ch.protocol != "" && ch.kind == "" {
			add("%s carried %s to the host and %s back", printable(ch.protocol), size(ch.bytes[recorder.Stdin]), size(ch.bytes[recorder.Stdout]))
		}
		delete(t.channels, f.Channel)
	case recorder.TypeEnd:
		for _, id := range sorted(t.channels) {
			for _, text := range t.channels[id].unanswered() {
				add("%s", text)
			}
		}
		add("the session ended: %s", printable(string(f.Data)))
	default:
		if line := plainLine(f); line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}

// event is the text of one event. One that is not what its name says is shown as it is.
func (t *teller) event(f recorder.Frame) (text string) {
	e, err := f.Event()
	if err != nil {
		return ""
	}
	known := true
	switch e.Name {
	case recorder.EventFile:
		text, known = said(e, fileText)
	case recorder.EventOperation:
		text, known = said(e, t.channels.of(f).operation)
	case recorder.EventForward:
		text, known = said(e, forwardText)
	case recorder.EventListen:
		text, known = said(e, listenText)
	case recorder.EventAgent:
		text, known = said(e, agentText)
	case recorder.EventStream:
		text, known = said(e, func(s recorder.Stream) string { return streamText(f.Stream, s) })
	case recorder.EventProtocol:
	default:
		known = false
	}
	if !known {
		return printable(e.Name) + " " + short(printable(string(e.JSON)))
	}
	return text
}

func said[T any](e recorder.Event, text func(T) string) (string, bool) {
	var v T
	if json.Unmarshal(e.JSON, &v) != nil {
		return "", false
	}
	return text(v), true
}

func fileText(f recorder.File) string {
	words := []string{fmt.Sprintf("%s %s %s", printable(f.Protocol), printable(f.Access), path(f.Path))}
	if f.Denied {
		return "denied: " + words[0]
	}
	for _, t := range []struct {
		what string
		*recorder.Transfer
	}{{"received", f.Read}, {"sent", f.Written}} {
		if t.Transfer != nil {
			words = append(words, t.what+" "+transferText(*t.Transfer))
		}
	}
	switch kept := map[string]string{"full": "kept", "head": "its first 64 KiB are kept", "hash": "not kept"}[f.Keep]; {
	case f.Read == nil && f.Written == nil:
	case f.Keep == "head" && atMost(f, 64<<10):
		words = append(words, "kept")
	case kept != "":
		words = append(words, kept)
	}
	return strings.Join(append(words, status(f.Status)), ", ")
}

func atMost(f recorder.File, n uint64) bool {
	return (f.Read == nil || f.Read.Bytes <= n && whole(*f.Read)) && (f.Written == nil || f.Written.Bytes <= n && whole(*f.Written))
}

// whole says whether a transfer began at the beginning and had no gap.
func whole(t recorder.Transfer) bool {
	return !t.More && (len(t.Ranges) == 0 || len(t.Ranges) == 1 && t.Ranges[0].From == 0)
}

func transferText(t recorder.Transfer) string {
	text := size(t.Bytes)
	switch {
	case !whole(t):
		text += fmt.Sprintf(" in %s", pieces(t))
	case t.SHA256 == "":
		text += " with repeats"
	}
	if t.SHA256 != "" {
		text += ", sha256 " + digest(t.SHA256)
	}
	return text
}

func pieces(t recorder.Transfer) string {
	var list []string
	for _, r := range t.Ranges[:min(len(t.Ranges), 4)] {
		list = append(list, fmt.Sprintf("%d-%d", r.From, r.To))
	}
	if t.More || len(t.Ranges) > 4 {
		list = append(list, "…")
	}
	return "bytes " + strings.Join(list, " ")
}

// operation is the text of one that changed something, or did not work. A change is told when it is asked for: that is remembered.
func (c *channel) operation(o recorder.Operation) string {
	if o.Status == "" && !o.Denied {
		c.asked = append(c.asked, o)
		return ""
	}
	asked := slices.IndexFunc(c.asked, func(a recorder.Operation) bool { return a.Number == o.Number })
	if asked >= 0 {
		c.asked = slices.Delete(c.asked, asked, asked+1)
	}
	if asked < 0 && !o.Denied && o.Status == "ok" {
		return "" // somebody looked around
	}
	return operationText(o) + ", " + status(o.Status)
}

func operationText(o recorder.Operation) string {
	text := printable(o.Name)
	if o.Path != "" {
		text += " " + path(o.Path)
	}
	if o.To != "" {
		text += " to " + path(o.To)
	}
	if o.Detail != "" {
		text += ", " + short(printable(o.Detail))
	}
	if o.Denied {
		text = "denied: " + text
	}
	return text
}

// unanswered are the changes that were asked for and of which nobody knows whether they were made.
func (c *channel) unanswered() (texts []string) {
	for _, o := range c.asked {
		texts = append(texts, operationText(o)+", never answered")
	}
	c.asked = nil
	return texts
}

func forwardText(f recorder.Forward) string {
	text := printable(f.Kind)
	if f.To != "" {
		text += " to " + path(f.To)
	}
	if f.From != "" {
		text += " from " + path(f.From)
	}
	switch {
	case f.Denied:
		return "denied: " + text + why(f.Why)
	case f.Why != "":
		return text + " did not open" + why(f.Why)
	case f.Ended:
		return fmt.Sprintf("%s ended, %s sent, %s received, %.1f s", text, size(f.Sent), size(f.Received), f.Seconds)
	}
	return text + " opened"
}

func why(text string) string {
	if text == "" {
		return ""
	}
	return ": " + short(printable(text))
}

func listenText(l recorder.Listen) string {
	text := "the host listens on " + path(l.Address)
	if l.Cancel {
		text = "the host listens no more on " + path(l.Address)
	}
	switch {
	case l.Denied:
		return "denied: " + text
	case !l.OK:
		return "refused by the host: " + text
	}
	return text
}

func agentText(a recorder.AgentUse) string {
	text := "agent: " + printable(a.Request)
	if a.Key != "" {
		text += " " + printable(a.Key)
	}
	if a.For != "" {
		text += ", " + printable(a.For)
	}
	switch {
	case a.Denied:
		return "denied: " + text
	case a.Pending:
		return text + ", asked"
	case !a.OK:
		return text + ", refused"
	}
	return text
}

// streamText tells of a stream that was not kept as a whole.
func streamText(stream byte, s recorder.Stream) string {
	if s.Kept >= s.Bytes {
		return ""
	}
	name := "a stream"
	if int(stream) < len(streams) {
		name = streams[stream]
	}
	return fmt.Sprintf("%s: %s; after the first %s %s more were not kept; sha256 %s", name, size(s.Bytes), size(s.Kept), size(s.Bytes-s.Kept), printable(s.SHA256))
}

func status(text string) string {
	if text == "" {
		return "no answer"
	}
	return short(printable(text))
}

func path(text string) string { return short(printable(text)) }

// digest is the beginning of a hash, enough to compare by eye; the JSON Lines have all of it.
func digest(hex string) string { return printable(hex[:min(len(hex), 16)]) }

// A hostile name does not fill the screen.
const (
	mostName = 512
	mostLine = 2048
)

func short(text string) string { return cut(text, mostName) }

func cut(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}

func size(n uint64) string {
	switch {
	case n == 1:
		return "1 byte"
	case n < 1000:
		return fmt.Sprintf("%d bytes", n)
	}
	v, unit := float64(n)/1000, 0
	for v >= 999.95 && unit < 4 {
		v, unit = v/1000, unit+1
	}
	return fmt.Sprintf("%.1f %s", v, [...]string{"kB", "MB", "GB", "TB", "PB"}[unit])
}

func sorted[T any](m map[uint32]T) []uint32 { return slices.Sorted(maps.Keys(m)) }
