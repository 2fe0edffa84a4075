package ca

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"postern/ca/auditlog"
	"postern/ca/statement"
	"postern/internal/control"
	"postern/internal/sshsig"
	"postern/internal/store"
)

// View is what an auditor wants to look at, and why.
type View struct {
	Kind       string // control.ViewKinds
	Sessions   []string
	Keystrokes bool
	Reason     string
	Key        ssh.PublicKey // made for this view; the certificates are for it
}

// AuditStatement is the text that the auditor would sign for a view.
func (ca *CA) AuditStatement(c Caller, v View) (string, error) {
	var text string
	err := ca.db.View(func(tx *store.Tx) error {
		s, _, err := ca.viewing(tx, c, v)
		text = s.Text()
		return err
	})
	return text, err
}

// Audit lets an auditor at recordings: what they signed is logged first, then a certificate of minutes is signed for each bastion that keeps any of
// them, good for those and nothing else. All of it is decided in one turn of the store, so an auditor whose key or right went just before
// gets nothing.
func (ca *CA) Audit(c Caller, v View, signature []byte) (control.Audit, error) {
	var out control.Audit
	var tree auditlog.TreeHead
	err := ca.db.Update(func(tx *store.Tx) error {
		s, list, err := ca.viewing(tx, c, v)
		if err != nil {
			return err
		}
		signer, err := ca.viewSigner(tx, s, signature)
		if err != nil {
			return err
		}
		if _, err := following(tx, viewsOf(c.Name)); err != nil {
			return err
		}
		view := &auditlog.View{
			Kind: s.Kind, Sessions: s.Sessions, Keystrokes: s.Keystrokes, Sequence: s.Sequence, Reason: s.Reason, Key: s.Key,
			Public: line(signer), Statement: s.Text(), Signature: string(signature),
		}
		entry := auditlog.Entry{Type: auditlog.TypeView, Actor: c.Name, At: ca.now().UTC(), View: view}
		index, err := auditlog.Append(tx, entry)
		if err != nil {
			return err
		}
		out.Sessions = list
		if out.Keys, err = keysNamed(tx, list, v.Keystrokes); err != nil {
			return err
		}
		if out.Passes, err = ca.passes(tx, s, list, v.Key, signer); err != nil {
			return err
		}
		out.Logged, tree, err = included(tx, index, entry)
		return err
	})
	if err != nil {
		return control.Audit{}, err
	}
	// Only now: what was not committed must not be signed.
	checkpoint, err := ca.signer.Checkpoint(tree)
	out.Logged.Checkpoint = string(checkpoint)
	return out, err
}

// included shows how the leaf of entry, which was just appended, is in the tree.
func included(tx *store.Tx, index int64, entry auditlog.Entry) (control.Logged, auditlog.TreeHead, error) {
	tree, err := auditlog.Tree(tx)
	if err != nil {
		return control.Logged{}, tree, err
	}
	proof, err := auditlog.Inclusion(tx, tree.N, index)
	if err != nil {
		return control.Logged{}, tree, err
	}
	leaf, err := json.Marshal(entry) // as Append does
	return control.Logged{Index: index, Leaf: leaf, Proof: proof.String()}, tree, err
}

// viewsOf numbers the views of a person.
func viewsOf(person string) []byte { return key(serialRows, "view/"+person) }

// viewing checks who wants to look at what, and makes the statement of it.
func (ca *CA) viewing(tx *store.Tx, c Caller, v View) (statement.View, []control.Session, error) {
	none := statement.View{}
	if !ca.May(c, "audit") {
		return none, nil, refuse("%s may not read recordings: no rule permits it", c.Name)
	}
	if !slices.Contains(control.ViewKinds, v.Kind) {
		return none, nil, refuse("a view of kind %q is none (kinds are: %s)", v.Kind, strings.Join(control.ViewKinds, ", "))
	}
	reason, err := cleanReason(v.Reason)
	if err != nil {
		return none, nil, err
	}
	if err := ca.forOneView(tx, v.Key); err != nil {
		return none, nil, err
	}
	list, err := viewed(tx, v.Sessions)
	if err != nil {
		return none, nil, err
	}
	n, err := last(tx, viewsOf(c.Name))
	s := statement.View{
		CA: ca.keys.Name, Person: c.Name, Kind: v.Kind, Keystrokes: v.Keystrokes, Key: ssh.FingerprintSHA256(v.Key), Sequence: n, Reason: reason,
	}
	for _, session := range list {
		s.Sessions = append(s.Sessions, session.ID)
	}
	return s, list, err
}

