package verify

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/internal/control"
	"postern/recorder"
)

// Destroyed is what the log proves of a recording that nobody can read any more.
type Destroyed struct {
	Order   control.Deletion `json:"order"`
	Ordered int64            `json:"ordered"` // leaf
	By      []string         `json:"by"`      // the auditors who signed; none: the policy, after Order.RetainDays
	Reasons []string         `json:"reasons,omitempty"`
	Receipt control.Receipt  `json:"receipt"`
	Leaf    int64            `json:"leaf"` // of the receipt
}

// String says it for a person.
func (d Destroyed) String() string {
	what, by := "shredded", "the policy, which kept it "+fmt.Sprint(d.Order.RetainDays)+" days"
	if d.Receipt.Everything {
		what = "deleted"
	}
	if d.Order.RetainDays == 0 {
		by = strings.Join(d.By, " and ")
	}
	return fmt.Sprintf("%s on %s, as ordered by %s (order %s at leaf %d, receipt of %s at leaf %d)",
		what, d.Receipt.At.UTC().Format(time.DateOnly), by, d.Order.ID, d.Ordered, d.Receipt.Bastion, d.Leaf)
}

// custody is what the leaves say of who opens keys, of what is held and of what was destroyed.
type custody struct {
	decided map[string]control.Custody   // by ID
	holds   map[string]control.Custody   // in force
	book    map[string]control.Recipient // enrolled, by ID
	keys    map[string]*keyState
	orders  map[string]*order
	answers map[string]string // session or key to the order that was carried out
	current map[string]string // month / purpose to the newest key, which is what is recorded to
}

type keyState struct {
	month, sum string // of the box that there is now
	gone       bool
}

type order struct {
	control.Deletion
	leaf int64
	done bool
}

func newCustody() custody {
	return custody{
		decided: map[string]control.Custody{}, holds: map[string]control.Custody{}, book: map[string]control.Recipient{},
		keys: map[string]*keyState{}, orders: map[string]*order{}, answers: map[string]string{}, current: map[string]string{},
	}
}

// boxed checks what a leaf says of a new key's box.
func (v *verifier) boxed(k control.RecordingKey) {
	if len(k.Box) > 0 {
		v.fail("the private half of recording key %s is in the log, where it can never be destroyed", k.ID)
	}
	v.custody.keys[k.ID] = &keyState{month: k.Month, sum: k.BoxSum}
	v.keepsRecovery("recording key "+k.ID, k.Recipients)
}

// keepsRecovery finds the box that was sealed without those who are to open it when everybody else lost theirs.
func (v *verifier) keepsRecovery(what string, to []control.Recipient) {
	for _, id := range sortedKeys(v.custody.book) {
		r := v.custody.book[id]
		if r.Recovery && !slices.ContainsFunc(to, func(o control.Recipient) bool { return o.ID == id }) {
			v.fail("%s is not sealed to the recovery recipient %s (%s), whom nobody retired", what, r.Name, r.ID)
		}
	}
}

// dated makes sure that what a leaf says of its own time is the time of the leaf.
func (v *verifier) dated(what string, its, at time.Time) {
	if at.Sub(its).Abs() > rounding {
		v.fail("%s: it is dated %s, and was logged %s", what, its.UTC().Format(time.RFC3339), at.UTC().Format(time.RFC3339))
	}
}

func (v *verifier) rewrap(r control.Rewrap, at time.Time) {
	v.dated("rewrap of "+r.Key, r.At, at)
	k := v.custody.keys[r.Key]
	signer, err := r.Verify()
	switch {
	case err != nil:
		v.fail("%v", err)
		return
	case v.mayDecide(r.Auditor, signer) != nil:
		v.fail("rewrap of %s: %v", r.Key, v.mayDecide(r.Auditor, signer))
		return
	case k == nil:
		v.fail("rewrap of recording key %s, which never was", r.Key)
		return
	case k.gone:
		v.fail("rewrap of recording key %s, whose box was destroyed", r.Key)
	case k.sum != r.Before && !v.partial:
		v.fail("rewrap of %s: it was made from the box %s, and the box was %s", r.Key, r.Before, k.sum)
	}
	if len(r.Box) > 0 {
		v.fail("the private half of recording key %s is in the log, where it can never be destroyed", r.Key)
	}
	v.keepsRecovery("recording key "+r.Key, r.Recipients)
	k.sum = r.After
}

// freshness is how old what an auditor signed may be when it comes into force.
const freshness = 15 * time.Minute

// mayDecide says whether a key is a living one of an auditor whom nothing keeps away.
func (v *verifier) mayDecide(auditor string, signer ssh.PublicKey) error {
	fingerprint := ssh.FingerprintSHA256(signer)
	switch {
	case !v.policy.owns(auditor, signer):
		return fmt.Errorf("it is signed by a key that is not %s's", auditor)
	case v.dead[fingerprint]:
		return fmt.Errorf("it is signed by key %s, which was revoked", fingerprint)
	}
	return v.held(control.Traits{Person: auditor, Keys: []string{fingerprint}})
}

