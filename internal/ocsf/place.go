package ocsf

import (
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"

	"postern/ca/auditlog"
	"postern/internal/control"
)

// place gives an entry its class and fills what the class has places for; the rest of it stands under unmapped.
func (m *Mapper) place(e *Event, entry auditlog.Entry, data []byte) {
	e.Unmapped["entry"] = raw(entry, data)
	switch {
	case entry.Genesis != nil:
		m.Origin = entry.Genesis.Name
		e.entity(entityCreate, Entity{Name: entry.Genesis.Name, Type: "audit log"}, "the log of "+entry.Genesis.Name+" begins")
	case entry.Policy != nil:
		e.entity(entityUpdate, Entity{UID: entry.Policy.Digest, Name: "policy", Type: "policy"}, "a policy came into force")
	case entry.Request != nil:
		m.request(e, *entry.Request)
	case entry.Vote != nil:
		vote(e, *entry.Vote)
	case entry.State != nil:
		m.state(e, *entry.State)
	case entry.Extension != nil:
		m.extension(e, *entry.Extension)
	case entry.Halt != nil:
		halt := *entry.Halt
		e.entity(entityUpdate, Entity{UID: halt.Request, Name: halt.Request, Type: "access request"}, halt.Request+": "+halt.What())
		e.SeverityID, e.StatusDetail = medium, halt.State
	case entry.Certificate != nil:
		m.certificate(e, *entry.Certificate)
	case entry.Revocation != nil:
		m.revocation(e, *entry.Revocation)
	case entry.Risk != nil:
		e.entity(entityUpdate, Entity{UID: entry.Risk.Request, Name: entry.Risk.Request, Type: "access request"}, entry.Risk.Reason())
		e.SeverityID, e.StatusDetail = high, entry.Risk.Action
	case entry.Session != nil:
		m.session(e, *entry.Session)
	case entry.Progress != nil:
		m.progress(e, *entry.Progress, entry)
	case entry.Overdue != nil:
		late := *entry.Overdue
		e.entity(entityUpdate, Entity{UID: late.Request, Name: late.Request, Type: "access request"}, "the review of "+late.Request+", an emergency of "+late.Person+", is overdue")
		e.SeverityID = medium
	case entry.Sheet != nil:
		e.entity(entityUpdate, Entity{UID: entry.Sheet.Request, Name: entry.Sheet.Request, Type: "access request"}, "the sheet of "+entry.Sheet.Request+" was handed out")
		e.SeverityID = medium
	case entry.SheetUse != nil:
		u := *entry.SheetUse
		e.entity(entityUpdate, Entity{UID: u.Request, Name: u.Request, Type: "access request"}, u.Person+" used the sheet of "+u.Request+" on "+u.Target+" while the CA was away")
		e.SeverityID = high
	default:
		if !keeping(e, entry) {
			e.is(classBase, other)
			e.Message = "an entry of type " + entry.Type
			e.StatusID, e.Status = 0, "Unknown"
		}
	}
}

func (e *Event) entity(activity int, what Entity, message string) {
	e.is(classEntity, activity)
	e.Entity, e.Message = &what, message
}

func (m *Mapper) request(e *Event, r control.Request) {
	m.Requests[r.ID] = asked{r.Person, r.Targets, r.Capabilities}
	e.entity(entityCreate, Entity{UID: r.ID, Name: r.ID, Type: "access request"}, r.Person+" asks for "+strings.Join(r.Targets, ", "))
	e.Comment = r.Reason
	if r.Emergency {
		e.Message = r.Person + " has an emergency on " + strings.Join(r.Targets, ", ")
		e.SeverityID = medium
	}
}

func vote(e *Event, v auditlog.Vote) {
	e.entity(entityUpdate, Entity{UID: v.Request, Name: v.Request, Type: "access request"}, fmt.Sprintf("%s by %s of %s", v.Decision, v.Person, v.Request))
	if v.Decision != control.Approve && v.Decision != control.Extend && v.Decision != control.Lift {
		e.SeverityID = low
	}
	e.StatusDetail = v.Decision
	if v.Verdict == control.Misused {
		e.SeverityID = high
	}
	if v.Verdict != "" {
		e.Message += ": " + v.Verdict
		e.StatusDetail += " " + v.Verdict
	}
}