// forOneView refuses keys that are good for something else: the certificate over one would outlive the program that asked for it, or let in
// somebody who signed nothing.
func (ca *CA) forOneView(tx *store.Tx, pub ssh.PublicKey) error {
	const remedy = `make one for this view alone with: ssh-keygen -t ed25519 -N "" -f FILE`
	if pub == nil || pub.Type() != ssh.KeyAlgoED25519 {
		return refuse("--key is no Ed25519 key; %s", remedy)
	}
	print, set := ssh.FingerprintSHA256(pub), ca.policy.Load()
	_, person := set.PersonByKey(print)
	_, bastion := set.BastionByKey(print)
	_, host := set.HostByAgent(print)
	if person || bastion || host {
		return refuse("key %s is one that the policy knows; %s", print, remedy)
	}
	return keyAlive(tx, print)
}

// viewed reads the sessions, sorted, each once.
func viewed(tx *store.Tx, ids []string) ([]control.Session, error) {
	var list []control.Session
	sorted := slices.Clone(ids)
	for i := range sorted {
		sorted[i] = strings.ToUpper(sorted[i])
	}
	slices.Sort(sorted)
	sorted = slices.Compact(sorted)
	if len(sorted) == 0 || len(sorted) > control.MaxView {
		return nil, refuse("%d sessions; a view is of 1 to %d", len(sorted), control.MaxView)
	}
	for _, id := range sorted {
		s, err := read[control.Session](tx, key(sessionRows, id))
		if errors.Is(err, store.ErrNotFound) {
			return nil, refuse("no session %.40s; list them with: postern sessions", id)
		}
		if err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	return list, nil
}

// viewSigner returns the auditor's living key that signed the statement.
func (ca *CA) viewSigner(tx *store.Tx, s statement.View, signature []byte) (ssh.PublicKey, error) {
	sig, err := sshsig.Verify(signature, control.ViewNamespace, []byte(s.Text()))
	if err != nil {
		return nil, refuse("the signature does not fit view %d of %s (was another one of theirs logged meanwhile, or was it made for other sessions or another reason?): %v", s.Sequence, s.Person, err)
	}
	return sig.Key, ca.ownKey(tx, s.Person, sig.Key)
}

// keysNamed collects the recording keys that the sessions name. One that is gone cannot be handed out, which the auditor will notice.
func keysNamed(tx *store.Tx, list []control.Session, keystrokes bool) ([]control.RecordingKey, error) {
	var keys []control.RecordingKey
	seen := map[string]bool{"": true}
	for _, s := range list {
		ids := []string{s.RecordingKey}
		if keystrokes {
			ids = append(ids, s.KeystrokeKey)
		}
		for _, id := range ids {
			if seen[id] {
				continue
			}
			seen[id] = true
			k, err := keyCalled(tx, id)
			if errors.Is(err, store.ErrNotFound) {
				continue
			}
			if err != nil {
				return nil, err
			}
			keys = append(keys, k)
		}
	}
	return keys, nil
}

// passes signs a certificate for each bastion of the policy that keeps any of the sessions.
func (ca *CA) passes(tx *store.Tx, s statement.View, list []control.Session, pub, signer ssh.PublicKey) ([]control.Pass, error) {
	kept := map[string][]string{}
	for _, session := range list {
		kept[session.Bastion] = append(kept[session.Bastion], session.ID)
	}
	seq, err := last(tx, key(serialRows, revocationSerial))
	if err != nil {
		return nil, err
	}
	var passes []control.Pass
	for _, name := range slices.Sorted(maps.Keys(kept)) {
		b, ok := ca.policy.Load().Bastion(name)
		if !ok {
			continue
		}
		cert := &ssh.Certificate{
			Key: pub, CertType: ssh.UserCert, KeyId: fmt.Sprintf("%s audit %d", s.Person, s.Sequence),
			ValidPrincipals: []string{"recordings@" + b.Name},
			Permissions: ssh.Permissions{Extensions: map[string]string{
				AuditExtension:  strings.Join(kept[name], ","),
				ViewerExtension: fmt.Sprintf("%s %d", ssh.FingerprintSHA256(signer), seq),
			}},
		}
		ca.valid(cert, ca.now().Add(auditLife))
		made, err := ca.sign(tx, userCA, cert, auditlog.Certificate{})
		if err != nil {
			return nil, err
		}
		passes = append(passes, control.Pass{
			Bastion:  control.Place{Name: b.Name, Address: b.Address, Key: b.Key.Line},
			Sessions: kept[name], Certificate: made.Certificate, NotAfter: made.NotAfter,
		})
	}
	if len(passes) == 0 {
		return nil, refuse("bastion %s, which keeps %s, is not in the policy", list[0].Bastion, list[0].ID)
	}
	return passes, nil
}
