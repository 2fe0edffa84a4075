package ca

import (
	"maps"
	"slices"
	"strings"
	"time"

	"postern/ca/auditlog"
	"postern/ca/statement"
	"postern/internal/control"
	"postern/internal/store"
)

// revocationSerial names the row that numbers revocations, beside those of the CAs.
const revocationSerial = "revocation"

// maxHold bounds how long a revocation may also keep away what it hits: longer belongs into the policy, where it is seen.
const maxHold = 31 * 24 * time.Hour

// Cut is what somebody wants revoked.
type Cut struct {
	Target  string        // control.ParseTarget
	For     time.Duration // for so long nothing that it hits is given anew; 0: it may be asked for again at once
	Because string
}

// Reach is what a revocation would hit now.
func (ca *CA) Reach(c Caller, cut Cut) (control.Reach, error) {
	reach := control.Reach{Target: cut.Target}
	err := ca.db.View(func(tx *store.Tx) error {
		t, err := ca.cutting(c, &cut)
		if err != nil {
			return err
		}
		reach.Target = t.String()
		found, err := aliveOf(tx, t)
		if err != nil {
			return err
		}
		hit, err := loadAll(tx, found)
		if err != nil {
			return err
		}
		reach.Grants, reach.Hosts = len(hit), hostsOf(hit)
		for _, r := range hit[:min(len(hit), control.MaxReach)] {
			reach.Requests = append(reach.Requests, ca.shown(r).Request)
		}
		for i := range hit {
			r := &hit[i]
			for _, i := range r.Issued {
				if ca.now().Before(i.Until) {
					reach.Certificates++
				}
			}
		}
		sessions, err := hitSessions(tx, t, hit)
		if err != nil {
			return err
		}
		reach.Sessions, reach.Live = sessions[:min(len(sessions), control.MaxReach)], map[string]int{}
		for _, s := range sessions {
			reach.Live[s.Bastion]++
		}
		reach.Followed, err = ca.followed(tx, c, t, hit)
		return err
	})
	return reach, err
}

func hostsOf(hit []request) []string {
	hosts := map[string]bool{}
	for i := range hit {
		for _, t := range hit[i].Targets {
			_, host, _ := strings.Cut(t, "@")
			hosts[host] = true
		}
	}
	return slices.Sorted(maps.Keys(hosts))
}

// CutStatement is the text that the caller would sign for a revocation.
func (ca *CA) CutStatement(c Caller, cut Cut) (string, error) {
	because, err := ca.because(control.Revoke, cut.Because)
	if err != nil {
		return "", err
	}
	cut.Because = because
	var text string
	err = ca.db.View(func(tx *store.Tx) error {
		t, err := ca.cutting(c, &cut)
		if err != nil {
			return err
		}
		s, err := ca.cutStatement(tx, c, t, cut)
		text = s.Text()
		return err
	})
	return text, err
}

// hitSessions lists the live sessions that go with the requests, or that the target names by themselves.
func hitSessions(tx *store.Tx, t control.Target, hit []request) ([]control.Session, error) {
	var list []control.Session
	ofRequest := idsOf(hit)
	err := tx.Scan([]byte(openRows), func(k, _ []byte) error {
		s, err := read[control.Session](tx, key(sessionRows, string(k[len(openRows):])))
		if err != nil || !s.Ended.IsZero() {
			return err
		}
		if ofRequest[s.Request] || t.Hits(control.TraitsOf(s)) {
			list = append(list, s)
		}
		return nil
	})
	return list, err
}

func idsOf(hit []request) map[string]bool {
	ids := make(map[string]bool, len(hit))
	for i := range hit {
		ids[hit[i].ID] = true
	}
	return ids
}

