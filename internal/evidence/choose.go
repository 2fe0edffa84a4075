package evidence

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"postern/ca/auditlog"
	"postern/internal/control"
)

// choice is what belongs to a request and some of its sessions.
type choice struct {
	request  string
	sessions []string
	entries  []auditlog.Entry // of all leaves
	wanted   map[int64]bool
	keys     map[string]bool // fingerprints of those that signed or were certified
	orders   map[string]bool // decisions of auditors by which a recording was destroyed
}

// choose finds the leaves that tell of a session with its request, or of a request with all its sessions.
func choose(leaves [][]byte, id string) (*choice, error) {
	c := &choice{wanted: map[int64]bool{0: true}, keys: map[string]bool{}, orders: map[string]bool{}}
	for i, leaf := range leaves {
		e, err := auditlog.Decode(leaf)
		if err != nil {
			return nil, fmt.Errorf("leaf %d: %w", i, err)
		}
		c.entries = append(c.entries, e)
	}
	if err := c.subject(id); err != nil {
		return nil, err
	}
	for _, e := range c.entries {
		if d := e.Deletion; d != nil && slices.Contains(c.sessions, d.Session) {
			for _, id := range d.Because {
				c.orders[id] = true
			}
		}
	}
	recordingKeys := map[string]bool{}
	for i, e := range c.entries {
		if c.tells(e) {
			c.wanted[int64(i)] = true
			c.involves(e)
			if e.Session != nil {
				recordingKeys[e.Session.RecordingKey], recordingKeys[e.Session.KeystrokeKey] = true, true
			}
		}
	}
	for i, e := range c.entries {
		if k := e.RecordingKey; k != nil && recordingKeys[k.ID] {
			c.wanted[int64(i)] = true
			c.involve(k.AuditKey)
		}
	}
	for i, e := range c.entries {
		if r := e.Revocation; r != nil && r.Kind == "key" && r.Scope == "" && c.keys[r.Value] {
			c.wanted[int64(i)] = true
		}
	}
	c.policies()
	return c, nil
}

// subject finds out what id names.
func (c *choice) subject(id string) error {
	id = strings.ToUpper(id)
	for _, e := range c.entries {
		if e.Session != nil && (e.Session.ID == id || e.Session.Request == id) {
			c.request = e.Session.Request
			c.sessions = append(c.sessions, e.Session.ID)
		}
		if e.Request != nil && e.Request.ID == id {
			c.request = id
		}
	}
	if c.request == "" {
		return fmt.Errorf("the log knows no request and no session %s; list them with: postern requests --all, postern sessions", id)
	}
	slices.Sort(c.sessions)
	return nil
}

// tells says whether a leaf is about the request or one of the sessions.
func (c *choice) tells(e auditlog.Entry) bool {
	ours := func(session string) bool { return slices.Contains(c.sessions, session) }
	switch {
	case e.Request != nil:
		return e.Request.ID == c.request
	case e.Vote != nil:
		return e.Vote.Request == c.request
	case e.State != nil:
		return e.State.Request == c.request
	case e.Extension != nil:
		return e.Extension.Request == c.request
	case e.Halt != nil:
		return e.Halt.Request == c.request
	case e.Certificate != nil:
		return e.Certificate.Request == c.request && (e.Certificate.Session == "" || ours(e.Certificate.Session))
	case e.Revocation != nil:
		return slices.Contains(e.Revocation.Requests, c.request)
	case e.Risk != nil:
		return e.Risk.Request == c.request
	case e.Cut != nil:
		return slices.ContainsFunc(e.Cut.Sessions, func(s control.CutSession) bool { return ours(s.Session) })
	case e.HostEnded != nil:
		return ours(e.HostEnded.Session)
	case e.Session != nil:
		return ours(e.Session.ID)
	case e.Progress != nil:
		return ours(e.Progress.Session)
	case e.Deletion != nil:
		return ours(e.Deletion.Session)
	case e.Receipt != nil:
		return ours(e.Receipt.Session)
	case e.Overdue != nil:
		return e.Overdue.Request == c.request
	case e.Sheet != nil:
		return e.Sheet.Request == c.request
	case e.SheetUse != nil:
		return e.SheetUse.Request == c.request
	case e.Custody != nil:
		return c.orders[e.Custody.ID] || e.Custody.Scope == "request:"+c.request || ours(strings.TrimPrefix(e.Custody.Scope, "session:"))
	}
	return false
}

// involves notes the keys of a leaf: what revoked one of them belongs to the evidence.
func (c *choice) involves(e auditlog.Entry) {
	switch {
	case e.Request != nil:
		c.keys[e.Request.Key] = true
	case e.Vote != nil:
		c.keys[e.Vote.Key] = true
	case e.Session != nil:
		c.keys[e.Session.Key] = true
	case e.Certificate != nil:
		c.involve(e.Certificate.Line)
	case e.Custody != nil:
		c.involve(e.Custody.AuditKey)
	}
}

func (c *choice) involve(line string) {
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line))
	if err != nil {
		return
	}
	if cert, ok := key.(*ssh.Certificate); ok {
		key = cert.Key
	}
	c.keys[ssh.FingerprintSHA256(key)] = true
}

// policies adds, for each leaf, the policy that was in force.
func (c *choice) policies() {
	last := int64(-1)
	for i, e := range c.entries {
		switch {
		case e.Policy != nil:
			last = int64(i)
		case c.wanted[int64(i)] && last >= 0:
			c.wanted[last] = true
		}
	}
}

func (c *choice) indexes() []int64 {
	return slices.SortedFunc(maps.Keys(c.wanted), func(a, b int64) int { return cmp.Compare(a, b) })
}
