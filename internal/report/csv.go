package report

import (
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// Tables are the kinds of CSV.
var Tables = []string{"sessions", "commands", "files", "requests", "approvals"}

// CSV writes one of the [Tables]: RFC 4180, a header line first, times as RFC 3339 in UTC. Every row says whether the log it comes of verifies.
func (r *Report) CSV(w io.Writer, table string) error {
	out := sheet{csv.NewWriter(w)}
	out.w.UseCRLF = true
	switch table {
	case "sessions":
		r.sessionRows(out)
	case "commands":
		r.commandRows(out)
	case "files":
		r.fileRows(out)
	case "requests":
		r.requestRows(out)
	case "approvals":
		r.approvalRows(out)
	default:
		return fmt.Errorf("there is no table of %s; tables are: %s", table, strings.Join(Tables, ", "))
	}
	out.w.Flush()
	return out.w.Error()
}

// sheet writes rows whose cells a spreadsheet takes for text, numbers and times.
type sheet struct{ w *csv.Writer }

func (s sheet) row(cells ...any) {
	texts := make([]string, len(cells))
	for i, c := range cells {
		switch v := c.(type) {
		case time.Time:
			if !v.IsZero() {
				texts[i] = v.UTC().Format(time.RFC3339)
			}
		case string:
			texts[i] = cell(v)
		case []string:
			texts[i] = cell(strings.Join(v, " "))
		default:
			texts[i] = fmt.Sprint(v)
		}
	}
	s.w.Write(texts)
}

// cell is text that no spreadsheet runs as a formula: a leading apostrophe makes it text. What people type begins with anything at all,
// and some programs skip spaces, quotes or full-width signs.
func cell(text string) string {
	text = Visible(text)
	rest := strings.TrimLeft(text, " \"'\u3000")
	if rest == "" {
		return text
	}
	if strings.ContainsRune("=+-@|%\\\uff1d\uff0b\uff0d\uff20", []rune(rest)[0]) {
		return "'" + text
	}
	return text
}

func (r *Report) sessionRows(out sheet) {
	out.row("session", "request", "person", "account", "host", "reason", "approved_by", "approved_how", "asked_seconds", "granted_seconds", "started", "ended",
		"seconds_in_period", "began_before", "goes_on", "end", "cut", "commands", "files_from_host", "files_to_host", "bytes_from_host", "bytes_to_host",
		"forwards", "denied", "bastion", "client", "recording", "recording_read", "recording_problem", "log_entry", "log_proven")
	for _, s := range r.Sessions {
		var who, how []string
		for _, a := range s.Approvals {
			who, how = append(who, a.Person), append(how, a.How())
		}
		t := s.sum()
		out.row(s.ID, s.Request, s.Person, s.Account, s.Host, s.Reason, who, strings.Join(how, "; "), s.Asked, s.Granted, s.Started, s.Ended,
			s.Seconds, s.Before, s.After, s.End, s.Cut, t.Commands, t.FilesFrom, t.FilesTo, t.BytesFrom, t.BytesTo,
			t.Forwards, t.Denied, s.Bastion, s.Client, s.Recording.State, s.Recording.Read, s.Recording.Problem, s.Leaf, r.Proof.Good())
	}
}

func (r *Report) commandRows(out sheet) {
	out.row("at", "session", "person", "account", "host", "command", "how", "refused", "exit", "log_proven")
	for _, s := range r.Sessions {
		for _, c := range s.Commands {
			exit := ""
			if c.Exit != nil {
				exit = strconv.FormatUint(uint64(*c.Exit), 10)
			}
			out.row(c.At, s.ID, s.Person, s.Account, s.Host, c.Text, c.how(), c.Refused, exit, r.Proof.Good())
		}
	}
}

func (c Command) how() string {
	if c.Seen {
		return "seen on the terminal"
	}
	return "requested"
}

func (r *Report) fileRows(out sheet) {
	out.row("at", "session", "person", "account", "host", "direction", "operation", "protocol", "path", "to", "bytes", "sha256", "status", "denied", "log_proven")
	for _, s := range r.Sessions {
		for _, f := range s.Files {
			out.row(f.At, s.ID, s.Person, s.Account, s.Host, f.direction(), f.Operation, f.Protocol, f.Path, f.To, f.Bytes, f.SHA256, f.Status, f.Denied, r.Proof.Good())
		}
	}
}

func (f File) direction() string {
	if f.Direction == "" {
		return ""
	}
	return f.Direction + " host"
}

func (r *Report) requestRows(out sheet) {
	out.row("request", "person", "targets", "capabilities", "reason", "rules", "state", "why", "created", "asked_seconds", "granted_seconds", "used_seconds",
		"began", "ends", "sessions", "approved_by", "unused", "log_entry", "log_proven")
	for _, q := range r.Requests {
		var who []string
		for _, a := range q.Approvals {
			if a.Decision == approve {
				who = append(who, a.Person)
			}
		}
		out.row(q.ID, q.Person, q.Targets, q.Capabilities, q.Reason, q.Rules, q.State, q.Why, q.Created, q.Asked, q.Granted, q.Used,
			q.Began, q.Ends, q.Sessions, who, q.Unused(), q.Leaf, r.Proof.Good())
	}
}

func (r *Report) approvalRows(out sheet) {
	out.row("at", "request", "requester", "decision", "by", "how", "fido", "touch", "pin", "key", "because", "log_entry", "log_proven")
	for _, q := range r.Requests {
		for _, a := range q.Approvals {
			out.row(a.At, q.ID, q.Person, a.Said(), a.Person, a.How(), a.FIDO, a.Touch, a.PIN, a.Key, a.Because, a.Leaf, r.Proof.Good())
		}
	}
}
