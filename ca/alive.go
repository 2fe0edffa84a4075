package ca

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"postern/internal/control"
	"postern/internal/store"
)

// A revocation must be durable in milliseconds however much is in flight, so it does not read what is alive: it finds it. Each request that is alive has an
// entry for every word by which a target can name it, and one for the moment at which its time passes. They are written by [request.save], in the same
// update as the row they follow from, and gone with it: no crash comes between them. What is not entered opens nothing ([entered]): so nothing runs that a
// revocation would not find.

const (
	liveRows  = "live/"  // R-… of requests that are pending, approved or granted, to entry
	namedRows = "named/" // kind:value, space, R-… of those that a target with that word names, to NotAfter
	dueRows   = "due/"   // seconds in hexadecimal digits, space, R-… of those whose time passes then, to NotAfter
)

var (
	inFlightKey = []byte("inflight") // how many are alive
	entriesKey  = []byte("entries")  // the form of the entries, once all are made
)

// entriesForm changes when entries do: then they are made anew at the next start.
const entriesForm = "1"

// entry is what was entered of a request.
type entry struct {
	NotAfter time.Time `json:"not_after"`
	Keys     []string  `json:"keys"`
}

// alive is a request that a target hits.
type alive struct {
	id       string
	notAfter time.Time
}

func aliveIn(hit []request) []alive {
	list := make([]alive, len(hit))
	for i := range hit {
		list[i] = alive{hit[i].ID, hit[i].NotAfter}
	}
	return list
}

// named are the keys by which targets find the request, sorted.
func (r *request) named() []string {
	t := r.traits()
	words := map[string]bool{}
	add := func(kind string, values ...string) {
		for _, v := range values {
			if v != "" {
				words[namedRows+control.Selector{Kind: kind, Value: v}.String()+" "+r.ID] = true
			}
		}
	}
	add("person", t.Person)
	add("person", t.Holders...)
	add("key", t.Keys...)
	add("approver", t.Approvers...)
	add("account", t.Targets...)
	for _, target := range t.Targets {
		_, host, _ := strings.Cut(target, "@")
		add("host", host)
	}
	for _, serial := range t.Serials {
		add("serial", strconv.FormatUint(serial, 10))
	}
	add("bastion", t.Bastion)
	return slices.Sorted(maps.Keys(words))
}

// entry is what is to be entered of the request as it is; nothing of one that is over.
func (r *request) entry() entry {
	if !r.live() {
		return entry{}
	}
	due := r.ClaimBy
	if r.State == control.Granted {
		due = r.Ends
	}
	return entry{r.NotAfter.UTC(), append(r.named(), fmt.Sprintf("%s%016x %s", dueRows, max(due.Unix(), 0), r.ID))}
}

// enter brings the entries of a request to what it is now.
func (r *request) enter(tx *store.Tx) error {
	before, err := read[entry](tx, key(liveRows, r.ID))
	was := err == nil
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	now := r.entry()
	for _, k := range before.Keys {
		if !slices.Contains(now.Keys, k) {
			if err := tx.Delete([]byte(k)); err != nil {
				return err
			}
		}
	}
	value, err := now.NotAfter.MarshalBinary()
	if err != nil {
		return err
	}
	for _, k := range now.Keys {
		if now.NotAfter.Equal(before.NotAfter) && slices.Contains(before.Keys, k) {
			continue
		}
		if err := tx.Set([]byte(k), value); err != nil {
			return err
		}
	}
	if was != r.live() {
		if err := countAlive(tx, r.live()); err != nil {
			return err
		}
	}
	if !r.live() {
		return tx.Delete(key(liveRows, r.ID))
	}
	return write(tx, key(liveRows, r.ID), now)
}

func countAlive(tx *store.Tx, more bool) error {
	n, err := last(tx, inFlightKey)
	if err != nil {
		return err
	}
	if more {
		n++
	} else {
		n--
	}
	return setNumber(tx, inFlightKey, n)
}

