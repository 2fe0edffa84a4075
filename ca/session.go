package ca

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"time"
	"unicode"

	"golang.org/x/crypto/ssh"

	"postern/ca/auditlog"
	"postern/internal/control"
	"postern/internal/store"
	"postern/policy"
)

// A session whose bastion has said nothing this long after its deadline is given up as lost.
const lostAfter = 5 * time.Minute

// OpenSession is the one call a bastion makes for a session. Everything that was true when the grant was made
// is looked at again: the certificate is one we signed and not merely one that carries our signature, the grant
// lives, the policy in force still allows it with the approvals there are, nothing is revoked.
func (ca *CA) OpenSession(c Caller, open control.OpenRequest) (control.OpenReply, error) {
	if c.Kind != "bastion" {
		return control.OpenReply{}, refuse("only bastions open sessions; this key belongs to %s %s", c.Kind, c.Name)
	}
	cert, err := parseCertificate(open.Certificate)
	if err != nil {
		return control.OpenReply{}, refuse("certificate: %v", err)
	}
	if len(open.Client) > 200 || tidy(open.Client) != open.Client {
		return control.OpenReply{}, refuse("client %.200q is no address", open.Client)
	}
	pub, err := parseKey(open.SessionKey)
	if err != nil {
		return control.OpenReply{}, refuse("session key: %v", err)
	}
	var reply control.OpenReply
	var stop stopped
	err = ca.db.Update(func(tx *store.Tx) error {
		stop = stopped{}
		if err := keyAlive(tx, c.Key); err != nil { // it was when the bastion gave the command
			return err
		}
		r, err := ca.ofCertificate(tx, cert)
		if err != nil {
			return err
		}
		reply, err = ca.open(tx, c, r, cert, pub, open)
		if errors.As(err, &stop) {
			return nil // the session does not open, and that is in the log
		}
		return err
	})
	if err == nil && stop.error != nil {
		ca.news.tell()
		return control.OpenReply{}, stop.error
	}
	return reply, err
}

// ofCertificate finds the live request that a user certificate came of.
func (ca *CA) ofCertificate(tx *store.Tx, cert *ssh.Certificate) (request, error) {
	if cert.CertType != ssh.UserCert || line(cert.SignatureKey) != line(ca.keys.User.PublicKey()) {
		return request{}, refuse("this is not a user certificate of %s", ca.keys.Name)
	}
	row, err := read[issued](tx, numbered(issuedRows+userCA+"/", cert.Serial))
	sum := sha256.Sum256(cert.Marshal())
	if errors.Is(err, store.ErrNotFound) || (err == nil && row.Digest != hex.EncodeToString(sum[:])) {
		return request{}, refuse("certificate %d carries our signature but was never issued; it is forged", cert.Serial)
	}
	if err != nil {
		return request{}, err
	}
	if !ca.now().Before(row.Until) { // an extension moves the end of the grant, and not that of what was signed before
		return request{}, refuse("certificate %d is over; if the grant was extended, take another with: postern certificate %s", cert.Serial, row.Request)
	}
	if row.Request == "" {
		return request{}, refuse("certificate %d opens no sessions", cert.Serial)
	}
	if err := keyAlive(tx, row.Key); err != nil {
		return request{}, err
	}
	if err := ca.ownKey(tx, strings.Fields(cert.KeyId + " ?")[0], cert.Key); err != nil {
		return request{}, err
	}
	return load(tx, row.Request)
}

