package ca

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/ca/auditlog"
	"postern/ca/krl"
	"postern/ca/statement"
	"postern/internal/control"
	"postern/internal/store"
)

// revocationSerial names the row that numbers revocations, beside those of the CAs.
const revocationSerial = "revocation"

func isRequest(target string) bool { return strings.HasPrefix(strings.ToUpper(target), "R-") }

// Revoke cuts a request, or everything given so far that a target kind:value names. It is a signed statement of
// somebody whom the policy lets revoke.
func (ca *CA) Revoke(c Caller, target, because string, signature []byte) (control.Revocation, error) {
	if !ca.May(c, "revoke") {
		return control.Revocation{}, refuse("%s may not revoke: no rule permits it; approvers and requesters withdraw instead: postern withdraw ID", c.Name)
	}
	because, err := ca.because(control.Revoke, because)
	if err != nil {
		return control.Revocation{}, err
	}
	var rev control.Revocation
	err = ca.db.Update(func(tx *store.Tx) error {
		rev, err = ca.revoke(tx, c, target, because, signature)
		return err
	})
	if err == nil {
		ca.news.tell()
	}
	return rev, err
}

func (ca *CA) revoke(tx *store.Tx, c Caller, target, because string, signature []byte) (control.Revocation, error) {
	rev := control.Revocation{Reason: because, By: c.Name, Signature: string(signature)}
	var hit []request
	if isRequest(target) {
		r, err := ca.visible(tx, c, target)
		if err != nil {
			return rev, err
		}
		if r.passed(ca.now()) != "" || !r.live() {
			return rev, refuse("%s is %s; nothing of it is alive", r.ID, r.State)
		}
		rev.Kind, rev.Value, hit = "request", r.ID, []request{r}
		rev.Statement = statement.About(r.Request, ca.keys.Name, control.Revoke, c.Name, because).Text()
	} else {
		s, err := ca.targetStatement(tx, c, target, because)
		if err != nil {
			return rev, err
		}
		rev.Kind, rev.Value, _ = strings.Cut(s.Target, ":")
		rev.Statement = s.Text()
		if hit, err = aliveOf(tx, rev.Kind, rev.Value); err != nil {
			return rev, err
		}
	}
	if _, err := ca.checkSignature(tx, c.Name, rev.Statement, signature, false, false); err != nil {
		return rev, err
	}
	return ca.cut(tx, rev, hit)
}

// targetStatement is what revoking a target that is no request says. Its sequence rises with each revocation of
// the target, so that an old signature does not cut again.
func (ca *CA) targetStatement(tx *store.Tx, c Caller, target, because string) (statement.Statement, error) {
	kind, value, _ := strings.Cut(target, ":")
	if err := checkTarget(kind, value); err != nil {
		return statement.Statement{}, err
	}
	if h, ok := ca.policy.Load().Host(value); ok && kind == "host" {
		value = h.Name
	}
	target = kind + ":" + value
	n, err := last(tx, key(serialRows, "revoked/"+target))
	return statement.Statement{
		CA: ca.keys.Name, Decision: control.Revoke, Person: c.Name, Target: target, Sequence: n, Because: because,
	}, err
}

func checkTarget(kind, value string) error {
	switch kind {
	case "person", "host", "approver":
		if value != "" && !strings.ContainsAny(value, " \t\n:@") {
			return nil
		}
	case "key":
		hash, ok := strings.CutPrefix(value, "SHA256:")
		if sum, err := base64.RawStdEncoding.Strict().DecodeString(hash); ok && err == nil && len(sum) == sha256.Size {
			return nil
		}
	case "serial":
		if n, err := strconv.ParseUint(value, 10, 64); err == nil && n > 0 && strconv.FormatUint(n, 10) == value {
			return nil
		}
	case "all":
		if value == "" {
			return nil
		}
	}
	return refuse("cannot revoke %q; name a request (R-…), person:NAME, key:SHA256:…, host:NAME, approver:NAME, serial:NUMBER of a user certificate, or all:", kind+":"+value)
}

