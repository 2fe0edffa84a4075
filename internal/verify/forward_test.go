package verify

import (
	"postern/ca/auditlog"
	"postern/internal/control"
)

// attack is a lie in the log, and what a verifier says of it.
type attack struct {
	name, says string
	lie        func(*chronicle)
}

// newerAttacks are on where forwards may lead, and on what is recorded for whom.
var newerAttacks = []attack{
	{"keystrokes to a stranger", "no auditor signed for that", opened(func(s *control.Session) { s.KeystrokeKey = "K-00" })},
	{"keystrokes to the key of sessions", "no auditor signed for that", opened(func(s *control.Session) { s.KeystrokeKey = s.RecordingKey })},
	{"a session to the key of keystrokes", "no auditor signed for sessions", func(c *chronicle) {
		c.recordingKey("carol", control.Keystrokes)
		id := last(c).RecordingKey.ID
		opened(func(s *control.Session) { s.RecordingKey = id })(c)
	}},
	{"the purpose of a key changed", "signature", func(c *chronicle) {
		rewrite(c, auditlog.TypeRecordingKey, func(e *auditlog.Entry) { e.RecordingKey.Purpose = control.Keystrokes })
	}},
	{"a recording key with two purposes", "appears twice", func(c *chronicle) { c.write(c.entries[2]) }},
	{"keystrokes that were promised and not recorded", "they are not", func(c *chronicle) {
		c.grantedFor(typed)
		c.userCertificate("user", nil)
		c.sessionCertificate("S-1", nil)
		c.session("S-1", nil)
	}},
	{"destinations changed after the approvals", "does not have the digest", func(c *chronicle) {
		c.askFor(forward("db:443"))
		last(c).Request.Destinations = []string{"*:443"}
	}},
	{"destinations nobody approved", "does not say what the request says", func(c *chronicle) {
		c.askFor(forward("db:443", "*:*"))
		c.request.Destinations = []string{"db:443"}
		c.vote(control.Approve, "bob", "bob")
	}},
	{"recording that nobody approved", "does not say what the request says", func(c *chronicle) {
		c.askFor(nil)
		last(c).Request.Record = &control.Record{Files: "full"}
		c.vote(control.Approve, "bob", "bob")
	}},
	{"two destinations in one", "none as they are written", func(c *chronicle) { c.askFor(forward("db:443 *:*")) }},
	{"a destination in another form", "none as they are written", func(c *chronicle) { c.askFor(forward("DB:443")) }},
	{"a line in a destination", "none as they are written", func(c *chronicle) { c.askFor(forward("db:443\nreason: \"x\"")) }},
	{"destinations for a shell", "without forward-local", func(c *chronicle) {
		c.askFor(func(r *control.Request) { r.Destinations = []string{"db:443"} })
	}},
}

func forward(destinations ...string) func(*control.Request) {
	return func(r *control.Request) {
		r.Capabilities, r.Destinations = []string{"forward-local", "shell"}, destinations
	}
}

func typed(r *control.Request) { r.Record = &control.Record{Keystrokes: true, Files: "full"} }
