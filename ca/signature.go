package ca

import (
	"fmt"

	"golang.org/x/crypto/ssh"

	"postern/internal/control"
	"postern/internal/sshsig"
	"postern/internal/store"
	"postern/policy"
)

// signed checks the signature strictly and makes the vote of it. What a token must prove for it is what the request was told, and for an approval what
// the policy in force wants besides.
func (ca *CA) signed(tx *store.Tx, c Caller, r request, decision, text string, signature []byte) (control.Vote, error) {
	touch, pin := r.Touch, r.PIN
	switch decision {
	case control.Withdraw: // to give something back is always allowed, with any key that is theirs
		touch, pin = false, false
	case control.Approve, control.Extend, control.Lift:
		if d, err := ca.decideAgain(r); err == nil {
			touch, pin = touch || d.Touch, pin || d.PIN
		}
	}
	key, err := ca.checkSignature(tx, c.Name, text, signature, touch, pin)
	if err == nil && decision != control.Withdraw {
		err = ca.keptFrom(tx, r, decision, c.Name, ssh.FingerprintSHA256(key)) // which may be another one than they logged in with
	}
	if err != nil {
		return control.Vote{}, err
	}
	return control.Vote{
		Decision: decision, Person: c.Name, Key: ssh.FingerprintSHA256(key), Public: line(key),
		At: ca.now().UTC(), Statement: text, Signature: string(signature),
	}, nil
}

// checkSignature returns the key of person that signed text. touch and pin are what a FIDO key must prove.
func (ca *CA) checkSignature(tx *store.Tx, person, text string, signature []byte, touch, pin bool) (ssh.PublicKey, error) {
	sig, err := sshsig.Verify(signature, control.Namespace, []byte(text))
	if err != nil {
		return nil, refuse("the signature does not fit the statement shown to %s (was it made for another request, decision or person, or over an altered text?): %v", person, err)
	}
	print := ssh.FingerprintSHA256(sig.Key)
	if owner, ok := ca.policy.Load().PersonByKey(print); !ok || owner.Name != person {
		return nil, refuse("the signature is by key %s, which is not one of %s's", print, person)
	}
	if err := keyAlive(tx, print); err != nil {
		return nil, err
	}
	return sig.Key, proves(sig, touch, pin)
}

// proves refuses a signature that does not show the touch, or the PIN, that is wanted.
func proves(sig *sshsig.Signature, touch, pin bool) error {
	fido := sig.Key.Type() == ssh.KeyAlgoSKED25519 || sig.Key.Type() == ssh.KeyAlgoSKECDSA256
	if (touch || pin) && (!fido || !sig.Presence) {
		return refuse("the policy wants a FIDO key that was touched; key %s does not prove that", ssh.FingerprintSHA256(sig.Key))
	}
	if pin && !sig.Verified {
		return refuse("the policy wants the PIN of the FIDO key; sign with one made by: ssh-keygen -t ed25519-sk -O verify-required")
	}
	return nil
}

// stillSigned says whether what was signed for the request still counts: by keys that are their people's, alive, and with the touch and the PIN that the
// policy in force wants.
func (ca *CA) stillSigned(tx *store.Tx, r request, d policy.Decision) error {
	for _, v := range r.carriers() {
		if p, ok := ca.policy.Load().PersonByKey(v.Key); !ok || p.Name != v.Person {
			return refuse("the key with which %s approved %s is no longer theirs; ask again", v.Person, r.ID)
		}
		if err := keyAlive(tx, v.Key); err != nil {
			return err
		}
	}
	return stillProved(r, d)
}

// stillProved says whether what was signed for the request has the touch and the PIN that the policy in force wants and the request was not told.
func stillProved(r request, d policy.Decision) error {
	if (!d.Touch || r.Touch) && (!d.PIN || r.PIN) {
		return nil // they were looked at when it was signed
	}
	for _, v := range r.carriers() {
		sig, err := sshsig.Verify([]byte(v.Signature), control.Namespace, []byte(v.Statement))
		if err != nil {
			return fmt.Errorf("%s of %s by %s: %w", v.Decision, r.ID, v.Person, err)
		}
		if err := proves(sig, d.Touch, d.PIN); err != nil {
			return regarding(err, "%s has approvals of before, of which %s's is not enough any more, so ask again", r.ID, v.Person)
		}
	}
	return nil
}

// keptFrom refuses the decision of somebody who is kept away: they do not decide for others. A finding is about what is over, wherever it was.
func (ca *CA) keptFrom(tx *store.Tx, r request, decision, person, key string) error {
	t := control.Traits{Person: person, Keys: []string{key}, Approvers: []string{person}, Targets: r.Targets}
	if decision == control.Review || decision == control.Clear {
		t.Targets = nil
	}
	return ca.held(tx, t)
}
