package ca

import (
	"crypto/ed25519"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/ca/auditlog"
	"postern/internal/control"
	"postern/internal/envelope"
	"postern/internal/store"
	"postern/policy"
)

// The rows of sealed grants.
const (
	sheetKeyRows = "sheetkey/" // name of a bastion to control.SheetKey
	sheetRows    = "sheet/"    // R-… to auditlog.Sheet: those that were handed out
	sheetUseRows = "sheetuse/" // R-… / nonce to control.SheetUse
)

// SheetAsk is what a request for a sealed grant says beside others.
type SheetAsk struct {
	Bastion string
	Valid   time.Duration // 0: as long as the rules allow
	Names   []string      // of the holders: a person with one key, or the fingerprint of a key
	Holders []control.Holder
}

// prepare finds out who the holders are, and whether the bastion could open a sheet at all.
func (ca *CA) prepare(tx *store.Tx, ask *Ask, now time.Time) (*control.Sheet, error) {
	set, s := ca.policy.Load(), *ask.Sheet
	if len(ask.Targets) != 1 {
		return nil, refuse("a sealed grant is for one account on one host, not for %d", len(ask.Targets))
	}
	if s.Valid < 0 || s.Valid > policy.MaxSealed || s.Valid%time.Second != 0 {
		return nil, refuse("a sealed grant is good for a time in whole seconds up to %d days", int(policy.MaxSealed/(24*time.Hour)))
	}
	if _, err := ca.sheetKey(tx, s.Bastion); err != nil {
		return nil, err
	}
	s.Holders = nil
	for _, name := range s.Names {
		h, err := holder(tx, set, name)
		if err != nil {
			return nil, err
		}
		s.Holders = append(s.Holders, h)
	}
	slices.SortFunc(s.Holders, func(a, b control.Holder) int {
		return strings.Compare(a.Person+" "+a.Key, b.Person+" "+b.Key)
	})
	s.Holders = slices.Compact(s.Holders)
	if n := len(s.Holders); n == 0 || n > control.MostHolders {
		return nil, refuse("a sealed grant is for one to %d people's keys, not for %d", control.MostHolders, n)
	}
	ask.Sheet = &s
	return &control.Sheet{Bastion: s.Bastion, Holders: s.Holders, Until: now.Add(s.Valid).Truncate(time.Second)}, nil
}

// holder is whom a name or a fingerprint stands for.
func holder(tx *store.Tx, set *policy.Set, name string) (control.Holder, error) {
	if p, ok := set.PersonByKey(name); ok {
		return control.Holder{Person: p.Name, Key: name}, keyAlive(tx, name)
	}
	p, ok := set.Person(name)
	switch {
	case !ok:
		return control.Holder{}, refuse("%q is neither a person of people.yaml nor the SHA256: fingerprint of a person's key", name)
	case len(p.Keys) > 1:
		return control.Holder{}, refuse("%s has %d keys; say which by its fingerprint, such as %s", name, len(p.Keys), p.Keys[0].Fingerprint)
	}
	return control.Holder{Person: p.Name, Key: p.Keys[0].Fingerprint}, keyAlive(tx, p.Keys[0].Fingerprint)
}

// decideFor is decide; a sealed grant must be allowed to each of its holders, whoever asks.
func decideFor(set *policy.Set, person string, ask Ask, source string, at time.Time) (policy.Decision, error) {
	if ask.Sheet == nil {
		return decide(set, person, ask, source, at)
	}
	var all policy.Decision
	for i, h := range ask.Sheet.Holders {
		d, err := decide(set, h.Person, ask, source, at)
		if err != nil {
			return d, err
		}
		if i == 0 {
			all = d
		} else {
			unite(&all, d)
		}
	}
	if len(all.Allowed) == 0 || all.Sealed == nil {
		return all, refuse("no rule allows all of these people one sealed grant; ask for them one by one")
	}
	return all, nil
}