// state of a request: one that is granted gives its privileges to the person.
func (m *Mapper) state(e *Event, s auditlog.State) {
	r, known := m.Requests[s.Request]
	message := s.Request + " is " + s.State
	if s.State == control.Granted && known {
		e.is(classAccess, accessAssign)
		e.User, e.Privileges, e.Resources, e.Message = person(r.Person), r.Capabilities, resources(r.Targets), message
	} else {
		e.entity(entityUpdate, Entity{UID: s.Request, Name: s.Request, Type: "access request"}, message)
	}
	e.Comment, e.StatusDetail = s.Why, s.State
	switch s.State {
	case control.Pending, control.Approved, control.Granted:
	default:
		delete(m.Requests, s.Request)
	}
	if s.State == control.Denied || s.State == control.Revoked {
		e.SeverityID = medium
	}
}

// extension of a grant: when it is given, the privileges go on.
func (m *Mapper) extension(e *Event, x auditlog.Extension) {
	message := fmt.Sprintf("extension %d of %s is %s", x.Number, x.Request, x.State)
	if r, known := m.Requests[x.Request]; x.State == control.Granted && known {
		e.is(classAccess, accessAssign)
		e.User, e.Privileges, e.Resources, e.Message = person(r.Person), r.Capabilities, resources(r.Targets), message
	} else {
		e.entity(entityUpdate, Entity{UID: x.Request, Name: x.Request, Type: "access request"}, message)
	}
	e.Comment, e.StatusDetail = x.Reason, x.State
	if x.State == control.Denied {
		e.SeverityID = low
	}
}

func resources(targets []string) (list []Resource) {
	for _, t := range targets {
		list = append(list, Resource{Name: t, Type: "account"})
	}
	return list
}

// certificate of a user lets a person in, one of a session an account of a host; machines' own are entities.
func (m *Mapper) certificate(e *Event, c auditlog.Certificate) {
	message := fmt.Sprintf("the %s CA signed certificate %d", c.CA, c.Serial)
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(c.Line))
	cert, ok := key.(*ssh.Certificate)
	if err != nil || !ok || len(cert.ValidPrincipals) == 0 || c.CA != "user" && c.CA != "session" {
		e.entity(entityCreate, Entity{UID: fmt.Sprint(c.Serial), Name: fmt.Sprintf("%s certificate %d", c.CA, c.Serial), Type: "certificate"}, message)
		return
	}
	e.is(classAuthorize, authorizeAssign)
	e.Message, e.Privileges = message, cert.ValidPrincipals
	name, _, _ := strings.Cut(cert.KeyId, " ")
	if r, known := m.Requests[c.Request]; known {
		name = r.Person
	}
	e.User = &User{Name: name, UID: ssh.FingerprintSHA256(cert.Key), TypeID: 1, Type: "User"}
	e.Session = &Session{UID: c.Session, Created: int64(min(cert.ValidAfter, 1<<40)) * 1000, Expires: int64(min(cert.ValidBefore, 1<<40)) * 1000}
	if c.Session == "" {
		e.Session.UID = fmt.Sprintf("certificate %d", c.Serial)
	}
	_, host := split(cert.ValidPrincipals[0])
	e.Destination = &Endpoint{Hostname: host}
}

// revocation takes privileges from a person, or does away with something that gave them.
func (m *Mapper) revocation(e *Event, r control.Revocation) {
	message := fmt.Sprintf("%s revoked %s", r.By, r.Target())
	e.SeverityID = high
	name := ""
	switch asked, known := m.Requests[r.Value]; {
	case r.Kind == "person":
		name = r.Value
	case r.Kind == "request" && known:
		name = asked.Person
	}
	if name == "" {
		e.entity(entityDelete, Entity{UID: r.Target().String(), Name: r.Target().String(), Type: "grants by " + r.Kind}, message)
	} else {
		e.is(classAccess, accessRevoke)
		e.User, e.Message, e.Privileges = person(name), message, r.Requests
		if len(e.Privileges) == 0 {
			e.Privileges = []string{r.Target().String()}
		}
	}
	e.Comment = r.Reason
}

func (m *Mapper) session(e *Event, s control.Session) {
	m.Sessions[s.ID] = running{s.Person, s.Target, s.Client, s.Request, s.Bastion, s.Started}
	e.is(classSSH, sshOpen)
	e.Message = fmt.Sprintf("%s opens %s to %s", s.Person, s.ID, s.Target)
	m.ends(e, s.ID)
}

// ends fills in the two ends of a session that was opened before.
func (m *Mapper) ends(e *Event, id string) {
	s, known := m.Sessions[id]
	account, host := split(s.Target)
	session := &Session{UID: id}
	e.Actor = &Actor{Session: session}
	if !known {
		e.Destination = &Endpoint{Name: "unknown: the session began before the log was read"}
		return
	}
	session.Created = s.Started.UnixMilli()
	e.Source, e.Destination = endpoint(s.Client), &Endpoint{Name: s.Target, Hostname: host}
	e.AuthType, e.AuthTypeID = "Certificate Based", 1
	e.Actor.User = person(s.Person)
	e.Unmapped["account"], e.Unmapped["bastion"], e.Unmapped["request"] = account, s.Bastion, s.Request
}

