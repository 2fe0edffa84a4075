package ca

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"time"

	"postern/ca/auditlog"
	"postern/internal/control"
	"postern/internal/limit"
	"postern/internal/store"
	"postern/policy"
)

// sourceMemory is how long an address that a person's sessions came from is not a new one.
const sourceMemory = 30 * 24 * time.Hour

// Risk takes what a bastion tells of a limit that one of its sessions crossed, and does what the limit says. Told twice, it counts once.
func (ca *CA) Risk(c Caller, told control.Risk) error {
	if c.Kind != "bastion" {
		return refuse("only bastions tell of limits; this key belongs to %s %s", c.Kind, c.Name)
	}
	err := ca.db.Update(func(tx *store.Tx) error {
		s, err := read[control.Session](tx, key(sessionRows, told.Session))
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if err != nil || s.Bastion != c.Name {
			return refuse("%s has no session %.40q", c.Name, told.Session)
		}
		list, err := limit.Parse(s.Limits)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(list, func(l limit.Limit) bool { return l.String() == told.Limit && !l.AtOpening() && told.Count > l.Most })
		if i < 0 {
			return refuse("%s has no limit %.300q that %d would cross", s.ID, told.Limit, told.Count)
		}
		r, err := load(tx, s.Request)
		if err != nil {
			return err
		}
		if before, err := toldBefore(tx, r, told); err != nil || before {
			return err
		}
		risk := control.Risk{Session: s.ID, Request: s.Request, Person: s.Person, Bastion: c.Name, Limit: told.Limit, Count: told.Count,
			Lifted: told.Lifted, Action: list[i].Action, At: told.At.UTC()}
		if now := ca.now().UTC(); risk.At.Before(s.Started) || risk.At.After(now) {
			risk.At = now // by a clock that is wrong
		}
		return ca.crossed(tx, c, risk)
	})
	if err == nil {
		ca.news.tell()
	}
	return err
}

// crossed logs a crossing, and holds or cuts what it says. The revocation follows at once in the log, without a signature: who verifies goes by the leaf
// before it.
func (ca *CA) crossed(tx *store.Tx, c Caller, risk control.Risk) error {
	if risk.Action == limit.Hold || risk.Cuts() != nil {
		tx.FromReserve(0)
	}
	if err := ca.record(tx, auditlog.Entry{Type: auditlog.TypeRisk, Actor: c.Name, Risk: &risk}); err != nil {
		return err
	}
	if risk.Action == limit.Hold && !risk.Passed {
		return ca.halt(tx, risk)
	}
	target := risk.Cuts()
	if target == nil {
		return nil
	}
	hit, err := aliveOf(tx, target)
	if err != nil || len(hit) == 0 {
		return err
	}
	rev := control.Revocation{Reason: risk.Reason(), By: control.ByPolicy}
	rev.Name(target)
	_, err = ca.cutFound(tx, rev, hit)
	return err
}

// stopped is a limit that keeps a session from opening: what was written about it stays.
type stopped struct{ error }

// notHeld refuses a grant that a limit holds.
func notHeld(tx *store.Tx, r request) error {
	by, err := tx.Get(key(heldRows, r.ID))
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return refuse("%s is held: it crossed the limit %s; until its approvers release it with postern approve %s, it opens no session; or ask for a fresh approval with: postern request", r.ID, by, r.ID)
}

// limitsOf are those in force for a request: the ones it was made under, and those of the policy now.
func limitsOf(r request, d policy.Decision) (limit.List, error) {
	asked, err := limit.Parse(r.Limits)
	return limit.Unite(asked, d.Limits), err
}

// assess counts what spans sessions. It returns the crossings that do not keep the session from opening, for the log once it is open. Only limits that
// the request was made under count here: the log says which those are.
func (ca *CA) assess(tx *store.Tx, c Caller, r request, s control.Session) (crossings []control.Risk, err error) {
	list, err := limit.Parse(r.Limits)
	if err != nil {
		return nil, err
	}
	for _, l := range list {
		if !l.AtOpening() {
			continue
		}
		count, err := ca.counted(tx, l, s)
		if err != nil {
			return nil, err
		}
		if count <= l.Most {
			continue
		}
		risk := control.Risk{Session: s.ID, Request: r.ID, Person: r.Person, Bastion: c.Name, Limit: l.String(), Count: count, Action: l.Action, At: s.Started}
		if l.Action == limit.Hold {
			if risk.Passed, err = freshlyApproved(tx, r, l, s.Started); err != nil {
				return nil, err
			}
		}
		if l.Stops() && !risk.Passed {
			risk.Session = ""
			if err := ca.crossed(tx, c, risk); err != nil {
				return nil, err
			}
			return nil, stopped{refuse("%s; ask for a fresh approval with: postern request", risk.Reason())}
		}
		crossings = append(crossings, risk)
	}
	return crossings, ca.opened(tx, list, s)
}