func (v *verifier) decision(c control.Custody, at time.Time) {
	v.dated(c.Act+" "+c.Scope, c.At, at)
	signer, err := c.Verify()
	switch {
	case err != nil:
		v.fail("%v", err)
		return
	case v.mayDecide(c.Auditor, signer) != nil:
		v.fail("%s %s: %v", c.Act, c.Scope, v.mayDecide(c.Auditor, signer))
		return
	case c.CA != v.ca:
		v.fail("%s %s: it was signed for CA %q", c.Act, c.Scope, c.CA)
		return
	case at.Sub(c.Signed).Abs() > freshness+rounding:
		v.fail("%s %s: it was signed at %s, and somebody kept it back until %s", c.Act, c.Scope, c.Signed.UTC().Format(time.RFC3339), at.UTC().Format(time.RFC3339))
	}
	s := &v.custody
	if _, again := s.decided[c.ID]; again {
		v.fail("decision %s appears twice", c.ID)
		return
	}
	s.decided[c.ID] = c
	switch c.Act {
	case control.Hold:
		s.holds[c.ID] = c
	case control.Release:
		if h, ok := s.holds[c.Hold]; (!ok || h.Scope != c.Scope) && !v.partial {
			v.fail("release of hold %s on %s, which was not in force", c.Hold, c.Scope)
			return
		}
		delete(s.holds, c.Hold)
	case control.Enrol:
		for _, other := range s.book {
			if other.ID == c.Recipient.ID || other.Name == c.Recipient.Name {
				v.fail("recipient %s is enrolled, and %s is again", other.Label(), c.Recipient.Label())
			}
		}
		s.book[c.Recipient.ID] = *c.Recipient
	case control.Retire:
		if _, ok := s.book[c.Recipient.ID]; !ok && !v.partial {
			v.fail("recipient %s is retired, who was not enrolled", c.Recipient.Label())
		}
		delete(s.book, c.Recipient.ID)
	}
}

func (v *verifier) deletion(d control.Deletion, at time.Time) {
	what := fmt.Sprintf("order %s to destroy %s%s", d.ID, d.Session, d.Key)
	if v.custody.orders[d.ID] != nil {
		v.fail("%s appears twice", what)
		return
	}
	v.dated(what, d.At, at)
	v.custody.orders[d.ID] = &order{Deletion: d, leaf: v.at}
	var err error
	if d.Key != "" {
		err = v.mayShredKey(d)
	} else {
		err = v.mayDestroy(d, at)
	}
	if err != nil {
		v.fail("%s: %v", what, err)
	}
}

func (v *verifier) mayShredKey(d control.Deletion) error {
	k := v.custody.keys[d.Key]
	if k == nil || d.Session != "" {
		return errors.New("there is no such recording key")
	}
	for _, id := range sortedKeys(v.custody.holds) {
		if h := v.custody.holds[id]; h.Scope == "all" || h.Month() == k.month {
			return fmt.Errorf("hold %s on %s by %s was in force", h.ID, h.Scope, h.Auditor)
		}
	}
	return v.wanted(d, func(c control.Custody) bool { return c.Month() == k.month })
}

func (v *verifier) mayDestroy(d control.Deletion, at time.Time) error {
	s := v.sessions[d.Session]
	switch {
	case s == nil:
		return errors.New("there never was such a session")
	case s.Bastion != d.Bastion:
		return fmt.Errorf("it is to bastion %s, and %s keeps it", d.Bastion, s.Bastion)
	case !s.Sealed:
		return errors.New("the recording was not sealed to its end")
	}
	if h := v.heldBy(s); h != nil {
		return fmt.Errorf("hold %s on %s by %s was in force", h.ID, h.Scope, h.Auditor)
	}
	if d.RetainDays == 0 {
		return v.wanted(d, func(c control.Custody) bool {
			return c.Session() == s.ID || c.Month() != "" && v.sealedIn(s, c.Month())
		})
	}
	kept := time.Duration(d.RetainDays) * 24 * time.Hour
	switch {
	case d.RetainDays != s.RetainDays:
		return fmt.Errorf("it is for the reason that %d days have passed; the session opened to be kept %s", d.RetainDays, keptFor(s.RetainDays))
	case s.Ended.IsZero() || at.Before(s.Ended.Add(kept-rounding)):
		return fmt.Errorf("it comes before the %d days that the policy keeps it", d.RetainDays)
	}
	return nil
}

func keptFor(days int64) string {
	if days == 0 {
		return "for ever"
	}
	return fmt.Sprintf("%d days", days)
}

func (v *verifier) sealedIn(s *session, month string) bool {
	for _, id := range []string{s.RecordingKey, s.KeystrokeKey} {
		if k := v.custody.keys[id]; k != nil && k.month == month {
			return true
		}
	}
	return false
}

func (v *verifier) heldBy(s *session) *control.Custody {
	for _, id := range sortedKeys(v.custody.holds) {
		if h := v.custody.holds[id]; h.Covers(control.SubjectOf(s.Session.Session)) {
			return &h
		}
	}
	return nil
}