// seal makes a request one for a sealed grant, within what the rules say.
func (r *request) seal(s *control.Sheet, d policy.Decision) error {
	if r.Asked.Sheet.Valid > d.Sealed.Valid {
		return refuse("asked to be good for %s, at most %d days (rules %s)", r.Asked.Sheet.Valid, int(d.Sealed.Valid/(24*time.Hour)), strings.Join(d.Rules, ", "))
	}
	if r.Asked.Sheet.Valid == 0 {
		s.Until = r.Created.Add(d.Sealed.Valid)
	}
	if s.Until.Before(r.ClaimBy) {
		r.ClaimBy = s.Until
	}
	s.TakeBy = r.ClaimBy
	s.ReviewSeconds, s.ReviewNeeds = int64(d.Sealed.Review.Within/time.Second), needs(d.Sealed.Review.Needs)
	r.Sheet = s
	return nil
}

// SheetKey takes the key that sheets for a bastion are sealed to, and tells the bastion what it has to know when there is no CA.
func (ca *CA) SheetKey(c Caller, k control.SheetKey) (ready control.Ready, err error) {
	if c.Kind != "bastion" || k.Bastion != c.Name || k.CA != ca.keys.Name {
		return ready, refuse("a bastion brings its own key for sheets; this is %s %s", c.Kind, c.Name)
	}
	if err := envelope.Check(k.Public); err != nil {
		return ready, refuse("the key for sheets of %s: %v", c.Name, err)
	}
	err = ca.db.Update(func(tx *store.Tx) error {
		if err := ca.ofBastion(k.Bastion, k.Verify); err != nil {
			return err
		}
		if err := write(tx, key(sheetKeyRows, k.Bastion), k); err != nil {
			return err
		}
		var none *Refused
		all, err := ca.currentKey(tx, "")
		if err != nil {
			if errors.As(err, &none) {
				return nil // an auditor makes one; the bastion asks again
			}
			return err
		}
		ready.RecordingKey = all.Bare()
		typed, err := ca.currentKey(tx, control.Keystrokes)
		if err == nil {
			bare := typed.Bare()
			ready.KeystrokeKey = &bare
		} else if errors.As(err, &none) {
			err = nil
		}
		return err
	})
	return ready, err
}

// ofBastion checks a signature with the key that the policy in force gives a bastion.
func (ca *CA) ofBastion(name string, check func(ssh.PublicKey) error) error {
	b, ok := ca.policy.Load().Bastion(name)
	if !ok {
		return refuse("no bastion %s in the policy", name)
	}
	pub, err := parseKey(b.Key.Line)
	if err == nil {
		err = check(pub)
	}
	if err != nil {
		return refuse("%v", err)
	}
	return nil
}

func (ca *CA) sheetKey(tx *store.Tx, bastion string) (control.SheetKey, error) {
	b, ok := ca.policy.Load().Bastion(bastion)
	if !ok {
		return control.SheetKey{}, refuse("no bastion %q in the policy; a sealed grant names the one that takes it", bastion)
	}
	if err := keyAlive(tx, b.Key.Fingerprint); err != nil { // who has it would open every sheet
		return control.SheetKey{}, regarding(err, "bastion %s takes no sheets", bastion)
	}
	k, err := read[control.SheetKey](tx, key(sheetKeyRows, bastion))
	if errors.Is(err, store.ErrNotFound) {
		return k, refuse("%s has told no key for sheets: it takes none; its operator starts it with --emergency on while the CA runs", bastion)
	}
	if err != nil {
		return k, err
	}
	return k, ca.ofBastion(bastion, k.Verify)
}