// crossedAtOpening logs what did not keep a session from opening.
func (ca *CA) crossedAtOpening(tx *store.Tx, c Caller, crossings []control.Risk, reply *control.OpenReply) error {
	for _, risk := range crossings {
		if risk.Action == limit.Warn {
			reply.Warnings = append(reply.Warnings, risk.Reason())
		}
		if err := ca.crossed(tx, c, risk); err != nil {
			return err
		}
	}
	return nil
}

// counted is what the session that is to open makes of a counter. An address that is known crosses nothing, however many there are.
func (ca *CA) counted(tx *store.Tx, l limit.Limit, s control.Session) (n uint64, err error) {
	if l.Counter == limit.SessionsHour {
		err = tx.ScanFrom([]byte(hourRows+s.Person+"/"), hourKey(s.Person, s.Started.Add(-time.Hour), ""), func(_, _ []byte) error { n++; return nil })
		return n + 1, err
	}
	known, here := false, addressOf(s.Client)
	prefix := sourceRows + s.Person + "/"
	err = tx.Scan([]byte(prefix), func(k, v []byte) error {
		if s.Started.Sub(time.Unix(int64(binary.BigEndian.Uint64(v)), 0)) < sourceMemory {
			n++
			known = known || string(k[len(prefix):]) == here
		}
		return nil
	})
	if known {
		return 0, err
	}
	return n + 1, err
}

// opened remembers a session for the counts of later ones. Addresses are remembered whether or not a limit asks now.
func (ca *CA) opened(tx *store.Tx, list limit.List, s control.Session) error {
	err := tx.Set(key(sourceRows, s.Person+"/"+addressOf(s.Client)), binary.BigEndian.AppendUint64(nil, uint64(s.Started.Unix())))
	if err != nil || !slices.ContainsFunc(list, func(l limit.Limit) bool { return l.Counter == limit.SessionsHour }) {
		return err
	}
	var past [][]byte
	hourAgo := hourKey(s.Person, s.Started.Add(-time.Hour), "")
	err = tx.Scan([]byte(hourRows+s.Person+"/"), func(k, _ []byte) error {
		if string(k) < string(hourAgo) {
			past = append(past, slices.Clone(k))
		}
		return nil
	})
	for _, k := range past {
		if err == nil {
			err = tx.Delete(k)
		}
	}
	if err != nil {
		return err
	}
	return tx.Set(hourKey(s.Person, s.Started, s.ID), nil)
}

func hourKey(person string, at time.Time, session string) []byte {
	return append(numbered(hourRows+person+"/", uint64(at.UnixNano())), session...)
}

// freshlyApproved says whether somebody approved the request after the hold of that limit, which is over then. A hold that is new begins here.
func freshlyApproved(tx *store.Tx, r request, l limit.Limit, now time.Time) (bool, error) {
	row := key(heldPersonRows, r.Person+"/"+l.Counter)
	since, err := last(tx, row)
	if err != nil {
		return false, err
	}
	if since == 0 {
		return false, tx.Set(row, binary.BigEndian.AppendUint64(nil, uint64(now.Unix())))
	}
	signed := slices.ContainsFunc(r.Votes, func(v control.Vote) bool {
		return v.Decision == control.Approve && !slices.Contains(r.Retired, v.Person)
	})
	if (!signed || r.Created.Unix() < int64(since)) && !releasedSince(r, l, int64(since)) {
		return false, nil
	}
	return true, tx.Delete(row)
}

// addressOf is the address of host:port, or the text if it is something else.
func addressOf(client string) string {
	at, err := netip.ParseAddrPort(client)
	if err != nil {
		return client
	}
	return at.Addr().Unmap().WithZone("").String()
}