// aliveOf lists the live requests a target hits.
func aliveOf(tx *store.Tx, kind, value string) ([]request, error) {
	var hit []request
	err := eachLive(tx, func(r request) error {
		if r.hitBy(kind, value) {
			hit = append(hit, r)
		}
		return nil
	})
	return hit, err
}

func (r *request) hitBy(kind, value string) bool {
	user := func(i issued) bool { return i.CA == userCA }
	switch kind {
	case "all":
		return true
	case "person":
		return r.Person == value
	case "approver":
		return approved(*r, value)
	case "host":
		return slices.ContainsFunc(r.Targets, func(t string) bool { return strings.HasSuffix(t, "@"+value) })
	case "key":
		return r.Key == value ||
			slices.ContainsFunc(r.Issued, func(i issued) bool { return user(i) && i.Key == value }) ||
			slices.ContainsFunc(r.Votes, func(v control.Vote) bool { return v.Key == value && v.Decision == control.Approve })
	case "serial":
		return slices.ContainsFunc(r.Issued, func(i issued) bool { return user(i) && strconv.FormatUint(i.Serial, 10) == value })
	}
	return false
}

// cut numbers a revocation, ends the requests it hits and logs both. Everybody who follows the set learns of it
// once the transaction is durable.
func (ca *CA) cut(tx *store.Tx, rev control.Revocation, hit []request) (control.Revocation, error) {
	var err error
	if rev.Seq, err = following(tx, key(serialRows, revocationSerial)); err != nil {
		return rev, err
	}
	if _, err = following(tx, key(serialRows, "revoked/"+rev.Kind+":"+rev.Value)); err != nil {
		return rev, err
	}
	rev.At = ca.now().UTC()
	if rev.Kind == "key" {
		if err := tx.Set(key(deadKeyRows, rev.Value), nil); err != nil {
			return rev, err
		}
	} else {
		rev.Until = rev.At
	}
	for i := range hit {
		r := &hit[i]
		rev.Requests = append(rev.Requests, r.ID)
		if !rev.Until.IsZero() && r.NotAfter.After(rev.Until) {
			rev.Until = r.NotAfter
		}
		if err := ca.become(tx, r, control.Revoked, rev.Reason); err != nil {
			return rev, err
		}
	}
	if err := ca.record(tx, auditlog.Entry{Type: auditlog.TypeRevocation, Actor: rev.By, Revocation: &rev}); err != nil {
		return rev, err
	}
	if err := tx.Set(numbered(activeRows, rev.Seq), nil); err != nil {
		return rev, err
	}
	return rev, write(tx, numbered(revocationRows, rev.Seq), rev)
}

// keyAlive refuses a key that was revoked; unlike a grant, a key stays dead.
func keyAlive(tx *store.Tx, print string) error {
	dead, err := tx.Has(key(deadKeyRows, print))
	if err == nil && dead {
		err = refuse("key %s was revoked", print)
	}
	return err
}

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

// KRL is the set as OpenSSH reads it: the unexpired serials of what was cut, user and session certificates, and
// revoked keys. Its number is that of the last revocation.
func (ca *CA) KRL() ([]byte, error) {
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
	if rev.Kind == "key" {
		sum, err := base64.RawStdEncoding.DecodeString(strings.TrimPrefix(rev.Value, "SHA256:"))
		if err != nil || len(sum) != sha256.Size {
			return fmt.Errorf("revocation %d: fingerprint %q", rev.Seq, rev.Value)
		}
		list.RevokeHash([sha256.Size]byte(sum))
	}
	now := ca.now()
	for _, id := range rev.Requests {
		r, err := load(tx, id)
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
				past = append(past, slices.Clone(k))
			}
			return err
		})
	})
	if err != nil || len(past) == 0 {
		return err
	}
	return ca.db.Update(func(tx *store.Tx) error {
		for _, k := range past {
			if err := tx.Delete(k); err != nil {
				return err
			}
		}
		return nil
	})
}
