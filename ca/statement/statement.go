// Package statement renders the texts that people sign, and reads them back.
//
// A statement is what an approver sees and exactly the bytes that the SSHSIG covers, so it says everything that the
// decision depends on. It is canonical: [Parse] accepts only what [Statement.Text] writes. ca/PROTOCOL.md, section
// Statements, is the format.
package statement

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	"postern/internal/control"
)

const first = "postern statement v1"

// Statement is one decision of one person, about a request or, for a revocation, about a target.
type Statement struct {
	CA       string
	Decision string // approve, deny, withdraw, revoke, extend, lift, review or clear
	Person   string // who signs

	// About a request.
	Request      string // R-…
	Digest       string // of the request as asked
	Requester    string
	Targets      []string
	Capabilities []string
	Destinations []string // where forward-local may lead; may be empty
	Records      []string // what is kept that an approver should know of; may be empty
	Emergency    string   // what an emergency owes; empty: it is none
	Sheet        string   // of a sealed grant: where, until when, whose; empty: it is none
	For          time.Duration
	NotAfter     time.Time
	Reason       string
	Rules        []string
	Policy       string
	Nonce        string

	// About an extension of it that waits.
	Extension    int // its number; 0: it is about none
	ExtendBy     time.Duration
	ExtendTo     time.Time
	ExtendReason string
	ExtendNonce  string

	// About a limit that holds a session of it, or the grant.
	Halt        int // its number; 0: it is about none
	HaltSession string
	HaltTarget  string
	HaltLimit   string
	HaltCount   uint64
	HaltLifted  uint64
	HaltAt      time.Time
	HaltNonce   string

	// About a revocation's target that is not a request.
	Target   string // of [control.ParseTarget]; For is how long it is kept away, if it is
	Sequence uint64 // how many revocations of that target came before

	Verdict string // of a review; empty in those of before there were verdicts
	Because string // why, when the decision is neither an approval, nor to extend or lift
}

// About fills in what a statement says of a request. While something holds it, or else an extension of it waits, to approve or deny is about that.
func About(r control.Request, ca, decision, person, because string) Statement {
	s := Statement{
		Emergency: emergency(r), Sheet: sheet(r),
		CA: ca, Decision: decision, Person: person, Because: because,
		Request: r.ID, Digest: r.Digest, Requester: r.Person, Targets: r.Targets, Capabilities: r.Capabilities,
		Destinations: r.Destinations, Records: records(r.Record),
		For: time.Duration(r.ForSeconds) * time.Second, NotAfter: r.Bound(), Reason: r.Reason,
		Rules: r.Rules, Policy: r.Policy, Nonce: r.Nonce,
	}
	if h, held := r.Held(); held && (decision == control.Approve || decision == control.Deny) {
		return s.AboutHalt(h)
	}
	e, waits := r.Extending()
	if !waits || decision == control.Withdraw || decision == control.Revoke {
		return s
	}
	if decision == control.Approve {
		s.Decision = control.Extend
	}
	s.Extension, s.ExtendBy, s.ExtendTo = e.Number, time.Duration(e.ForSeconds)*time.Second, e.Ends
	s.ExtendReason, s.ExtendNonce = e.Reason, e.Nonce
	return s
}

// Finding is a statement of a review with what it found.
func (s Statement) Finding(verdict string) Statement {
	s.Verdict = verdict
	return s
}

// AboutHalt is the statement about what holds the request.
func (s Statement) AboutHalt(h control.Halt) Statement {
	if s.Decision == control.Approve {
		s.Decision = control.Lift
	}
	s.Halt, s.HaltSession, s.HaltTarget, s.HaltLimit, s.HaltCount = h.Number, h.Session, h.Target, h.Limit, h.Count
	s.HaltLifted, s.HaltAt, s.HaltNonce = h.Lifted, h.At, h.Nonce
	return s
}

func emergency(r control.Request) string {
	if !r.Emergency || r.Owes == nil {
		return ""
	}
	return r.Owes.String()
}

func sheet(r control.Request) string {
	if r.Sheet == nil {
		return ""
	}
	return r.Sheet.String()
}

