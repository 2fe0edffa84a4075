package ca

import (
	"errors"
	"slices"
	"strings"

	"postern/ca/auditlog"
	"postern/internal/control"
	"postern/internal/store"
)

// hosted is a session by the certificate with which it logged in to that host. A serial that is not of such a session is none: a host learns and
// ends nothing of other hosts.
func (ca *CA) hosted(tx *store.Tx, host string, serial uint64) (control.Session, bool, error) {
	var s control.Session
	row, err := read[issued](tx, numbered(issuedRows+sessionCA+"/", serial))
	if errors.Is(err, store.ErrNotFound) || err == nil && row.Session == "" {
		return s, false, nil
	}
	if err != nil {
		return s, false, err
	}
	s, err = read[control.Session](tx, key(sessionRows, row.Session))
	if errors.Is(err, store.ErrNotFound) {
		return s, false, nil
	}
	return s, strings.HasSuffix(s.Target, "@"+host), err
}

// cutBy is the revocation for which what a session left running is ended; 0: there is none. Those that can still hit something also hit what is left
// of sessions whose time was over before: else somebody who leaves a process behind and gives the access back would have it out of reach.
func (ca *CA) cutBy(tx *store.Tx, s control.Session, active []control.Revocation) (uint64, error) {
	r, err := load(tx, s.Request)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return 0, err
	}
	if err == nil && r.State == control.Revoked && r.CutBy > 0 {
		rev, err := revocationOf(tx, r.CutBy, active)
		if err != nil || !givenBack(rev, s) {
			return r.CutBy, err
		}
	}
	for _, rev := range active {
		if rev.At.After(s.Started) && !givenBack(rev, s) && rev.Target().Hits(control.TraitsOf(s)) {
			return rev.Seq, nil
		}
	}
	return 0, nil
}

// revocationOf is a revocation by its number. One that hit much is long, and a host asks about many sessions of the same.
func revocationOf(tx *store.Tx, seq uint64, active []control.Revocation) (control.Revocation, error) {
	if i := slices.IndexFunc(active, func(rev control.Revocation) bool { return rev.Seq == seq }); i >= 0 {
		return active[i], nil
	}
	return read[control.Revocation](tx, numbered(revocationRows, seq))
}

// givenBack says whether somebody ended their own access, which ends what they are connected to and no more, as its time running out does.
func givenBack(rev control.Revocation, s control.Session) bool { return rev.By == s.Person }

// toEnd lists which logins that a host follows are of revoked sessions. It is worked out anew each time, so a host that was away, or started anew,
// misses none.
func (ca *CA) toEnd(tx *store.Tx, said control.HostState) ([]control.EndOrder, error) {
	if len(said.Logins) == 0 {
		return nil, nil
	}
	active, err := ca.active(tx)
	if err != nil {
		return nil, err
	}
	var list []control.EndOrder
	for _, serial := range said.Logins {
		s, ok, err := ca.hosted(tx, said.Host, serial)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		seq, err := ca.cutBy(tx, s, active)
		if err != nil {
			return nil, err
		}
		if seq > 0 {
			list = append(list, control.EndOrder{Serial: serial, Session: s.ID, Seq: seq})
		}
	}
	return list, nil
}

// followed lists the sessions that hosts follow and that a revocation would have them end.
func (ca *CA) followed(tx *store.Tx, c Caller, t control.Target, hit []request) (list []string, err error) {
	ofRequest := idsOf(hit)
	err = tx.Scan([]byte(hostStateRows), func(k, _ []byte) error {
		said, err := read[control.HostState](tx, slices.Clone(k))
		if err != nil || said.CannotEnd != "" || ca.now().Sub(said.At) > silentAfter {
			return err
		}
		for _, serial := range said.Logins {
			s, ok, err := ca.hosted(tx, said.Host, serial)
			if err != nil {
				return err
			}
			if ok && s.Person != c.Name && (ofRequest[s.Request] || t.Hits(control.TraitsOf(s))) {
				list = append(list, s.ID)
			}
		}
		return nil
	})
	return list, err
}

// mostAccounts bounds how often a host may tell of one session: it tells again when something that was left has ended.
const mostAccounts = 10

// HostEnded takes what a host tells of what it ended. It is the host's word about itself.
func (ca *CA) HostEnded(c Caller, e control.HostEnded) error {
	if c.Kind != "host" {
		return refuse("only hosts tell what they ended; this key belongs to %s %s", c.Kind, c.Name)
	}
	if !plausible(e) {
		return refuse("this is no account of what was ended: %+v", e)
	}
	e.Host, e.At = c.Name, ca.now().UTC()
	err := ca.db.Update(func(tx *store.Tx) error {
		tx.FromReserve(forRevocations)
		s, ok, err := ca.hosted(tx, c.Name, e.Serial)
		if err != nil || !ok || s.ID != e.Session {
			return orRefuse(err, "%s has no session %.40q by certificate %d", c.Name, e.Session, e.Serial)
		}
		active, err := ca.active(tx)
		if err != nil {
			return err
		}
		if seq, err := ca.cutBy(tx, s, active); err != nil || seq == 0 || seq != e.Seq {
			return orRefuse(err, "revocation %d did not end %s", e.Seq, s.ID)
		}
		told, err := hostAccounts(tx, e.Seq, s.ID)
		if err != nil {
			return err
		}
		if n := len(told); n >= mostAccounts || n > 0 && told[n-1].Left <= e.Left {
			return nil // nothing new
		}
		if err := ca.record(tx, auditlog.Entry{Type: auditlog.TypeHostEnded, Actor: c.Name, HostEnded: &e}); err != nil {
			return err
		}
		return write(tx, accountsKey(e.Seq, s.ID), append(told, e))
	})
	if err == nil {
		ca.news.tell()
	}
	return err
}

func plausible(e control.HostEnded) bool {
	const most = 1 << 22 // as many processes as Linux can have
	by := e.By == control.ByTree || e.By == control.ByScope || e.By == control.ByAudit
	return by && e.Found >= 0 && e.Found <= most && e.Detached >= 0 && e.Detached <= e.Found && e.Killed >= 0 && e.Killed <= e.Found &&
		e.Left >= 0 && e.Left <= most && e.Took >= 0
}

func accountsKey(seq uint64, session string) []byte {
	return append(numbered(hostEndedRows, seq), "/"+session...)
}

func hostAccounts(tx *store.Tx, seq uint64, session string) ([]control.HostEnded, error) {
	list, err := read[[]control.HostEnded](tx, accountsKey(seq, session))
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	return list, err
}

// HostAccounts lists what hosts told about a revocation.
func (ca *CA) HostAccounts(seq uint64) ([]control.HostEnded, error) {
	var list []control.HostEnded
	err := ca.db.View(func(tx *store.Tx) error {
		return tx.Scan(append(numbered(hostEndedRows, seq), '/'), func(k, _ []byte) error {
			told, err := read[[]control.HostEnded](tx, slices.Clone(k))
			list = append(list, told...)
			return err
		})
	})
	return list, err
}
