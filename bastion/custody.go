package bastion

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/internal/control"
	"postern/recorder"
)

// Custody is how a bastion keeps what it recorded from being destroyed. The CA tells it what to destroy, and may be in the hands of
// somebody with something to hide; so it judges every order by what auditors signed, by holds that it remembers by itself, and by a time
// before which nothing goes. All fields but AtLeast, Voices, Log and Now must be set.
type Custody struct {
	File     string // where holds are remembered
	Name     string // of this bastion
	CA       string // name of the CA that decisions must be for
	Signer   ssh.Signer
	Auditors func() []ssh.PublicKey
	Recorder *recorder.Store

	AtLeast time.Duration // nothing younger goes because the policy says so; 0: at once
	Voices  int           // auditors who must want the same shredded; 0: one
	Log     *slog.Logger
	Now     func() time.Time

	mu       sync.Mutex
	next     uint64
	holds    map[string]control.Custody
	released map[string]bool
}

// heeded is a line of the file.
type heeded struct {
	Next    uint64           `json:"next,omitempty"`
	Custody *control.Custody `json:"custody,omitempty"`
}

// Facts are what a bastion notes of a session beside its recording, which it cannot read.
type Facts struct {
	control.Subject
	RetainDays int64 `json:"retain_days"` // as the CA said when it opened; 0: until auditors order otherwise
}

// Open reads the file, or begins it.
func (k *Custody) Open() error {
	if k.Log == nil {
		k.Log = slog.Default()
	}
	if k.Now == nil {
		k.Now = time.Now
	}
	k.Voices = max(k.Voices, 1)
	k.next, k.holds, k.released = 1, map[string]control.Custody{}, map[string]bool{}
	data, err := os.ReadFile(k.File)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	// What follows the last newline was torn by a crash, and the CA is asked for it again.
	if whole := bytes.LastIndexByte(data, '\n') + 1; whole < len(data) {
		data = data[:whole]
		if err := os.Truncate(k.File, int64(whole)); err != nil {
			return err
		}
	}
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, len(data)+1) // whatever the CA made us write can be read again
	for n := 1; lines.Scan(); n++ {
		var h heeded
		if err := json.Unmarshal(lines.Bytes(), &h); err != nil {
			return fmt.Errorf("%s:%d: %w; it says which recordings must not be destroyed, so bring it back from a copy", k.File, n, err)
		}
		k.take(h)
	}
	return lines.Err()
}

func (k *Custody) take(h heeded) {
	k.next = max(k.next, h.Next)
	if c := h.Custody; c != nil && c.Act == control.Hold && !k.released[c.ID] {
		k.holds[c.ID] = *c
	} else if c != nil && c.Act == control.Release {
		k.released[c.Hold] = true
		delete(k.holds, c.Hold)
	}
}

// Next is the number of the first decision that the bastion does not know.
func (k *Custody) Next() uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.next
}

// Heed takes what the CA says auditors decided, and remembers it before it returns. A hold is believed when anybody signed it, for the worst
// that a false one does is to keep something; a release only when an auditor of this bastion signed it, for this very hold.
func (k *Custody) Heed(list []control.Custody, next uint64) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	var file bytes.Buffer
	for _, c := range list {
		if _, held := k.holds[c.ID]; held || k.released[c.ID] || k.released[c.Hold] {
			continue // it is told again
		}
		if err := k.believe(c); err != nil {
			k.Log.Error("a decision about holds is not believed", "decision", oneLine(c.ID), "scope", oneLine(c.Scope), "error", err)
			continue
		}
		line, err := json.Marshal(heeded{Custody: &c})
		if err != nil {
			return err
		}
		file.Write(append(line, '\n'))
	}
	if next > k.next || file.Len() > 0 {
		line, err := json.Marshal(heeded{Next: next})
		if err != nil {
			return err
		}
		file.Write(append(line, '\n'))
	}
	if err := appendDurably(k.File, file.Bytes()); err != nil {
		return err
	}
	for line := range bytes.Lines(file.Bytes()) {
		var h heeded
		if err := json.Unmarshal(line, &h); err != nil {
			return err
		}
		k.take(h)
		if h.Custody != nil {
			k.Log.Info("auditors decided", "act", h.Custody.Act, "scope", h.Custody.Scope, "by", oneLine(h.Custody.Auditor), "decision", h.Custody.ID)
		}
	}
	return nil
}

func (k *Custody) believe(c control.Custody) error {
	signer, err := c.Verify()
	switch {
	case err != nil:
		return err
	case c.CA != k.CA:
		return fmt.Errorf("it is for the CA %q", c.CA)
	case c.Act == control.Hold:
		return nil
	case c.Act != control.Release:
		return errors.New("it is neither a hold nor a release")
	case !k.isAuditor(signer):
		return fmt.Errorf("it is signed by nobody whom %s knows as an auditor", k.Name)
	}
	if h, ok := k.holds[c.Hold]; ok && h.Scope != c.Scope {
		return fmt.Errorf("it releases %s, and the hold is on %s", c.Scope, h.Scope)
	}
	return nil
}

func (k *Custody) isAuditor(key ssh.PublicKey) bool {
	return slices.ContainsFunc(k.Auditors(), func(a ssh.PublicKey) bool { return bytes.Equal(a.Marshal(), key.Marshal()) })
}

