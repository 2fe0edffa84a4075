package ca

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"postern/ca/statement"
	"postern/internal/control"
	"postern/internal/store"
)

// hitByRows is what a target hits by the rows themselves, which is what the entries must say.
func hitByRows(live []request, t control.Target) (hit []alive) {
	for _, r := range live {
		if t.Hits(r.traits()) {
			hit = append(hit, alive{r.ID, r.NotAfter})
		}
	}
	return hit
}

// agree compares entries and rows for every target that could name something, and for pairs of them.
func (w *world) agree(dice *rand.Rand) {
	w.t.Helper()
	words := []string{"all:", "person:nobody", "bastion:bastion-1", "host:phi1.example"}
	err := w.db.View(func(tx *store.Tx) error {
		var live []request
		err := eachLive(tx, func(r request) error {
			live = append(live, r)
			words = append(words, "request:"+r.ID)
			for _, k := range r.named() {
				words = append(words, strings.Fields(strings.TrimPrefix(k, namedRows))[0])
			}
			return nil
		})
		if err != nil {
			return err
		}
		slices.Sort(words)
		words = slices.Compact(words)
		for _, word := range words {
			for _, text := range []string{word, word + " " + words[dice.IntN(len(words))]} {
				if err := w.agreeOn(tx, live, text); err != nil {
					return err
				}
			}
		}
		sound, err := soundEntries(tx)
		if err == nil && !sound {
			w.t.Error("the entries are not of what is alive")
		}
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) agreeOn(tx *store.Tx, live []request, text string) error {
	t, err := control.ParseTarget(text)
	if err != nil {
		return nil // two of one kind, or one that stands alone
	}
	found, err := aliveOf(tx, t)
	if err != nil {
		return err
	}
	rows := hitByRows(live, t)
	if !slices.EqualFunc(found, rows, func(a, b alive) bool { return a.id == b.id && a.notAfter.Equal(b.notAfter) }) {
		w.t.Errorf("%s hits %v by the entries and %v by the rows", t, found, rows)
	}
	return err
}

// Whatever happens, in whatever order, a revocation finds what a look at every row would; and hits what its dry run said.
func TestEntriesAgreeWithRows(t *testing.T) {
	for seed := range uint64(2) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := newWorld(t)
			h := &history{world: w, dice: rand.New(rand.NewPCG(seed, 5)), certificates: map[string]string{}}
			w.plant("A", "alice", "root@open", 120, "")
			for range 30 {
				h.step()
				w.agree(h.dice)
			}
			if err := w.finishCuts(t.Context()); err != nil {
				t.Fatal(err)
			}
			w.agree(h.dice)
			w.honest()
		})
	}
}

// history makes things happen.
type history struct {
	*world
	dice         *rand.Rand
	certificates map[string]string // of requests
}

func (h *history) any(list ...string) string { return list[h.dice.IntN(len(list))] }

