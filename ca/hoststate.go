package ca

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"postern/internal/control"
	"postern/internal/store"
)

const (
	// silentAfter is without a word from a host; it says one every twenty seconds.
	silentAfter = 45 * time.Second
	// oldAfter is what a host may take to write a list after a revocation.
	oldAfter = 10 * time.Second
	// endsSoon is of a host certificate of seven days, which is made anew at half of them.
	endsSoon = 24 * time.Hour
)

// HostState takes what a host says of itself, and answers what it is to end. It is believed for what is shown and for nothing else: a host that
// lies about its list harms nobody but itself, and no session is let through or kept because of it.
func (ca *CA) HostState(c Caller, s control.HostState) (control.HostOrders, error) {
	var orders control.HostOrders
	if c.Kind != "host" {
		return orders, refuse("only hosts tell their state; this key belongs to %s %s", c.Kind, c.Name)
	}
	if len(s.Logins) > control.MaxHostLogins || len(s.CannotEnd) > 200 {
		return orders, refuse("what %s tells is too much", c.Name)
	}
	s.Host, s.At, s.CannotEnd = c.Name, ca.now().UTC(), tidy(s.CannotEnd)
	// Outside of the store's turns: to look up thousands of logins must not keep a revocation waiting.
	err := ca.db.View(func(tx *store.Tx) (err error) {
		orders.End, err = ca.toEnd(tx, s)
		return err
	})
	if err != nil {
		return control.HostOrders{}, err
	}
	err = ca.db.Update(func(tx *store.Tx) error { return write(tx, key(hostStateRows, c.Name), s) })
	if Full(err) { // what it says is not kept, and what it is to end it is told all the same
		err = nil
	}
	return orders, err
}

// Hosts tells how each host stands, by this machine's clock and list.
func (ca *CA) Hosts(c Caller) ([]control.HostStatus, error) {
	if !ca.May(c, "audit") && !ca.May(c, "revoke") && !ca.May(c, "operate") {
		return nil, refuse("%s may not see how the hosts stand: no rule permits audit, revoke or operate", c.Name)
	}
	list := []control.HostStatus{}
	err := ca.db.View(func(tx *store.Tx) error {
		version, err := last(tx, key(serialRows, revocationSerial))
		if err != nil {
			return err
		}
		for _, h := range ca.policy.Load().Hosts() {
			s := control.HostStatus{HostState: control.HostState{Host: h.Name}, CAVersion: version, State: control.HostUnmanaged}
			if h.Agent != nil {
				if err := ca.judge(tx, &s, h.HostCA); err != nil {
					return err
				}
			}
			list = append(list, s)
		}
		return nil
	})
	return list, err
}

// judge says what is wrong with a host, the worst first.
func (ca *CA) judge(tx *store.Tx, s *control.HostStatus, certified bool) error {
	told, err := read[control.HostState](tx, key(hostStateRows, s.Host))
	if errors.Is(err, store.ErrNotFound) {
		s.State, s.Why = control.HostSilent, "it has never said a word; is postern-host running there?"
		return nil
	}
	if err != nil {
		return err
	}
	s.HostState = told
	now := ca.now()
	since, err := ca.missing(tx, s.KRLVersion, s.CAVersion)
	if err != nil {
		return err
	}
	quiet := now.Sub(s.At)
	switch {
	case quiet > silentAfter:
		s.State, s.Why = control.HostSilent, fmt.Sprintf("no word for %s", quiet.Round(time.Second))
	case s.KRLMissing:
		s.State, s.Why = control.HostOld, "no revocation list is in force there: sshd refuses every key"
	case s.KRLVersion > s.CAVersion:
		s.State, s.Why = control.HostOld, "it has a revocation list that this CA never made; was the CA restored from a backup?"
	case !since.IsZero() && now.Sub(since) > oldAfter:
		s.State, s.Why = control.HostOld, fmt.Sprintf("what was revoked %s ago is not revoked there", now.Sub(since).Round(time.Second))
	case certified && now.After(s.CertificateEnds.Add(-endsSoon)):
		s.State, s.Why = control.HostCertificate, "its host certificate has ended, or does so within a day"
	case s.CannotEnd != "":
		s.State, s.Why = control.HostOK, "what runs there for a revoked session is not ended: "+s.CannotEnd
	default:
		s.State = control.HostOK
		s.Why, err = ca.untold(tx, *s)
	}
	return err
}

// missing is when the first revocation was decided that a host does not have; zero: it has all of them.
func (ca *CA) missing(tx *store.Tx, has, version uint64) (time.Time, error) {
	if has >= version {
		return time.Time{}, nil
	}
	rev, err := read[control.Revocation](tx, numbered(revocationRows, has+1))
	return rev.At, err
}

// openFor is how long a session runs before its host should have said that it follows it.
const openFor = 30 * time.Second

// untold says whether sshd on a host does not tell its agent of logins. Of a host that ends nothing, by choice or because it is an older one, nothing
// is said.
func (ca *CA) untold(tx *store.Tx, s control.HostStatus) (why string, err error) {
	if !s.Ends {
		return "", nil
	}
	follows := map[string]bool{}
	for _, serial := range s.Logins {
		session, _, err := ca.hosted(tx, s.Host, serial)
		if err != nil {
			return "", err
		}
		follows[session.ID] = true
	}
	missing := 0
	err = tx.Scan([]byte(openRows), func(k, _ []byte) error {
		live, err := read[control.Session](tx, key(sessionRows, string(k[len(openRows):])))
		if err == nil && live.Ended.IsZero() && strings.HasSuffix(live.Target, "@"+s.Host) && ca.now().Sub(live.Started) > openFor && !follows[live.ID] {
			missing++
		}
		return err
	})
	if missing > 0 {
		why = fmt.Sprintf("its sshd did not tell of %d live sessions, so what they leave running is not ended; see postern-host sshd-config", missing)
	}
	return why, err
}