// cutting checks who wants to cut what, and puts the target in its canonical form.
func (ca *CA) cutting(c Caller, cut *Cut) (control.Target, error) {
	if !ca.May(c, "revoke") {
		return nil, refuse("%s may not revoke: no rule permits it; approvers and requesters withdraw instead: postern withdraw ID", c.Name)
	}
	if cut.For < 0 || cut.For > maxHold || cut.For%time.Second != 0 {
		return nil, refuse("--for %s is not a time in whole seconds up to %s", cut.For, maxHold)
	}
	t, err := control.ParseTarget(cut.Target)
	if err != nil {
		return nil, refuse("%v", err)
	}
	for i, s := range t {
		if t[i], err = ca.byName(s); err != nil {
			return nil, err
		}
	}
	if cut.For > 0 && (t.Names("request") || t.Names("serial")) {
		return nil, refuse("%s ends once and for all; --for is for people, keys, hosts, accounts, approvers and bastions", t)
	}
	return t, nil
}

// byName replaces the alias of a host by the name that certificates speak of.
func (ca *CA) byName(s control.Selector) (control.Selector, error) {
	account, host, both := strings.Cut(s.Value, "@")
	if s.Kind != "account" && s.Kind != "host" {
		return s, nil
	}
	if !both {
		host = s.Value
	}
	if h, ok := ca.policy.Load().Host(host); ok {
		host = h.Name // one that left the policy may have grants all the same
	}
	if both {
		host = account + "@" + host
	}
	s.Value = host
	return s, nil
}

// Revoke cuts a request, or everything given so far that a target names. It is a signed statement of somebody whom the policy lets
// revoke.
func (ca *CA) Revoke(c Caller, cut Cut, signature []byte) (control.Revocation, error) {
	var err error
	if cut.Because, err = ca.because(control.Revoke, cut.Because); err != nil {
		return control.Revocation{}, err
	}
	var rev control.Revocation
	err = ca.db.Update(func(tx *store.Tx) error {
		rev, err = ca.revoke(tx, c, cut, signature)
		return err
	})
	if err == nil {
		ca.news.tell()
	}
	return rev, err
}

func (ca *CA) revoke(tx *store.Tx, c Caller, cut Cut, signature []byte) (control.Revocation, error) {
	rev := control.Revocation{Reason: cut.Because, By: c.Name, Signature: string(signature)}
	t, err := ca.cutting(c, &cut)
	if err != nil {
		return rev, err
	}
	hit, err := aliveOf(tx, t)
	if err != nil {
		return rev, err
	}
	s, err := ca.cutStatement(tx, c, t, cut)
	if err != nil {
		return rev, err
	}
	rev.Statement = s.Text()
	rev.Name(t)
	if _, err := ca.checkSignature(tx, c.Name, rev.Statement, signature, false, false); err != nil {
		return rev, err
	}
	if cut.For > 0 {
		rev.Holds = ca.now().UTC().Add(cut.For).Truncate(time.Second)
	}
	return ca.cutFound(tx, rev, hit)
}

// cutStatement is what revoking says. For a target that is no request its sequence rises with each revocation of that target, so that
// an old signature does not cut again.
func (ca *CA) cutStatement(tx *store.Tx, c Caller, t control.Target, cut Cut) (statement.Statement, error) {
	if t.Names("request") {
		r, err := ca.visible(tx, c, t[0].Value)
		if err != nil {
			return statement.Statement{}, err
		}
		if r.passed(ca.now()) != "" || !r.live() {
			return statement.Statement{}, refuse("%s is %s; nothing of it is alive", r.ID, r.State)
		}
		return statement.About(r.Request, ca.keys.Name, control.Revoke, c.Name, cut.Because), nil
	}
	n, err := last(tx, key(serialRows, "revoked/"+t.String()))
	return statement.Statement{
		CA: ca.keys.Name, Decision: control.Revoke, Person: c.Name, Target: t.String(), Sequence: n, For: cut.For, Because: cut.Because,
	}, err
}

// traits are what a target can name of a request.
func (r *request) traits() control.Traits {
	t := r.Request.Traits()
	for _, i := range r.Issued {
		if i.CA == userCA {
			t.Serials, t.Keys = append(t.Serials, i.Serial), append(t.Keys, i.Key)
		}
	}
	for _, v := range r.carriers() {
		t.Approvers, t.Keys = append(t.Approvers, v.Person), append(t.Keys, v.Key)
	}
	return t
}