// one is a request of those there are, whatever has become of it.
func (h *history) one() (r request) {
	h.t.Helper()
	err := h.db.View(func(tx *store.Tx) error {
		var ids []string
		err := tx.Scan([]byte(requestRows), func(k, _ []byte) error {
			if id := string(k[len(requestRows):]); !strings.HasPrefix(id, "R-A0") || len(ids) == 0 {
				ids = append(ids, id)
			}
			return nil
		})
		if err == nil {
			r, err = load(tx, ids[h.dice.IntN(len(ids))])
		}
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return r
}

// step does one thing; the CA may say no to it.
func (h *history) step() {
	r := h.one()
	switch h.dice.IntN(12) {
	case 0, 1, 2:
		h.Ask(h.who(h.any("alice", "adam", "pat")), Ask{Targets: []string{h.any("root@phi1", "root@phi2", "postgres@phi1", "root@open")}, Reason: "x"})
	case 3, 4, 5:
		who := h.any("bob", "beth", "dana", "both")
		text := statement.About(r.Request, h.keys.Name, control.Approve, who, "").Text()
		h.Vote(h.who(who), r.ID, control.Approve, "", h.seal(who, control.Namespace, text))
	case 6:
		if made, err := h.Certificate(h.who(r.Person), r.ID, h.signers[r.Person].PublicKey()); err == nil {
			h.certificates[r.ID] = made.Certificate
		}
	case 7:
		if c := h.certificates[r.ID]; c != "" {
			h.open(c, r.Targets[0])
		}
		h.Extend(h.who(r.Person), r.ID, 5*time.Minute, "more")
	case 8:
		who := h.any(r.Person, "bob")
		text := statement.About(r.Request, h.keys.Name, control.Withdraw, who, "").Text()
		h.Vote(h.who(who), r.ID, control.Withdraw, "", h.seal(who, control.Namespace, text))
	case 9:
		h.pass(time.Duration(h.dice.IntN(8)) * time.Minute)
		if err := h.sweep(); err != nil {
			h.t.Fatal(err)
		}
	case 10:
		h.db.Close()
		h.start(h.policy(rules))
	case 11:
		h.cutSomething(r)
	}
	if h.dice.IntN(4) == 0 {
		if _, err := h.cutPart(); err != nil {
			h.t.Fatal(err)
		}
	}
}

// cutSomething revokes by a word that the request is known by, and compares what was hit with what the dry run said.
func (h *history) cutSomething(r request) {
	h.t.Helper()
	named := r.named()
	word := strings.Fields(strings.TrimPrefix(named[h.dice.IntN(len(named))], namedRows))[0]
	if strings.HasPrefix(word, "key:") { // for good: nothing more would happen
		word = h.any("all:", "person:alice host:open", "account:root@phi1")
	}
	reach, err := h.Reach(h.who("olga"), Cut{Target: word})
	if err != nil {
		h.t.Fatal(err)
	}
	text, err := h.CutStatement(h.who("olga"), Cut{Target: word, Because: "because"})
	if err != nil {
		h.t.Fatal(err)
	}
	rev, err := h.Revoke(h.who("olga"), Cut{Target: word, Because: "because"}, h.seal("olga", control.Namespace, text))
	if err != nil {
		h.t.Fatal(err)
	}
	var said []string
	for _, r := range reach.Requests {
		said = append(said, r.ID)
	}
	if reach.Grants != len(rev.Requests) || !slices.Equal(said, rev.Requests) {
		h.t.Errorf("%s: the dry run said %v, and %v was hit", word, said, rev.Requests)
	}
}

// What a revocation would not find opens nothing, and a start makes good whatever a program wrote that knows no entries.
func TestWhatIsNotEnteredOpensNothing(t *testing.T) {
	w := newWorld(t)
	r, made := w.granted("alice", "root@phi1", "bob")
	_, stale := w.granted("adam", "root@open")
	lose := func(what ...string) {
		t.Helper()
		err := w.db.Update(func(tx *store.Tx) error {
			for _, k := range what {
				if err := tx.Delete([]byte(k)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	lose(namedRows + "approver:bob " + r.ID)
	_, err := w.open(made.Certificate, "root@phi1")
	refused(t, "opening", err, "is not entered under approver:bob")
	_, err = w.Certificate(w.who("alice"), r.ID, w.signers["alice"].PublicKey())
	refused(t, "a certificate", err, "is not entered")
	if _, err := w.open(stale.Certificate, "root@open"); err != nil {
		t.Errorf("another: %v", err)
	}
	for what, spoil := range map[string]func(){
		"no entries at all":          func() { lose(string(entriesKey)) },
		"a request without entries":  func() { w.blank(r.ID) },
		"an entry without a request": func() { lose(liveRows + r.ID); w.blank(r.ID); w.stray() },
	} {
		spoil()
		w.db.Close()
		w.start(w.policy(rules))
		w.agree(rand.New(rand.NewPCG(1, 1)))
		if _, err := w.open(made.Certificate, "root@phi1"); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// blank leaves a request as a CA does that knows no entries.
func (w *world) blank(id string) {
	w.t.Helper()
	if err := w.db.Update(func(tx *store.Tx) error { return tx.Set(key(liveRows, id), nil) }); err != nil {
		w.t.Fatal(err)
	}
}

// stray leaves entries of a request that is over.
func (w *world) stray() {
	w.t.Helper()
	err := w.db.Update(func(tx *store.Tx) error {
		value, err := w.time().MarshalBinary()
		for _, k := range []string{namedRows + "person:alice R-GONE00", fmt.Sprintf("%s%016x R-GONE00", dueRows, 1)} {
			if err == nil {
				err = tx.Set([]byte(k), value)
			}
		}
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
}
