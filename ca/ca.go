// Package ca is the certificate authority: who asked for what, who approved it, what was signed, what was cut.
//
// Start with [New]. A CA decides and remembers; it knows nothing of connections (ca/server) or of flags. Every
// change is one transaction that writes the rows and the leaves of the audit log, run in its turn by the store's
// single committer: a decision sees every earlier one, and what was acknowledged survives a crash. What a person
// may read of a no is a [Refused]; any other error is a fault of ours.
package ca

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/ca/auditlog"
	"postern/ca/keys"
	"postern/internal/control"
	"postern/internal/store"
	"postern/policy"
)

// Config is what a CA needs. Keys, DB and Policy are required.
type Config struct {
	Keys   *keys.Set
	DB     *store.DB
	Policy *policy.Set
	Now    func() time.Time // nil: time.Now
	Log    *slog.Logger     // nil: slog.Default

	Reserve int64 // bytes of the disk that are set aside for what ends access when it is full; 0: none

	Witnesses func() ([]*auditlog.Witness, error) // whose cosignatures are kept; nil: nobody's
}

// CA is the authority. Its methods may be called from many goroutines.
type CA struct {
	keys   *keys.Set
	db     *store.DB
	signer *auditlog.Signer
	policy atomic.Pointer[policy.Set]
	now    func() time.Time
	log    *slog.Logger
	news   news
	krl    madeKRL
	cuts   chan struct{} // holds something when a revocation may not be through
	room   room

	witnesses    func() ([]*auditlog.Witness, error)
	sheetsJudged string // digest of the policy that live sheets were last judged by; sweep's
}

// Refused is a no that the person who asked may read: one line that names the thing and says what to do.
type Refused struct{ Message string }

func (r *Refused) Error() string { return r.Message }

func refuse(format string, args ...any) error { return &Refused{fmt.Sprintf(format, args...)} }

// regarding says of what a no is about. An error that is no no stays one: nobody reads it but the log.
func regarding(err error, format string, args ...any) error {
	if no := new(Refused); errors.As(err, &no) {
		return refuse("%s: %s", fmt.Sprintf(format, args...), no.Message)
	}
	return fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), err)
}

// New opens the authority over a store that [Found] began with the same keys.
func New(cfg Config) (*CA, error) {
	signer, err := auditlog.NewSigner(cfg.Keys.Name, cfg.Keys.Log)
	if err != nil {
		return nil, err
	}
	ca := &CA{room: room{reserve: cfg.Reserve}, keys: cfg.Keys, db: cfg.DB, signer: signer, now: cfg.Now, log: cfg.Log, witnesses: cfg.Witnesses, cuts: make(chan struct{}, 1)}
	if ca.now == nil {
		ca.now = time.Now
	}
	if ca.log == nil {
		ca.log = slog.Default()
	}
	if err := ca.db.View(ca.checkState); err != nil {
		return nil, err
	}
	if err := ca.makeEntries(); err != nil {
		return nil, err
	}
	ca.look()
	return ca, ca.SetPolicy(cfg.Policy)
}

// Found writes the first leaf of a new CA's log. A store that has one already is left as it is and is an error.
func Found(set *keys.Set, db *store.DB) error {
	first := genesis(set)
	return db.Update(func(tx *store.Tx) error {
		if size, err := auditlog.Size(tx); err != nil || size > 0 {
			return errors.Join(err, errors.New("the state belongs to a CA already"))
		}
		_, err := auditlog.Append(tx, auditlog.Entry{Type: auditlog.TypeGenesis, At: time.Now().UTC(), Actor: "ca", Genesis: &first})
		return err
	})
}

func genesis(set *keys.Set) auditlog.Genesis {
	return auditlog.Genesis{
		Name: set.Name, UserCA: line(set.User.PublicKey()), SessionCA: line(set.Session.PublicKey()),
		HostCA: line(set.Host.PublicKey()), GatewayCA: line(set.Gateway.PublicKey()),
	}
}

// checkState refuses the state of another CA, and an empty one: keys that have signed before would begin again with
// serial 1, and with a log that everybody's memory contradicts.
func (ca *CA) checkState(tx *store.Tx) error {
	size, err := auditlog.Size(tx)
	if err != nil {
		return err
	}
	if size == 0 {
		return errors.New("the state is empty, but the keys may have signed; restore the state from a backup, or make a new CA with: postern-ca init")
	}
	if err := checkKeys(tx); err != nil {
		return err
	}
	return auditlog.Leaves(tx, 0, 1, func(_ int64, leaf []byte) error {
		e, err := auditlog.Decode(leaf)
		if err != nil {
			return err
		}
		if e.Genesis == nil || *e.Genesis != genesis(ca.keys) {
			return errors.New("the state belongs to a CA with other keys; restore keys and state from the same backup")
		}
		return nil
	})
}