// wanted says whether auditors signed for what an order is about.
func (v *verifier) wanted(d control.Deletion, about func(control.Custody) bool) error {
	if len(d.Because) == 0 {
		return errors.New("no auditor signed for it")
	}
	for _, id := range d.Because {
		if c, ok := v.custody.decided[id]; !ok || c.Act != control.Shred || !about(c) {
			return fmt.Errorf("%s is no auditor's decision to shred it", id)
		}
	}
	return nil
}

func (v *verifier) receipt(r control.Receipt) {
	what := fmt.Sprintf("receipt for order %s about %s%s", r.Order, r.Session, r.Key)
	o := v.custody.orders[r.Order]
	switch {
	case o == nil:
		v.fail("%s: there is no such order", what)
		return
	case o.Session != r.Session || o.Key != r.Key || o.Bastion != r.Bastion:
		v.fail("%s: the order is about %s%s, to %s", what, o.Session, o.Key, o.Bastion)
		return
	case r.CA != v.ca:
		v.fail("%s: it was signed for CA %q", what, r.CA)
		return
	case o.done:
		v.fail("%s: that was carried out before", what)
		return
	}
	if r.Key != "" {
		v.keyReceipt(what, o, r)
		return
	}
	s := v.sessions[r.Session]
	if s == nil {
		v.fail("%s: there never was such a session", what)
		return
	}
	if err := r.Verify(s.BastionKey); err != nil && r.Verify(v.policy.bastions[r.Bastion]) != nil {
		v.fail("%v", err)
		return
	}
	if r.Declined != "" {
		v.note(v.at, "%s: bastion %s does not destroy it: %s", what, r.Bastion, r.Declined)
		return
	}
	if o.Everything && !r.Everything {
		v.fail("%s: the order is about everything, the key box alone was destroyed", what)
	}
	if h := v.heldBy(s); h != nil {
		v.fail("%s: hold %s on %s by %s was in force", what, h.ID, h.Scope, h.Auditor)
	}
	o.done = true
	v.custody.answers[r.Session] = r.Order
	s.Destroyed = v.destroyed(o, s, r)
}

// destroyed names everybody who signed for it by then: a bastion may have waited for more than one.
func (v *verifier) destroyed(o *order, s *session, r control.Receipt) *Destroyed {
	d := &Destroyed{Order: o.Deletion, Ordered: o.leaf, Receipt: r, Leaf: v.at}
	if o.RetainDays > 0 {
		return d
	}
	var wanted []control.Custody
	for _, c := range v.custody.decided {
		if c.Act == control.Shred && (c.Session() == s.ID || c.Month() != "" && v.sealedIn(s, c.Month())) {
			wanted = append(wanted, c)
		}
	}
	slices.SortFunc(wanted, func(a, b control.Custody) int { return cmp.Or(a.At.Compare(b.At), strings.Compare(a.ID, b.ID)) })
	for _, c := range wanted {
		if !slices.Contains(d.By, c.Auditor) {
			d.By, d.Reasons = append(d.By, c.Auditor), append(d.Reasons, c.Reason)
		}
	}
	return d
}

// keyReceipt is the CA's own word; what it is worth shows in the recordings.
func (v *verifier) keyReceipt(what string, o *order, r control.Receipt) {
	k := v.custody.keys[r.Key]
	if k == nil || r.Box != k.sum && !v.partial {
		v.fail("%s: it is about another box", what)
		return
	}
	for _, s := range v.order {
		if (s.RecordingKey == r.Key || s.KeystrokeKey == r.Key) && s.Destroyed == nil {
			v.fail("%s: the box was let go while %s still had its own", what, s.ID)
		}
	}
	o.done, k.gone = true, true
}

// kept checks that a session is kept no shorter than its approvers were told.
func (v *verifier) kept(s *session, r *request) error {
	if r.Record == nil {
		return nil
	}
	told := r.Record.RetainDays
	if s.RetainDays != 0 && (told == 0 || s.RetainDays < told) {
		return fmt.Errorf("it is kept %s, and the approvers of %s were told %s", keptFor(s.RetainDays), r.ID, keptFor(told))
	}
	return nil
}

// fate holds what is left of a recording against what the log says became of it.
func fate(sum recorder.Summary, s Session) error {
	switch {
	case !sum.Shredded && s.Destroyed == nil:
		return nil
	case s.Destroyed == nil:
		return fmt.Errorf("%w, and the log has no order and receipt for that: evidence was destroyed", recorder.ErrShredded)
	case !sum.Shredded:
		return fmt.Errorf("it was %s, and yet its key box is there", s.Destroyed)
	case "sha256:"+hex.EncodeToString(sum.Box[:]) != s.Destroyed.Receipt.Box:
		return fmt.Errorf("it was %s, and the receipt is about another key box", s.Destroyed)
	}
	return nil
}

// Remains checks what is left of a recording that was destroyed: that it was, and that it was the one that was logged.
func Remains(ctx context.Context, src recorder.Source, s Session) error {
	_, err := Outline(ctx, src, s)
	return err
}

func sortedKeys[T any](m map[string]T) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