// cutFound is cut for requests that were found and not read. So many are not read at all: they are moved later.
func (ca *CA) cutFound(tx *store.Tx, rev control.Revocation, found []alive) (control.Revocation, error) {
	if len(found) > partBytes/leastWeight {
		return ca.strike(tx, rev, found, nil)
	}
	hit, err := loadAll(tx, found)
	if err != nil {
		return rev, err
	}
	return ca.cut(tx, rev, hit)
}

// cut ends requests by a revocation, in the same update unless they are too large for it.
func (ca *CA) cut(tx *store.Tx, rev control.Revocation, hit []request) (control.Revocation, error) {
	atOnce, err := fits(hit, rev.Reason)
	if err != nil {
		return rev, err
	}
	if !atOnce {
		return ca.strike(tx, rev, aliveIn(hit), nil)
	}
	return ca.strike(tx, rev, aliveIn(hit), hit)
}

// strike numbers a revocation, names what it hits, and logs it. Everybody who follows the set learns of it once the transaction is durable. What is moved
// now is in the log before it; the others follow, and are in the log after it.
func (ca *CA) strike(tx *store.Tx, rev control.Revocation, hit []alive, now []request) (control.Revocation, error) {
	tx.FromReserve(0)
	var err error
	if rev.Seq, err = following(tx, key(serialRows, revocationSerial)); err != nil {
		return rev, err
	}
	target := rev.Target()
	if _, err = following(tx, key(serialRows, "revoked/"+target.String())); err != nil {
		return rev, err
	}
	rev.At, rev.Until = ca.now().UTC(), ca.now().UTC()
	if rev.Holds.After(rev.Until) {
		rev.Until = rev.Holds
	}
	for _, a := range hit {
		rev.Requests = append(rev.Requests, a.id)
		if a.notAfter.After(rev.Until) {
			rev.Until = a.notAfter
		}
	}
	for i := range now {
		now[i].CutBy = rev.Seq
		if err := ca.become(tx, &now[i], control.Revoked, rev.Reason); err != nil {
			return rev, err
		}
	}
	if err := ca.lasting(tx, &rev, target); err != nil {
		return rev, err
	}
	if err := ca.record(tx, auditlog.Entry{Type: auditlog.TypeRevocation, Actor: rev.By, Revocation: &rev}); err != nil {
		return rev, err
	}
	if err := tx.Set(numbered(activeRows, rev.Seq), nil); err != nil {
		return rev, err
	}
	if len(now) < len(hit) {
		if err := ca.later(tx, rev); err != nil {
			return rev, err
		}
	}
	return rev, write(tx, numbered(revocationRows, rev.Seq), rev)
}

// lasting is what stays of a revocation: a key that was revoked by itself is dead for good, a bastion that was is as dead as its key, and one
// with a time holds until then.
func (ca *CA) lasting(tx *store.Tx, rev *control.Revocation, t control.Target) error {
	if !rev.Holds.IsZero() {
		return tx.Set(numbered(holdingRows, rev.Seq), nil)
	}
	if len(t) != 1 {
		return nil
	}
	switch t[0].Kind {
	case "key":
		rev.Until = time.Time{}
		return tx.Set(key(deadKeyRows, t[0].Value), nil)
	case "bastion":
		rev.Until = time.Time{}
		if b, ok := ca.policy.Load().Bastion(t[0].Value); ok {
			return tx.Set(key(deadKeyRows, b.Key.Fingerprint), nil)
		}
	}
	return nil
}

// held refuses what a revocation keeps away for a time.
func (ca *CA) held(tx *store.Tx, t control.Traits) error {
	now := ca.now()
	return tx.Scan([]byte(holdingRows), func(k, _ []byte) error {
		rev, err := read[control.Revocation](tx, append([]byte(revocationRows), k[len(holdingRows):]...))
		if err == nil && now.Before(rev.Holds) && rev.Target().Hits(t) {
			err = refuse("%s is revoked by %s until %s: %s", rev.Target(), rev.By, rev.Holds.Format(time.RFC3339), rev.Reason)
		}
		return err
	})
}

// keyAlive refuses a key that was revoked; unlike a grant, a key stays dead.
func keyAlive(tx *store.Tx, print string) error {
	dead, err := tx.Has(key(deadKeyRows, print))
	if err == nil && dead {
		err = refuse("key %s was revoked", print)
	}
	return err
}