// SetPolicy puts a policy into force, after logging it. Requests that were already decided keep the rules they
// were decided by in their row, but every certificate and session is decided anew.
func (ca *CA) SetPolicy(set *policy.Set) error {
	if err := ca.ownName(set); err != nil {
		return err
	}
	err := ca.db.Update(func(tx *store.Tx) (err error) {
		tx.FromReserve(0) // who left the policy is out
		// Inside its turn, so that the log says exactly which policy decided what.
		defer func() {
			if err == nil {
				ca.policy.Store(set)
			}
		}()
		last, err := tx.Get(policyKey)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if string(last) == set.Digest() {
			return nil
		}
		if err := tx.Set(policyKey, []byte(set.Digest())); err != nil {
			return err
		}
		return ca.record(tx, auditlog.Entry{Type: auditlog.TypePolicy, Actor: "ca", Policy: logged(set)})
	})
	if err != nil {
		return err
	}
	ca.news.tell()
	return nil
}

// ownName refuses a policy in which a machine has the CA's own name: its gateway certificate would let a bastion
// pose as the CA.
func (ca *CA) ownName(set *policy.Set) error {
	if h, ok := set.Host(ca.keys.Name); ok {
		return fmt.Errorf("hosts.yaml: host %s uses the name of the CA itself, %s; give it another", h.Name, ca.keys.Name)
	}
	for _, b := range set.Bastions() {
		if b.Name == ca.keys.Name || hostOf(b.Address) == ca.keys.Name {
			return fmt.Errorf("hosts.yaml: bastion %s uses the name of the CA itself, %s; give it another", b.Name, ca.keys.Name)
		}
	}
	return nil
}

func logged(set *policy.Set) *auditlog.Policy {
	p := &auditlog.Policy{
		Digest: set.Digest(), People: map[string][]string{}, Groups: map[string][]string{},
		Bastions: map[string]string{}, Hosts: map[string]string{}, Emergencies: emergencies(set), Sealed: sealedRules(set),
	}
	for _, person := range set.People() {
		for _, k := range person.Keys {
			p.People[person.Name] = append(p.People[person.Name], k.Line)
		}
		for _, g := range person.Groups {
			p.Groups[g] = append(p.Groups[g], person.Name)
		}
	}
	for _, b := range set.Bastions() {
		p.Bastions[b.Name] = b.Key.Line
	}
	for _, h := range set.Hosts() {
		p.Hosts[h.Name] = h.HostKey
		if h.HostCA {
			p.Hosts[h.Name] = "host-ca"
		}
	}
	return p
}

// Caller is somebody, or some machine, whose key the policy knows.
type Caller struct {
	control.Identity
	Address string // where the connection comes from
}

// Identify says whose key it is. It is asked for every command, so a person who leaves the policy, or whose key
// is revoked, is out at once.
func (ca *CA) Identify(key ssh.PublicKey) (Caller, error) {
	set, print := ca.policy.Load(), ssh.FingerprintSHA256(key)
	id := control.Identity{Key: print, CA: ca.keys.Name, Policy: set.Digest()}
	if p, ok := set.PersonByKey(print); ok {
		id.Kind, id.Name, id.Groups = "person", p.Name, p.Groups
	} else if b, ok := set.BastionByKey(print); ok {
		id.Kind, id.Name = "bastion", b.Name
	} else if h, ok := set.HostByAgent(print); ok {
		id.Kind, id.Name = "host", h.Name
	} else {
		return Caller{}, refuse("the policy knows no key %s; ask your administrator to add it to people.yaml", print)
	}
	err := ca.db.View(func(tx *store.Tx) error { return keyAlive(tx, print) })
	return Caller{Identity: id}, err
}