func (ca *CA) open(tx *store.Tx, c Caller, r request, cert *ssh.Certificate, pub ssh.PublicKey, open control.OpenRequest) (control.OpenReply, error) {
	var reply control.OpenReply
	now := ca.now().UTC()
	if r.Sheet != nil {
		return reply, refuse("%s is a sealed grant, for when there is no CA; ask for an ordinary one with: postern request", r.ID)
	}
	if r.State != control.Granted || !now.Before(r.Ends) {
		return reply, refuse("%s is %s; ask again with: postern request", r.ID, ca.shown(r).State)
	}
	set := ca.policy.Load()
	targets, err := canonical(set, []string{open.Target})
	if err != nil {
		return reply, err
	}
	target := targets[0]
	if !slices.Contains(r.Targets, target) || !slices.Contains(cert.ValidPrincipals, target) {
		return reply, refuse("%s is not for %s (it is for %s)", r.ID, open.Target, strings.Join(r.Targets, ", "))
	}
	traits := r.traits()
	traits.Targets, traits.Bastion = []string{target}, c.Name
	if err := ca.held(tx, traits); err != nil {
		return reply, err
	}
	if err := notHeld(tx, r); err != nil {
		return reply, err
	}
	d, err := ca.stillApproved(tx, r)
	if err != nil {
		return reply, err
	}
	recordingKey, err := ca.currentKey(tx, "")
	if err != nil {
		return reply, err
	}
	if d.Keystrokes {
		key, err := ca.currentKey(tx, control.Keystrokes)
		if err != nil {
			return reply, err
		}
		bare := key.Bare()
		reply.KeystrokeKey = &bare
	}
	if reply.Seq, err = last(tx, key(serialRows, revocationSerial)); err != nil {
		return reply, err
	}
	if reply.Session.ID, err = unused(tx, sessionRows, "S-", 10); err != nil {
		return reply, err
	}
	reply.Session = control.Session{
		ID: reply.Session.ID, Request: r.ID, Person: r.Person, Key: ssh.FingerprintSHA256(cert.Key), Serial: cert.Serial,
		Target: target, Bastion: c.Name, Client: open.Client, Started: now, Deadline: r.Ends, RecordingKey: recordingKey.ID,
		RetainDays: d.RetainDays, Limits: d.Limits.String(),
	}
	if reply.KeystrokeKey != nil {
		reply.Session.KeystrokeKey = reply.KeystrokeKey.ID
	}
	reply.Emergency = r.Emergency
	reply.Capabilities, reply.Destinations, reply.Environment = d.Allowed, d.Destinations, d.Environment
	reply.HoldSeconds = int64(d.Hold / time.Second)
	reply.IdleSeconds, reply.Record, reply.RecordingKey = int64(d.Idle/time.Second), record(d), recordingKey.Bare()
	if reply.Used, err = used(tx, r.ID); err != nil {
		return reply, err
	}
	crossings, err := ca.assess(tx, c, r, reply.Session)
	if err != nil {
		return reply, err
	}
	if err := ca.admit(tx, c, &r, set, pub, &reply); err != nil {
		return reply, err
	}
	return reply, ca.crossedAtOpening(tx, c, crossings, &reply)
}

// admit signs the session certificate and writes that the session began.
func (ca *CA) admit(tx *store.Tx, c Caller, r *request, set *policy.Set, pub ssh.PublicKey, reply *control.OpenReply) error {
	ca.urgent(tx, *r)
	_, hostName, _ := strings.Cut(reply.Session.Target, "@")
	host, ok := set.Host(hostName)
	bastion, known := set.Bastion(c.Name)
	if !ok || !known {
		return refuse("%s left the policy", reply.Session.Target)
	}
	reply.HostName, reply.Address, reply.HostKey = host.Name, host.Address, host.HostKey
	cert := &ssh.Certificate{
		Key: pub, CertType: ssh.UserCert, KeyId: r.Person + " " + r.ID + " " + reply.Session.ID,
		ValidPrincipals: []string{reply.Session.Target},
		Permissions: ssh.Permissions{
			CriticalOptions: map[string]string{"source-address": strings.Join(bastion.Sources, ",")},
			Extensions:      map[string]string{RequestExtension: r.ID, ApprovalsExtension: approvalsDigest(*r)},
		},
	}
	permit(cert, reply.Capabilities)
	until := reply.Session.Started.Add(sessionLife)
	if until.After(r.Ends) {
		until = r.Ends
	}
	ca.valid(cert, until)
	made, err := ca.sign(tx, sessionCA, cert, auditlog.Certificate{Request: r.ID, Session: reply.Session.ID})
	if err != nil {
		return err
	}
	reply.Certificate = made.Certificate
	r.Issued = append(r.Issued, issued{CA: sessionCA, Serial: made.Serial, Until: made.NotAfter})
	if err := r.save(tx); err != nil {
		return err
	}
	session := reply.Session
	if err := ca.record(tx, auditlog.Entry{Type: auditlog.TypeSession, Actor: c.Name, Session: &session}); err != nil {
		return err
	}
	return saveSession(tx, session)
}

func saveSession(tx *store.Tx, s control.Session) error {
	if err := write(tx, key(sessionRows, s.ID), s); err != nil {
		return err
	}
	if s.Ended.IsZero() || !s.Sealed {
		return tx.Set(key(openRows, s.ID), nil)
	}
	return tx.Delete(key(openRows, s.ID))
}

// Progress takes what a bastion tells of a recording of its own. It only ever grows: a head that was logged is
// never replaced by an earlier one.
func (ca *CA) Progress(c Caller, p control.Progress) error {
	if c.Kind != "bastion" {
		return refuse("only bastions report recordings; this key belongs to %s %s", c.Kind, c.Name)
	}
	if err := checkProgress(p); err != nil {
		return err
	}
	p.End = tidy(p.End)
	return ca.db.Update(func(tx *store.Tx) error {
		s, err := read[control.Session](tx, key(sessionRows, p.Session))
		if errors.Is(err, store.ErrNotFound) || (err == nil && s.Bastion != c.Name) {
			return refuse("%s has no session %s", c.Name, p.Session)
		}
		if err != nil {
			return err
		}
		if s.Sealed {
			return nil // told before; the first word stands
		}
		if p.Frames < s.Frames || p.Segments < s.Segments {
			return refuse("the recording of %s shrank: %d frames and %d segments, it had %d and %d", p.Session, p.Frames, p.Segments, s.Frames, s.Segments)
		}
		s.Frames, s.Head, s.Segments, s.SealedHead = p.Frames, p.Head, p.Segments, p.SealedHead
		s.Sealed, s.Interrupted = p.Sealed, s.Interrupted || p.Interrupted
		if err := checkCounts(s, p.Counts); err != nil {
			return err
		}
		if p.End == "" || !s.Ended.IsZero() && s.End != "lost" {
			p.Counts = nil // told before
		} else {
			s.Ended, s.End = ca.now().UTC(), p.End
			if err := spend(tx, s, p.Counts); err != nil {
				return err
			}
			if err := forgetLifts(tx, s.ID); err != nil {
				return err
			}
		}
		if err := ca.record(tx, auditlog.Entry{Type: auditlog.TypeProgress, Actor: c.Name, Progress: &p}); err != nil {
			return err
		}
		if err := saveSession(tx, s); err != nil || s.Ended.IsZero() {
			return err
		}
		return ca.spent(tx, s.Request)
	})
}