// MakeSheet signs the certificates of a sealed grant that was approved and hands everything out, once. What opens the host is sealed to the bastion
// before anybody sees it, and kept nowhere.
func (ca *CA) MakeSheet(c Caller, id string) (made control.Made, err error) {
	err = ca.db.Update(func(tx *store.Tx) error {
		r, err := ca.visible(tx, c, id)
		switch {
		case err != nil:
			return err
		case r.Sheet == nil:
			return refuse("%s is no sealed grant; take its certificate with: postern certificate %s", r.ID, r.ID)
		case r.Person != c.Name:
			return refuse("%s belongs to %s; only they can take its sheet", r.ID, r.Person)
		case r.State == control.Granted:
			return refuse("the sheet of %s was handed out, and there is no other; if it is lost, revoke it and prepare another", r.ID)
		case !r.live():
			return refuse("%s is %s; ask again with: postern prepare", r.ID, r.State)
		}
		if err := ca.held(tx, r.traits()); err != nil {
			return err
		}
		d, err := ca.stillApproved(tx, r)
		if err != nil {
			return err
		}
		if err := ca.holdersLive(tx, r); err != nil {
			return err
		}
		made, err = ca.issueSheet(tx, r, d)
		return err
	})
	return made, err
}

// holdersLive says whether every holder's key is still theirs.
func (ca *CA) holdersLive(tx *store.Tx, r request) error {
	for _, h := range r.Sheet.Holders {
		if owner, ok := ca.policy.Load().PersonByKey(h.Key); !ok || owner.Name != h.Person {
			return refuse("key %s is no longer %s's; ask again", h.Key, h.Person)
		}
		if err := keyAlive(tx, h.Key); err != nil {
			return err
		}
	}
	return nil
}

func (ca *CA) issueSheet(tx *store.Tx, r request, d policy.Decision) (made control.Made, err error) {
	to, err := ca.sheetKey(tx, r.Sheet.Bastion)
	if err != nil {
		return made, err
	}
	if r.Sheet.Session, err = unused(tx, sessionRows, "S-", 10); err != nil {
		return made, err
	}
	r.Ends = r.Sheet.Until
	if err := ca.become(tx, &r, control.Granted, "its sheet was handed out"); err != nil {
		return made, err
	}
	private, terms, err := ca.hostCertificateOf(tx, &r, d)
	if err != nil {
		return made, err
	}
	defer clear(private)
	if made.Terms, err = terms.Text(); err != nil {
		return made, err
	}
	if made.Envelope, err = envelope.Seal(to.Public, made.Terms, private); err != nil {
		return made, err
	}
	sum := control.EnvelopeSum(made.Envelope)
	for _, h := range r.Sheet.Holders {
		b, err := ca.holderCertificate(tx, &r, h, control.SheetDigest(made.Terms, sum))
		if err != nil {
			return made, err
		}
		made.Certificates = append(made.Certificates, b)
	}
	sheet := auditlog.Sheet{Request: r.ID, Terms: string(made.Terms), Envelope: sum, To: to}
	if err := ca.record(tx, auditlog.Entry{Type: auditlog.TypeSheet, Actor: r.Person, Sheet: &sheet}); err != nil {
		return made, err
	}
	return made, errors.Join(write(tx, key(sheetRows, r.ID), sheet), r.save(tx))
}