// entered refuses what a revocation would not find.
func entered(tx *store.Tx, r request) error {
	for _, k := range r.named() {
		there, err := tx.Has([]byte(k))
		if err != nil {
			return err
		}
		if !there {
			return refuse("%s is not entered under %s, so no revocation of that would end it, and it opens nothing; ask anew with: postern request, and tell your administrator",
				r.ID, strings.Fields(strings.TrimPrefix(k, namedRows))[0])
		}
	}
	return nil
}

// aliveOf lists the requests that a target hits, sorted: those of which everything is true that the target says. One that a revocation hit before is
// not among them, also while its row waits for its turn.
func aliveOf(tx *store.Tx, t control.Target) ([]alive, error) {
	if len(t) == 0 || !t.Together() {
		return nil, nil
	}
	var hit map[string]time.Time
	for _, s := range t {
		found, err := foundBy(tx, s)
		if err != nil {
			return nil, err
		}
		if hit == nil {
			hit = found
		}
		maps.DeleteFunc(hit, func(id string, _ time.Time) bool { _, too := found[id]; return !too })
	}
	by, err := struck(tx)
	if err != nil {
		return nil, err
	}
	list := make([]alive, 0, len(hit))
	for _, id := range slices.Sorted(maps.Keys(hit)) {
		if by(id) == 0 {
			list = append(list, alive{id, hit[id]})
		}
	}
	return list, nil
}

// foundBy lists the requests that one word of a target names.
func foundBy(tx *store.Tx, s control.Selector) (map[string]time.Time, error) {
	found := map[string]time.Time{}
	switch s.Kind {
	case "request":
		e, err := read[entry](tx, key(liveRows, s.Value))
		if err == nil {
			found[s.Value] = e.NotAfter
		} else if errors.Is(err, store.ErrNotFound) {
			err = nil
		}
		return found, err
	case "all":
		return found, eachEntry(tx, dueRows, func(rest, value string) error {
			_, id, _ := strings.Cut(rest, " ")
			return noteAfter(found, id, value)
		})
	}
	return found, eachEntry(tx, namedRows+s.String()+" ", func(id, value string) error {
		if strings.Contains(id, " ") { // of a longer name, which nobody can name in a target
			return nil
		}
		return noteAfter(found, id, value)
	})
}

func eachEntry(tx *store.Tx, prefix string, fn func(rest, value string) error) error {
	// What the same update ended before, as when a session crosses two limits, is not hit once more.
	return tx.ScanOwn([]byte(prefix), func(k, v []byte) error { return fn(string(k[len(prefix):]), string(v)) })
}

func noteAfter(found map[string]time.Time, id, value string) error {
	var at time.Time
	if err := at.UnmarshalBinary([]byte(value)); err != nil {
		return fmt.Errorf("entry of %s: %w", id, err)
	}
	found[id] = at
	return nil
}

// dueBy lists the requests whose time may have passed at a moment, and that no revocation hit.
func dueBy(tx *store.Tx, now time.Time) (ids []string, err error) {
	by, err := struck(tx)
	if err != nil {
		return nil, err
	}
	end := fmt.Sprintf("%016x~", now.Unix())
	err = eachEntry(tx, dueRows, func(rest, _ string) error {
		if rest > end {
			return store.ErrStop
		}
		if _, id, _ := strings.Cut(rest, " "); by(id) == 0 {
			ids = append(ids, id)
		}
		return nil
	})
	return ids, err
}

// eachLive calls fn with every request that is pending, approved or granted. It reads all of them, so it is for rare occasions.
func eachLive(tx *store.Tx, fn func(request) error) error {
	load := loader(tx)
	return tx.Scan([]byte(liveRows), func(k, _ []byte) error {
		r, err := load(string(k[len(liveRows):]))
		if err == nil && r.live() {
			err = fn(r)
		}
		return err
	})
}