func checkProgress(p control.Progress) error {
	for _, h := range []string{p.Head, p.SealedHead} {
		if b, err := hex.DecodeString(h); err != nil || (len(b) != 0 && len(b) != sha256.Size) {
			return refuse("head %q is not 64 hex digits", h)
		}
	}
	if len(p.End) > 200 {
		return refuse("the end of %s is described in %d bytes, at most 200 fit", p.Session, len(p.End))
	}
	return nil
}

// tidy is what a machine tells as the log keeps it, on one line: it is shown on terminals, and what is told must not be lost for how it is written.
func tidy(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, text)
}

// Sessions lists sessions, newest first. People see their own; auditors and those who may revoke see all.
func (ca *CA) Sessions(c Caller, live bool) ([]control.Session, error) {
	everyone := ca.May(c, "audit") || ca.May(c, "revoke")
	rows := sessionRows
	if live {
		rows = openRows
	}
	var list []control.Session
	err := ca.db.View(func(tx *store.Tx) error {
		return tx.Scan([]byte(rows), func(k, _ []byte) error {
			s, err := read[control.Session](tx, key(sessionRows, string(k[len(rows):])))
			if err != nil {
				return err
			}
			if (everyone || s.Person == c.Name) && (!live || s.Ended.IsZero()) {
				list = append(list, s)
			}
			return nil
		})
	})
	slices.SortFunc(list, func(a, b control.Session) int { return b.Started.Compare(a.Started) })
	return list, err
}

// sweepSessions gives up sessions whose bastion never told how they ended.
func (ca *CA) sweepSessions(now time.Time) error {
	var lost []string
	err := ca.db.View(func(tx *store.Tx) error {
		return tx.Scan([]byte(openRows), func(k, _ []byte) error {
			id := string(k[len(openRows):])
			s, err := read[control.Session](tx, key(sessionRows, id))
			if err == nil && s.Ended.IsZero() && now.After(s.Deadline.Add(lostAfter)) {
				lost = append(lost, id)
			}
			return err
		})
	})
	for _, id := range lost {
		if err == nil {
			err = ca.db.Update(func(tx *store.Tx) error { return ca.lose(tx, id) })
		}
	}
	return err
}

func (ca *CA) lose(tx *store.Tx, id string) error {
	s, err := read[control.Session](tx, key(sessionRows, id))
	if err != nil || !s.Ended.IsZero() {
		return err
	}
	s.Ended, s.End = ca.now().UTC(), "lost"
	if err := forgetLifts(tx, s.ID); err != nil {
		return err
	}
	e := auditlog.Entry{Type: auditlog.TypeProgress, Actor: "ca", Progress: &control.Progress{
		Session: id, Frames: s.Frames, Head: s.Head, Segments: s.Segments, SealedHead: s.SealedHead, End: s.End,
	}}
	if err := ca.record(tx, e); err != nil {
		return err
	}
	return saveSession(tx, s)
}

func parseKey(text string) (ssh.PublicKey, error) {
	pub, _, options, rest, err := ssh.ParseAuthorizedKey([]byte(text))
	switch {
	case err != nil:
		return nil, err
	case len(options) > 0 || len(strings.TrimSpace(string(rest))) > 0:
		return nil, errors.New("more than one public key line")
	}
	if _, ok := pub.(*ssh.Certificate); ok {
		return nil, errors.New("it is a certificate, not a public key")
	}
	return pub, nil
}

func parseCertificate(text string) (*ssh.Certificate, error) {
	pub, _, _, _, err := ssh.ParseAuthorizedKey([]byte(text))
	if err != nil {
		return nil, err
	}
	cert, ok := pub.(*ssh.Certificate)
	if !ok {
		return nil, errors.New("it is a plain public key")
	}
	return cert, nil
}

// ParsePublicKey reads one public key in authorized_keys form that a person handed in.
func ParsePublicKey(text string) (ssh.PublicKey, error) {
	pub, err := parseKey(text)
	if err != nil {
		return nil, refuse("public key: %v", err)
	}
	return pub, nil
}