// hostCertificateOf makes the key that opens the host, its certificate, and the terms it is used under.
func (ca *CA) hostCertificateOf(tx *store.Tx, r *request, d policy.Decision) (ed25519.PrivateKey, control.Terms, error) {
	set := ca.policy.Load()
	_, name, _ := strings.Cut(r.Targets[0], "@")
	host, ok := set.Host(name)
	bastion, known := set.Bastion(r.Sheet.Bastion)
	if !ok || !known {
		return nil, control.Terms{}, refuse("%s or %s left the policy", name, r.Sheet.Bastion)
	}
	seq, err := last(tx, key(serialRows, revocationSerial))
	if err != nil {
		return nil, control.Terms{}, err
	}
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, control.Terms{}, err
	}
	pub, err := ssh.NewPublicKey(public)
	if err != nil {
		return nil, control.Terms{}, err
	}
	cert := &ssh.Certificate{
		Key: pub, CertType: ssh.UserCert, KeyId: holdersOf(r.Sheet) + " " + r.ID + " " + r.Sheet.Session, ValidPrincipals: r.Targets,
		Permissions: ssh.Permissions{
			CriticalOptions: map[string]string{"source-address": strings.Join(bastion.Sources, ",")},
			Extensions:      map[string]string{RequestExtension: r.ID},
		},
	}
	permit(cert, d.Allowed)
	ca.valid(cert, r.Sheet.Until)
	signed, err := ca.sign(tx, sessionCA, cert, auditlog.Certificate{Request: r.ID, Session: r.Sheet.Session})
	if err != nil {
		return nil, control.Terms{}, err
	}
	r.Issued = append(r.Issued, issued{CA: sessionCA, Serial: signed.Serial, Until: signed.NotAfter})
	return private, control.Terms{
		Version: control.TermsVersion, CA: ca.keys.Name, Request: r.ID, Session: r.Sheet.Session, Bastion: r.Sheet.Bastion, Reached: bastion.Address, Target: r.Targets[0],
		Until: r.Sheet.Until.UTC(), Seconds: r.ForSeconds, Seq: seq, Certificate: signed.Certificate,
		Address: host.Address, HostKey: host.HostKey, HostName: host.Name, Capabilities: d.Allowed, Destinations: d.Destinations, Environment: d.Environment,
		IdleSeconds: int64(d.Idle / time.Second), Record: record(d), Limits: d.Limits.String(),
	}, nil
}

// holdersOf is whom a host's own log names, before it is known which of them it was.
func holdersOf(s *control.Sheet) string {
	var names []string
	for _, h := range s.Holders {
		names = append(names, h.Person)
	}
	return strings.Join(slices.Compact(names), "+")
}

// holderCertificate is what a holder logs in to the bastion with. It is worth nothing without the envelope that its option is the digest of.
func (ca *CA) holderCertificate(tx *store.Tx, r *request, h control.Holder, digest string) ([]byte, error) {
	owner, _ := ca.policy.Load().Person(h.Person)
	i := slices.IndexFunc(owner.Keys, func(k policy.Key) bool { return k.Fingerprint == h.Key })
	pub, err := parseKey(owner.Keys[i].Line) // holdersLive found it
	if err != nil {
		return nil, err
	}
	cert := &ssh.Certificate{
		Key: pub, CertType: ssh.UserCert, KeyId: h.Person + " " + r.ID, ValidPrincipals: r.Targets,
		Permissions: ssh.Permissions{
			CriticalOptions: map[string]string{control.SheetOption: digest},
			Extensions:      map[string]string{RequestExtension: r.ID, ApprovalsExtension: approvalsDigest(*r)},
		},
	}
	permit(cert, r.Capabilities)
	ca.valid(cert, r.Sheet.Until)
	signed, err := ca.sign(tx, userCA, cert, auditlog.Certificate{Request: r.ID})
	if err != nil {
		return nil, err
	}
	r.Issued = append(r.Issued, issued{CA: userCA, Serial: signed.Serial, Until: signed.NotAfter, Key: h.Key})
	return cert.Marshal(), nil
}

// sealedRules are the rules of a policy that allow sealed grants, as the log has them.
func sealedRules(set *policy.Set) map[string]auditlog.Sealed {
	rules := map[string]auditlog.Sealed{}
	for id, s := range maps.All(set.SealedRules()) {
		rules[id] = auditlog.Sealed{ValidSeconds: int64(s.Valid / time.Second), Emergency: auditlog.Emergency{
			MaxSeconds: int64(s.Review.Max / time.Second), ReviewSeconds: int64(s.Review.Within / time.Second), Needs: needs(s.Review.Needs)}}
	}
	return rules
}