func appendDurably(path string, data []byte) error {
	if len(data) == 0 {
		return nil
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// Carry judges an order, carries it out or declines it, and returns what the CA is told: signed, so that the log proves it. An error
// means that it could not be carried out now.
func (k *Custody) Carry(d control.Deletion) (control.Receipt, error) {
	r := control.Receipt{Order: d.ID, CA: k.CA, Session: d.Session, Bastion: k.Name, At: k.Now().UTC().Truncate(time.Second)}
	k.mu.Lock() // no hold may come between the judgement and the deed
	defer k.mu.Unlock()
	r.Declined = k.against(d)
	if r.Declined != "" {
		k.Log.Warn("an order is declined", "order", oneLine(d.ID), "session", oneLine(d.Session), "why", r.Declined)
		return r.Sign(k.Signer)
	}
	destroy := k.Recorder.Shred
	if d.Everything {
		destroy = k.Recorder.Delete
	}
	done, err := destroy(d.Session)
	if err != nil {
		return r, err
	}
	r.Box, r.Segments, r.Everything = "sha256:"+hex.EncodeToString(done.Box[:]), done.Segments, done.Everything
	r.At = done.At.Truncate(time.Second)
	k.Log.Info("a recording was destroyed", "order", oneLine(d.ID), "session", d.Session, "everything", r.Everything)
	return r.Sign(k.Signer)
}

// against is why an order is not carried out; empty: it is. k.mu is held.
func (k *Custody) against(d control.Deletion) string {
	rec, err := k.Recorder.Recording(d.Session)
	switch {
	case errors.Is(err, recorder.ErrNotFound):
		return "there is no such recording here"
	case err != nil:
		return "the recording cannot be read: " + oneLine(err.Error())
	case rec.Live || !rec.Sealed:
		return "the recording is not finished"
	case d.Bastion != k.Name:
		return "the order is for bastion " + oneLine(d.Bastion)
	}
	facts, noted := k.facts(rec)
	for _, id := range slices.Sorted(maps.Keys(k.holds)) {
		if h := k.holds[id]; h.Covers(facts.Subject) {
			return fmt.Sprintf("hold %s on %s by %s keeps it", h.ID, h.Scope, oneLine(h.Auditor))
		}
	}
	if len(d.Orders) > 0 {
		return k.unheard(d, facts.Subject)
	}
	age := k.Now().Sub(rec.Started)
	switch {
	case noted && facts.RetainDays == 0:
		return "when it was opened nobody limited how long it is kept, so auditors must order it"
	case noted && age < days(facts.RetainDays):
		return fmt.Sprintf("it was opened to be kept %d days", facts.RetainDays)
	case age < k.AtLeast:
		return fmt.Sprintf("it was recorded on %s, and without an auditor's order %s keeps everything at least %d days", rec.Started.UTC().Format(time.DateOnly), k.Name, int(k.AtLeast.Hours()/24))
	}
	return ""
}

func days(n int64) time.Duration { return time.Duration(n) * 24 * time.Hour }

// facts of a recording; of one that lacks them only what its opening says.
func (k *Custody) facts(rec recorder.Recording) (f Facts, noted bool) {
	data, err := k.Recorder.Facts(rec.Session)
	if err == nil {
		err = json.Unmarshal(data, &f)
	}
	if err != nil {
		return Facts{Subject: control.Subject{Session: rec.Session, Month: rec.Started.UTC().Format("2006-01")}}, false
	}
	return f, f.Subject.Session == rec.Session
}

// unheard is what an order of auditors lacks.
func (k *Custody) unheard(d control.Deletion, of control.Subject) string {
	names, keys := map[string]bool{}, map[string]bool{}
	why := ""
	for _, c := range d.Orders {
		signer, err := c.Verify()
		switch {
		case err != nil:
			why = "an order is not good: " + oneLine(err.Error())
		case c.Act != control.Shred || c.CA != k.CA || c.Session() != of.Session && c.Month() != of.Month:
			why = fmt.Sprintf("%s wants something else: to %s %s", c.ID, c.Act, c.Scope)
		case !k.isAuditor(signer):
			why = fmt.Sprintf("%s is signed by nobody whom %s knows as an auditor", c.ID, k.Name)
		default:
			names[c.Auditor], keys[string(signer.Marshal())] = true, true
		}
	}
	if n := min(len(names), len(keys)); n < k.Voices {
		if why == "" {
			why = "the others have to order the same"
		}
		return fmt.Sprintf("%d auditors must order it, here are %d: %s", k.Voices, n, why)
	}
	return ""
}

// note keeps what holds may be about. It does not keep anybody waiting: of a session without facts it is taken that every hold covers it.
func (b *Bastion) note(opened control.Session, month string) {
	f := Facts{Subject: control.SubjectOf(opened), RetainDays: opened.RetainDays}
	f.Month = month
	data, err := json.Marshal(f)
	if err == nil {
		err = b.Recorder.Note(opened.ID, data)
	}
	if err != nil {
		b.Log.Error("what holds may be about is not noted", "session", opened.ID, "error", err)
	}
}
