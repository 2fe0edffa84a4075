package ca

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/ca/krl"
	"postern/internal/control"
	"postern/internal/store"
)

// Changed returns a channel that is closed when there may be something new for those who follow.
func (ca *CA) Changed() <-chan struct{} { return ca.news.next() }

// Revocations returns the revocations numbered from and above, in order, and the last number there is. From 0 it
// returns the set: those that can still hit something.
func (ca *CA) Revocations(from uint64) (list []control.Revocation, seq uint64, err error) {
	err = ca.db.View(func(tx *store.Tx) error {
		if seq, err = last(tx, key(serialRows, revocationSerial)); err != nil {
			return err
		}
		if from == 0 {
			list, err = ca.active(tx)
			return err
		}
		return tx.ScanFrom([]byte(revocationRows), numbered(revocationRows, from), func(k, _ []byte) error {
			rev, err := read[control.Revocation](tx, slices.Clone(k))
			list = append(list, rev)
			return err
		})
	})
	return list, seq, err
}

func (ca *CA) active(tx *store.Tx) ([]control.Revocation, error) {
	var list []control.Revocation
	now := ca.now()
	err := tx.Scan([]byte(activeRows), func(k, _ []byte) error {
		rev, err := read[control.Revocation](tx, append([]byte(revocationRows), k[len(activeRows):]...))
		if err == nil && (rev.Until.IsZero() || now.Before(rev.Until.Add(skew))) {
			list = append(list, rev)
		}
		return err
	})
	return list, err
}

// krlAge is for how long a list is handed out that was made once: without it, after a revocation of all there is, each of hundreds of hosts would have
// ten thousand rows read for its own. It only gets shorter meanwhile.
const krlAge = 10 * time.Second

// madeKRL is the list that was made last.
type madeKRL struct {
	mu      sync.Mutex
	list    []byte
	version uint64
	at      time.Time
}

// KRL is the set as OpenSSH reads it: the unexpired serials of what was cut, user and session certificates, and
// revoked keys. Its number is that of the last revocation.
func (ca *CA) KRL() ([]byte, error) {
	m := &ca.krl
	m.mu.Lock()
	defer m.mu.Unlock()
	var version uint64
	err := ca.db.View(func(tx *store.Tx) (err error) {
		version, err = last(tx, key(serialRows, revocationSerial))
		return err
	})
	if age := ca.now().Sub(m.at); err != nil || m.list != nil && m.version == version && age >= 0 && age < krlAge {
		return slices.Clone(m.list), err
	}
	list, err := ca.makeKRL()
	if err == nil {
		m.list, m.version, m.at = slices.Clone(list), version, ca.now()
	}
	return list, err
}

func (ca *CA) makeKRL() ([]byte, error) {
	list := &krl.List{Generated: ca.now().UTC(), Comment: ca.keys.Name}
	err := ca.db.View(func(tx *store.Tx) error {
		var err error
		if list.Version, err = last(tx, key(serialRows, revocationSerial)); err != nil {
			return err
		}
		revs, err := ca.active(tx)
		if err != nil {
			return err
		}
		for _, rev := range revs {
			if err := ca.addTo(list, tx, rev); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return list.Marshal()
}

func (ca *CA) addTo(list *krl.List, tx *store.Tx, rev control.Revocation) error {
	if t := rev.Target(); len(t) == 1 && t.Names("key") {
		sum, err := base64.RawStdEncoding.DecodeString(strings.TrimPrefix(rev.Value, "SHA256:"))
		if err != nil || len(sum) != sha256.Size {
			return fmt.Errorf("revocation %d: fingerprint %q", rev.Seq, rev.Value)
		}
		list.RevokeHash([sha256.Size]byte(sum))
	}
	now := ca.now()
	for _, id := range rev.Requests {
		r, err := loadRow(tx, id)
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		for _, i := range r.Issued {
			if now.Before(i.Until.Add(skew)) {
				list.RevokeSerials(ca.publicOf(i.CA), i.Serial, i.Serial)
			}
		}
	}
	return nil
}

func (ca *CA) publicOf(name string) ssh.PublicKey {
	if name == sessionCA {
		return ca.keys.Session.PublicKey()
	}
	return ca.keys.User.PublicKey()
}

// pruneRevocations drops from the set what can hit nothing any more. The rows and the log keep it.
func (ca *CA) pruneRevocations(now time.Time) error {
	var past [][]byte
	err := ca.db.View(func(tx *store.Tx) error {
		return tx.Scan([]byte(activeRows), func(k, _ []byte) error {
			rev, err := read[control.Revocation](tx, append([]byte(revocationRows), k[len(activeRows):]...))
			if err == nil && !rev.Until.IsZero() && now.After(rev.Until.Add(skew)) {
				past = append(past, slices.Clone(k), numbered(holdingRows, rev.Seq))
			}
			return err
		})
	})
	for part := range slices.Chunk(past, forgetTogether) {
		if err == nil {
			err = ca.db.Update(func(tx *store.Tx) error { return forget(tx, part) })
		}
	}
	return err
}

// forgetTogether is how many rows one update deletes.
const forgetTogether = 1000

func forget(tx *store.Tx, keys [][]byte) error {
	for _, k := range keys {
		if err := tx.Delete(k); err != nil {
			return err
		}
	}
	return nil
}