// tooMany refuses one more request of a person, or at all.
func (ca *CA) tooMany(tx *store.Tx, person string, emergency bool) error {
	own, err := aliveOf(tx, control.Target{{Kind: "person", Value: person}})
	if err != nil {
		return err
	}
	if len(own) >= maxLive { // of some they may only be a holder
		mine := 0
		for _, a := range own {
			r, err := load(tx, a.id)
			if err != nil {
				return err
			}
			if r.Person == person {
				mine++
			}
		}
		if mine >= maxLive {
			return refuse("%s has %d requests in flight; withdraw some with: postern withdraw ID", person, mine)
		}
	}
	all, err := last(tx, inFlightKey)
	if err != nil || emergency || all < maxInFlight {
		return err
	}
	// What a revocation hit is over, though its rows wait for their turn.
	left, err := aliveOf(tx, control.Target{{Kind: "all"}})
	if err == nil && len(left) >= maxInFlight {
		err = refuse("%d requests are in flight, and no more than %d ever are; ask again when some are over", len(left), maxInFlight)
	}
	return err
}

// makeEntries makes all entries anew in a store that has none of this form, or in which a program wrote that does not know them.
func (ca *CA) makeEntries() error {
	var sound bool
	if err := ca.db.View(func(tx *store.Tx) (err error) { sound, err = soundEntries(tx); return err }); err != nil || sound {
		return err
	}
	var old [][]byte
	var ids []string
	err := ca.db.View(func(tx *store.Tx) error {
		for _, rows := range []string{namedRows, dueRows} {
			if err := tx.Scan([]byte(rows), func(k, _ []byte) error { old = append(old, slices.Clone(k)); return nil }); err != nil {
				return err
			}
		}
		return tx.Scan([]byte(liveRows), func(k, _ []byte) error { ids = append(ids, string(k[len(liveRows):])); return nil })
	})
	if len(ids) > 0 {
		ca.log.Info("making the entries by which revocations find what is alive", "requests", len(ids))
	}
	// What died of this before it was through begins again: the form is written last.
	for part := range slices.Chunk(append([][]byte{entriesKey, inFlightKey}, old...), forgetTogether) {
		if err == nil {
			err = ca.db.Update(func(tx *store.Tx) error { return forget(tx, part) })
		}
	}
	for part := range slices.Chunk(ids, enteredTogether) {
		if err == nil {
			err = ca.db.Update(func(tx *store.Tx) error { return reenter(tx, part) })
		}
	}
	if err != nil {
		return fmt.Errorf("entries of what is alive: %w", err)
	}
	return ca.db.Update(func(tx *store.Tx) error { return tx.Set(entriesKey, []byte(entriesForm)) })
}

// enteredTogether is of how many requests one update makes the entries: each of up to 16 hosts and dozens of votes fit.
const enteredTogether = 50

func reenter(tx *store.Tx, ids []string) error {
	for _, id := range ids {
		if err := tx.Delete(key(liveRows, id)); err != nil {
			return err
		}
		r, err := loadRow(tx, id)
		if err != nil {
			return fmt.Errorf("request %s: %w", id, err)
		}
		if err := r.enter(tx); err != nil {
			return err
		}
	}
	return nil
}

// soundEntries says whether the entries are of this form, and of just the requests that are alive. A program that knows none leaves a row of the living
// without them, or an entry of the dead.
func soundEntries(tx *store.Tx) (bool, error) {
	form, err := tx.Get(entriesKey)
	if errors.Is(err, store.ErrNotFound) || err == nil && string(form) != entriesForm {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	due := map[string]bool{}
	err = eachEntry(tx, dueRows, func(rest, _ string) error {
		_, id, _ := strings.Cut(rest, " ")
		due[id] = true
		return nil
	})
	sound, n := true, uint64(0)
	if err == nil {
		err = eachEntry(tx, liveRows, func(id, value string) error {
			n++
			sound = sound && due[id] && json.Valid([]byte(value))
			return nil
		})
	}
	if err != nil {
		return false, err
	}
	count, err := last(tx, inFlightKey)
	return sound && n == uint64(len(due)) && n == count, err
}