// records names what is kept of a session that makes the recording a second copy of something: an approver answers for that too.
func records(r *control.Record) []string {
	if r == nil {
		return nil
	}
	var words []string
	for _, kept := range []struct {
		word string
		is   bool
	}{{"keystrokes", r.Keystrokes}, {"full-files", r.Files == "full"}, {"full-streams", r.Streams < 0}, {"full-forwards", r.Forwards < 0}} {
		if kept.is {
			words = append(words, kept.word)
		}
	}
	if r.RetainDays > 0 {
		words = append(words, fmt.Sprintf("retain-%dd", r.RetainDays))
	}
	return words
}

// Digest is the digest of a request as it was asked, which nothing that happens later changes. What older requests did not have is
// left out where there is none.
func Digest(r control.Request) string {
	h := sha256.New()
	fmt.Fprintf(h, "postern request v1\nid: %s\nperson: %s\nkey: %s\ntargets: %s\ncapabilities: %s\nreason: %q\nfor: %d\ncreated: %s\n",
		r.ID, r.Person, r.Key, strings.Join(r.Targets, " "), strings.Join(r.Capabilities, " "), r.Reason, r.ForSeconds, stamp(r.Created))
	if len(r.Destinations) > 0 {
		fmt.Fprintf(h, "destinations: %s\n", strings.Join(r.Destinations, " "))
	}
	if words := records(r.Record); len(words) > 0 {
		fmt.Fprintf(h, "records: %s\n", strings.Join(words, " "))
	}
	if text := emergency(r); text != "" {
		fmt.Fprintf(h, "emergency: %s\n", text)
	}
	if text := sheet(r); text != "" {
		fmt.Fprintf(h, "sheet: %s\n", text)
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}

// Text is the statement as it is shown and signed. It ends with a newline.
func (s Statement) Text() string {
	var b strings.Builder
	b.WriteString(first + "\n")
	for _, f := range s.fields() {
		b.WriteString(f.name + ": " + f.value + "\n")
	}
	return b.String()
}

type field struct{ name, value string }

func (s Statement) fields() []field {
	fs := []field{{"ca", s.CA}, {"decision", s.Decision}, {"person", s.Person}}
	if s.Request != "" {
		fs = append(fs,
			field{"request", s.Request},
			field{"digest", s.Digest},
			field{"requester", s.Requester},
			field{"targets", strings.Join(s.Targets, " ")},
			field{"capabilities", strings.Join(s.Capabilities, " ")},
		)
		if len(s.Destinations) > 0 {
			fs = append(fs, field{"destinations", strings.Join(s.Destinations, " ")})
		}
		if len(s.Records) > 0 {
			fs = append(fs, field{"records", strings.Join(s.Records, " ")})
		}
		if s.Emergency != "" {
			fs = append(fs, field{"emergency", s.Emergency})
		}
		if s.Sheet != "" {
			fs = append(fs, field{"sheet", s.Sheet})
		}
		fs = append(fs,
			field{"for", s.For.String()},
			field{"not-after", stamp(s.NotAfter)},
			field{"reason", strconv.Quote(s.Reason)},
			field{"rules", strings.Join(s.Rules, " ")},
			field{"policy", s.Policy},
			field{"nonce", s.Nonce},
		)
		if s.Extension > 0 {
			fs = append(fs,
				field{"extension", strconv.Itoa(s.Extension)},
				field{"extend-by", s.ExtendBy.String()},
				field{"extend-to", stamp(s.ExtendTo)},
				field{"extend-reason", strconv.Quote(s.ExtendReason)},
				field{"extend-nonce", s.ExtendNonce},
			)
		}
		if s.Halt > 0 {
			fs = append(fs, s.haltFields()...)
		}
	} else {
		fs = append(fs, field{"target", s.Target}, field{"sequence", strconv.FormatUint(s.Sequence, 10)})
		if s.For > 0 {
			fs = append(fs, field{"for", s.For.String()})
		}
	}
	if s.Verdict != "" {
		fs = append(fs, field{"verdict", s.Verdict})
	}
	if s.Decision != control.Approve && s.Decision != control.Extend && s.Decision != control.Lift {
		fs = append(fs, field{"because", strconv.Quote(s.Because)})
	}
	return fs
}

func (s Statement) haltFields() []field {
	fs := []field{{"halt", strconv.Itoa(s.Halt)}}
	if s.HaltSession != "" {
		fs = append(fs, field{"halt-session", s.HaltSession}, field{"halt-target", s.HaltTarget})
	}
	return append(fs,
		field{"halt-limit", s.HaltLimit},
		field{"halt-count", strconv.FormatUint(s.HaltCount, 10)},
		field{"halt-lifted", strconv.FormatUint(s.HaltLifted, 10)},
		field{"halt-at", stamp(s.HaltAt)},
		field{"halt-nonce", s.HaltNonce},
	)
}

// Parse reads a statement. Anything that Text would not have written is an error.
func Parse(text string) (Statement, error) {
	lines := strings.Split(text, "\n")
	if lines[0] != first {
		return Statement{}, fmt.Errorf("statement: first line is not %q", first)
	}
	var s Statement
	for _, line := range lines[1:] {
		if line == "" {
			continue
		}
		name, value, ok := strings.Cut(line, ": ")
		if !ok {
			return Statement{}, fmt.Errorf("statement: line %q", line)
		}
		if err := s.set(name, value); err != nil {
			return Statement{}, fmt.Errorf("statement: %s: %w", name, err)
		}
	}
	if s.Text() != text {
		return Statement{}, fmt.Errorf("statement: not in canonical form")
	}
	return s, nil
}

func (s *Statement) set(name, value string) (err error) {
	switch name {
	case "ca":
		s.CA = value
	case "decision":
		s.Decision = value
	case "person":
		s.Person = value
	case "request":
		s.Request = value
	case "digest":
		s.Digest = value
	case "requester":
		s.Requester = value
	case "targets":
		s.Targets = strings.Fields(value)
	case "capabilities":
		s.Capabilities = strings.Fields(value)
	case "destinations":
		s.Destinations = strings.Fields(value)
	case "records":
		s.Records = strings.Fields(value)
	case "emergency":
		s.Emergency = value
	case "sheet":
		s.Sheet = value
	case "for":
		s.For, err = time.ParseDuration(value)
	case "not-after":
		s.NotAfter, err = time.Parse(time.RFC3339, value)
	case "reason":
		s.Reason, err = strconv.Unquote(value)
	case "rules":
		s.Rules = strings.Fields(value)
	case "policy":
		s.Policy = value
	case "nonce":
		s.Nonce = value
	case "extension":
		s.Extension, err = strconv.Atoi(value)
	case "extend-by":
		s.ExtendBy, err = time.ParseDuration(value)
	case "extend-to":
		s.ExtendTo, err = time.Parse(time.RFC3339, value)
	case "extend-reason":
		s.ExtendReason, err = strconv.Unquote(value)
	case "extend-nonce":
		s.ExtendNonce = value
	case "halt", "halt-session", "halt-target", "halt-limit", "halt-count", "halt-lifted", "halt-at", "halt-nonce":
		return s.setHalt(name, value)
	case "target":
		s.Target = value
	case "sequence":
		s.Sequence, err = strconv.ParseUint(value, 10, 64)
	case "verdict":
		s.Verdict = value
		if s.Decision != control.Review || value != control.Justified && value != control.Misused {
			return fmt.Errorf("%q of decision %s", value, s.Decision)
		}
	case "because":
		s.Because, err = strconv.Unquote(value)
	default:
		return fmt.Errorf("unknown field")
	}
	return err
}

func (s *Statement) setHalt(name, value string) (err error) {
	switch name {
	case "halt":
		s.Halt, err = strconv.Atoi(value)
	case "halt-session":
		s.HaltSession = value
	case "halt-target":
		s.HaltTarget = value
	case "halt-limit":
		s.HaltLimit = value
	case "halt-count":
		s.HaltCount, err = strconv.ParseUint(value, 10, 64)
	case "halt-lifted":
		s.HaltLifted, err = strconv.ParseUint(value, 10, 64)
	case "halt-at":
		s.HaltAt, err = time.Parse(time.RFC3339, value)
	case "halt-nonce":
		s.HaltNonce = value
	}
	return err
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