// progress of a recording is traffic; the last says how the session ended.
func (m *Mapper) progress(e *Event, p control.Progress, entry auditlog.Entry) {
	activity, message := sshTraffic, fmt.Sprintf("%s has %d recorded frames", p.Session, p.Frames)
	switch p.End {
	case "":
	case "closed", "deadline":
		activity, message = sshClose, p.Session+" ended: "+p.End
	case "lost", "recorder":
		activity, message, e.SeverityID = sshFail, p.Session+" ended: "+p.End, high
	default:
		activity, message, e.SeverityID = sshReset, p.Session+" was cut: "+p.End, medium
	}
	e.is(classSSH, activity)
	e.Message, e.StatusDetail = message, p.End
	m.ends(e, p.Session)
	if p.Interrupted {
		e.SeverityID, e.StatusID, e.Status = high, 2, "Failure"
	}
	if p.End == "" {
		return
	}
	e.EndTime = entry.At.UnixMilli()
	if began := e.Actor.Session.Created; began > 0 && e.EndTime > began {
		e.Duration = e.EndTime - began
	}
	if p.Sealed { // nothing follows
		delete(m.Sessions, p.Session)
	}
}

// keeping is what auditors do with recordings and their keys.
func keeping(e *Event, entry auditlog.Entry) bool {
	switch {
	case entry.RecordingKey != nil:
		k := entry.RecordingKey
		e.entity(entityCreate, Entity{UID: k.ID, Name: "recording key of " + k.Month, Type: "recording key"}, k.Auditor+" adds the recording key of "+k.Month)
	case entry.View != nil:
		v := entry.View
		e.entity(entityRead, Entity{UID: strings.Join(v.Sessions, " "), Name: fmt.Sprintf("%d recordings", len(v.Sessions)), Type: "recording"}, entry.Actor+" looks at recordings: "+v.Kind)
		e.Comment, e.SeverityID = v.Reason, low
	case entry.Rewrap != nil:
		e.entity(entityUpdate, Entity{UID: entry.Rewrap.Key, Name: entry.Rewrap.Key, Type: "recording key"}, "a recording key is sealed to other auditors")
		e.Comment, e.SeverityID = entry.Rewrap.Reason, low
	case entry.Custody != nil:
		custody(e, *entry.Custody)
	case entry.Deletion != nil:
		d := entry.Deletion
		e.entity(entityDelete, Entity{UID: d.Session + d.Key, Name: d.Session + d.Key, Type: "recording"}, "a recording is to be destroyed")
		e.SeverityID = low
	case entry.Receipt != nil:
		r := entry.Receipt
		e.entity(entityDelete, Entity{UID: r.Session + r.Key, Name: r.Session + r.Key, Type: "recording"}, "a recording was destroyed")
		if e.SeverityID = low; r.Declined != "" {
			e.StatusID, e.Status, e.StatusDetail, e.Message = 2, "Failure", r.Declined, "a recording was not destroyed"
		}
	case entry.Cut != nil:
		id := fmt.Sprintf("revocation %d", entry.Cut.Seq)
		e.entity(entityUpdate, Entity{UID: id, Name: id, Type: "revocation"}, fmt.Sprintf("%s ended %d sessions for %s", entry.Cut.Bastion, len(entry.Cut.Sessions), id))
	case entry.HostEnded != nil:
		h := entry.HostEnded
		e.entity(entityUpdate, Entity{UID: h.Session, Name: h.Session, Type: "session"}, h.String())
		if h.Left > 0 {
			e.SeverityID, e.StatusID, e.Status, e.StatusDetail = high, 2, "Failure", "processes of a revoked session run on"
		}
	default:
		return false
	}
	return true
}

func custody(e *Event, c control.Custody) {
	activity := map[string]int{control.Shred: entityDelete, control.Enrol: entityCreate, control.Retire: entityDelete}[c.Act]
	if activity == 0 {
		activity = entityUpdate
	}
	e.entity(activity, Entity{UID: c.Scope, Name: c.Scope, Type: "custody of recordings"}, c.Auditor+": "+c.Act+" "+c.Scope)
	e.Comment, e.StatusDetail, e.SeverityID = c.Reason, c.Act, low
	if c.Act == control.Shred {
		e.SeverityID = medium
	}
}
