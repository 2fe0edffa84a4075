package ca

import (
	"errors"

	"postern/internal/store"
)

// A full disk must not keep anybody in. When the store takes nothing more, a part of the disk that was set aside ([Config.Reserve]) takes what ends access:
// revocations, what bastions and hosts tell of them, withdrawals and denials, limits that hold or cut, a policy from which somebody was removed; and, from
// its first half, emergencies. All else is refused, and what can wait waits. When that is used up too, nobody can be revoked any more, and a CA that cannot
// revoke must not go on telling bastions that nobody is: see [CA.CannotRevoke].

// DefaultReserve holds thousands of revocations.
const DefaultReserve = 32 << 20

// forRevocations is what the largest revocation takes: a hundred thousand names in its leaf, in its row, and among what is to be moved.
const forRevocations = 4 << 20

// room is what was last seen of the disk.
type room struct {
	reserve int64
	full    bool   // the store takes nothing
	dead    bool   // and nothing can be revoked
	said    string // why nothing can be set aside, as it was last in the log
}

// Full reports whether an error is the want of room on the CA's disk.
func Full(err error) bool { return errors.Is(err, store.ErrFull) }

// CannotRevoke is why a revocation could not be made durable now; nil: it could.
func (ca *CA) CannotRevoke() error {
	spare, full := ca.db.Room()
	if full == nil || spare >= forRevocations {
		return nil
	}
	return full
}

// urgent lets what an emergency needs into the first half of the reserve.
func (ca *CA) urgent(tx *store.Tx, r request) {
	if r.Emergency {
		tx.FromReserve(max(ca.room.reserve/2, forRevocations))
	}
}

// look says whether there is room, and says so in the log when that changes. With room again, what was set aside goes where it belongs.
func (ca *CA) look() bool {
	spare, full := ca.db.Room()
	was := ca.room
	ca.room.full, ca.room.dead = full != nil, full != nil && spare < forRevocations
	switch {
	case ca.room.dead && !was.dead:
		ca.log.Error("the disk of the CA is full, and nobody can be revoked any more: the bastions' leases are not renewed, unless --lease-when-full; make room", "err", full)
	case ca.room.full && !was.full:
		ca.log.Error("the disk of the CA is full: only what ends access, and emergencies, are taken; make room", "err", full, "reserve", spare)
	case was.full && !ca.room.full:
		ca.log.Info("the disk of the CA has room again")
	}
	if ca.room.full || ca.room.reserve == 0 {
		return !ca.room.full
	}
	err := ca.db.Reserve(ca.room.reserve)
	if err == nil && was.full {
		err = ca.db.Update(func(*store.Tx) error { return nil })
	}
	said := ""
	if err != nil && !errors.Is(err, store.ErrClosed) {
		said = err.Error()
	}
	if said != "" && said != ca.room.said {
		ca.log.Error("nothing is set aside for revocations on a full disk, so when it is full nobody can be revoked", "err", err)
	}
	ca.room.said = said
	return true
}