// Run moves requests on whose time has passed, until ctx ends. Nothing depends on it for safety: every decision
// looks at the clock itself.
func (ca *CA) Run(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	day := ""
	for {
		// At first for what another process began, and with each tick once more for what failed. Without room all of it waits.
		roomy := ca.look()
		var err error
		if roomy {
			err = ca.finishCuts(ctx)
		}
		if err != nil && !errors.Is(err, store.ErrClosed) {
			ca.log.Error("what was revoked is kept out, but its requests are not all marked; this is tried again", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-ca.cuts:
		case <-tick.C:
			if !roomy {
				continue
			}
			if err := ca.sweep(); err != nil && !errors.Is(err, store.ErrClosed) {
				ca.log.Error("sweep", "err", err)
			}
			if today := ca.now().UTC().Format(time.DateOnly); today != day {
				day = today
				if err := ca.keepCustody(); err != nil && !errors.Is(err, store.ErrClosed) {
					ca.log.Error("retention", "err", err)
				}
			}
		}
	}
}

// Name is the CA's name.
func (ca *CA) Name() string { return ca.keys.Name }

// PolicyDigest names the policy in force.
func (ca *CA) PolicyDigest() string { return ca.policy.Load().Digest() }

// Checkpoint signs the log as it stands.
func (ca *CA) Checkpoint() ([]byte, error) {
	var out []byte
	err := ca.db.View(func(tx *store.Tx) error {
		tree, err := auditlog.Tree(tx)
		if err == nil {
			out, err = ca.signer.Checkpoint(tree)
		}
		return err
	})
	return out, err
}

// Leaves calls fn with the log's leaves from index from up to but not including to (0: to the end).
func (ca *CA) Leaves(from, to int64, fn func(control.Leaf) error) error {
	return ca.db.View(func(tx *store.Tx) error {
		return auditlog.Leaves(tx, from, to, func(i int64, data []byte) error {
			return fn(control.Leaf{Index: i, Data: slices.Clone(data)})
		})
	})
}

// May reports whether the caller may do an administrative action.
func (ca *CA) May(c Caller, action string) bool {
	return c.Kind == "person" && ca.policy.Load().May(c.Name, action)
}

func (ca *CA) record(tx *store.Tx, e auditlog.Entry) error {
	e.At = ca.now().UTC()
	_, err := auditlog.Append(tx, e)
	return err
}

// line is a key in authorized_keys form, without newline.
func line(key ssh.PublicKey) string { return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))) }

// The rows. Numbers in keys are big-endian, so that the order of keys is the order of numbers.
var policyKey = []byte("policy")

const (
	requestRows    = "request/"      // R-… to request
	movedRows      = "moved/"        // R-… of granted requests that were extended to moved
	sessionRows    = "session/"      // S-… to session
	openRows       = "open/"         // S-… of sessions that were not ended
	revocationRows = "revocation/"   // seq to control.Revocation
	activeRows     = "active/"       // seq of revocations that are not past
	holdingRows    = "holding/"      // seq of those of them that keep something away for a time
	receiptRows    = "cut/"          // seq / bastion / part to control.CutReceipt
	hostEndedRows  = "hostended/"    // seq / S-… to control.HostEnded
	riskRows       = "risk/"         // S-… / limit that it crossed
	liftRows       = "lift/"         // S-… / limit that held it, to liftRow
	usedRows       = "used/"         // R-… to what its sessions that ended have counted, by limit
	heldRows       = "heldgrant/"    // R-… of grants that a limit holds
	heldPersonRows = "heldperson/"   // person / counter, to when a session was first kept from opening by it
	sourceRows     = "source/"       // person / address, to when a session last came from there
	hourRows       = "hour/"         // person / time / S-… of sessions of the last hour
	serialRows     = "serial/"       // name of a CA to its last serial
	issuedRows     = "issued/"       // name of a CA / serial to issued
	deadKeyRows    = "deadkey/"      // fingerprint of a revoked key
	hostStateRows  = "hoststate/"    // name of a host to control.HostState
	recordingRows  = "recordingkey/" // K-… to control.RecordingKey, without its box
	boxRows        = "box/"          // K-… / hash to the box
	monthRows      = "month/"        // 2026-11, 2026-11/keystrokes to K-…
)

func key(prefix, id string) []byte { return []byte(prefix + id) }

func numbered(prefix string, n uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte(prefix), n)
}

func read[T any](tx *store.Tx, key []byte) (T, error) {
	var v T
	b, err := tx.Get(key)
	if err == nil {
		err = json.Unmarshal(b, &v)
	}
	return v, err
}

func write(tx *store.Tx, key []byte, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return tx.Set(key, b)
}

// last reads a number, 0 where there is none.
func last(tx *store.Tx, key []byte) (uint64, error) {
	b, err := tx.Get(key)
	if errors.Is(err, store.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return binary.BigEndian.Uint64(b), nil
}

// following takes the next number of a dense row of numbers.
func following(tx *store.Tx, key []byte) (uint64, error) {
	n, err := last(tx, key)
	if err != nil {
		return 0, err
	}
	return n + 1, setNumber(tx, key, n+1)
}

func setNumber(tx *store.Tx, key []byte, n uint64) error {
	return tx.Set(key, binary.BigEndian.AppendUint64(nil, n))
}
