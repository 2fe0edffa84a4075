package bastion

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/internal/control"
	"postern/internal/durable"
	"postern/internal/envelope"
)

const (
	// A bastion that has not heard from its CA for so long knows too little of what was revoked meanwhile.
	sheetStale = 7 * 24 * time.Hour
	// The clock may be so far behind when the CA was last heard.
	sheetSkew = time.Minute
	// How long after it was presented a sheet waits for its login, and how many may wait.
	sheetWait = 5 * time.Minute
	mostWait  = 16

	// Of what comes soon after something was saved, all is saved together.
	savePause = time.Second
	// A disk that takes so long is as good as none.
	saveTime = 5 * time.Second

	knownFile = "known.json"
	toldMark  = ".told"
)

// Sheets is how a bastion takes sealed grants while it has no CA: what it has to know for that, and what it has used, in files of its own. Every
// field but After must be set.
type Sheets struct {
	Dir    string
	CA     string // its name
	Key    envelope.Key
	Signer ssh.Signer    // the bastion's identity
	After  time.Duration // the CA must have been gone for so long; 0: since a moment
	Burnt  func()        // told of each use, when it is on disk

	mu      sync.Mutex    // never held while the disk is waited for: revocations and leases come through here
	began   time.Duration // by [Uptime]
	known   known
	set     func() []control.Revocation
	write   func(path string, data []byte) error
	written time.Time     // known.Heard, as the file has it
	changes uint64        // of what is to be on disk
	kept    uint64        // of them, those that are, or failed to be
	unkept  time.Duration // since when there is one that is not, by [Uptime]
	saver   chan struct{} // closed when nobody saves any more; nil: nobody does
	hurry   chan struct{} // to the one who saves
	broken  error         // the file could not be written: nothing is taken until it can
	waiting map[string]*presented
}

// known is what a bastion must not forget when it starts without a CA.
type known struct {
	Heard       time.Time            `json:"heard"` // when the CA was last heard; zero: never
	Revocations []control.Revocation `json:"revocations"`
	control.Ready
}

// presented is a sheet whose envelope was opened, until its holder logs in.
type presented struct {
	terms  control.Terms
	digest string
	signer ssh.Signer
	until  time.Duration
}

// Open reads the files. b is whose sheets they are: it knows the revocations from then on.
func (h *Sheets) Open(b *Bastion) error {
	if err := os.MkdirAll(filepath.Join(h.Dir, "used"), 0o700); err != nil {
		return err
	}
	h.began, h.waiting, h.set, h.write, h.hurry = Uptime(), map[string]*presented{}, b.revoked.known, durable.Replace, make(chan struct{}, 1)
	data, err := os.ReadFile(filepath.Join(h.Dir, knownFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = json.Unmarshal(data, &h.known)
	}
	if err != nil {
		return fmt.Errorf("%s: %w; remove it while the CA runs, it is made anew", filepath.Join(h.Dir, knownFile), err)
	}
	h.written = h.known.Heard
	b.revoked.mu.Lock()
	defer b.revoked.mu.Unlock()
	for _, r := range h.known.Revocations {
		b.revoked.set = append(b.revoked.set, know(r))
	}
	return nil
}

// Ready remembers the recording keys that the CA named last. One that is not there takes none away.
func (h *Sheets) Ready(r control.Ready) {
	h.mu.Lock()
	defer h.mu.Unlock()
	fresh := false
	if k := r.RecordingKey; k.ID != "" && k.ID != h.known.RecordingKey.ID {
		h.known.RecordingKey, fresh = k, true
	}
	if k := r.KeystrokeKey; k != nil && (h.known.KeystrokeKey == nil || k.ID != h.known.KeystrokeKey.ID) {
		h.known.KeystrokeKey, fresh = k, true
	}
	if fresh {
		h.keep()
	}
}

// remember has the revocations there are kept. They are in force already: who presents a sheet is held against what is in memory.
func (h *Sheets) remember() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.keep()
}

// heard says that the CA answered. What was presented goes: with a CA there is no need for it.
func (h *Sheets) heard(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	clear(h.waiting)
	h.known.Heard = now.UTC()
	if now.Sub(h.written).Abs() > time.Minute || h.broken != nil {
		h.keep()
	}
}

// keep has somebody save what changed: at once, or of many changes in a row all but the first together, a moment later. Nobody waits for the disk here, or
// one that hangs would hold up the revocation that comes next. mu is held.
func (h *Sheets) keep() {
	if h.changes == h.kept {
		h.unkept = Uptime()
	}
	h.changes++
	if h.saver == nil {
		h.saver = make(chan struct{})
		go h.save(h.saver)
	}
}

// save replaces the file until it has everything.
func (h *Sheets) save(done chan struct{}) {
	defer close(done)
	for {
		h.mu.Lock()
		if h.kept == h.changes {
			h.saver = nil
			h.mu.Unlock()
			return
		}
		known, changes, began := h.known, h.changes, Uptime()
		h.mu.Unlock()
		known.Revocations = h.set()
		data, err := json.Marshal(known)
		if err == nil {
			err = h.write(filepath.Join(h.Dir, knownFile), data)
		}
		h.mu.Lock()
		if h.broken = err; err == nil {
			h.written = known.Heard
		}
		h.kept, h.unkept = changes, began
		h.mu.Unlock()
		select {
		case <-h.hurry:
		case <-time.After(savePause):
		}
	}
}

// flush returns when everything is on disk, or cannot be.
func (h *Sheets) flush() {
	h.mu.Lock()
	done := h.saver
	h.mu.Unlock()
	if done == nil {
		return
	}
	select {
	case h.hurry <- struct{}{}:
	default:
	}
	<-done
}

// stuck says whether the disk has not taken something for long. mu is held.
func (h *Sheets) stuck() bool { return h.kept != h.changes && Uptime()-h.unkept > saveTime }

// alone says why no sheet is taken at the moment, whatever it is: the CA is there, or was until now, or what has to be known is not.
func (h *Sheets) alone(l *lease, now time.Time) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if l.admits() {
		return errors.New("the CA is there, so no sealed grant is taken; ask for access with: postern request ACCOUNT@HOST --for 20m --reason TEXT")
	}
	if left := max(h.began, l.last()) + h.After - Uptime(); left > 0 {
		return fmt.Errorf("the CA has been gone for a moment only; a sealed grant is taken in %s", left.Round(time.Second)+time.Second)
	}
	switch {
	case h.stuck():
		return errors.New("this bastion's disk does not take what it has to know, so it takes no sealed grant; tell your operator")
	case h.broken != nil:
		return fmt.Errorf("this bastion cannot write down what it has to know, so it takes no sealed grant: %w", h.broken)
	case h.known.Heard.IsZero():
		return errors.New("this bastion has never heard from its CA with --emergency on, so it knows no revocations and takes no sealed grant")
	case now.Before(h.known.Heard.Add(-sheetSkew)):
		return fmt.Errorf("this bastion's clock is behind: it heard from its CA at %s; set it, and try again", h.known.Heard.Format(time.RFC3339))
	case now.Sub(h.known.Heard) > sheetStale:
		return fmt.Errorf("this bastion heard from its CA at %s, so long ago that it cannot know what was revoked; it takes no sealed grant", h.known.Heard.Format(time.RFC3339))
	}
	return nil
}

// ready are the recording keys that were known last.
func (h *Sheets) ready() control.Ready {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.known.Ready
}

// wait keeps an opened sheet for its login.
func (h *Sheets) wait(p *presented) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for id, other := range h.waiting {
		if Uptime() > other.until {
			delete(h.waiting, id)
		}
	}
	if _, again := h.waiting[p.terms.Request]; !again && len(h.waiting) >= mostWait {
		return fmt.Errorf("%d sealed grants wait for their logins already; try again in %s", mostWait, sheetWait)
	}
	p.until = Uptime() + sheetWait
	h.waiting[p.terms.Request] = p
	return nil
}

// take is the opened sheet for a login with that certificate; it is there for one login alone.
func (h *Sheets) take(g *grant) (*presented, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	p := h.waiting[g.request]
	if p == nil || p.digest != g.digest || Uptime() > p.until {
		return nil, errors.New("this is the certificate of a sealed grant; present its sheet first: postern sheet use FILE")
	}
	delete(h.waiting, g.request)
	return p, nil
}

// requestForm keeps what becomes the name of a file from being anything else.
var requestForm = regexp.MustCompile(`^R-[0-9A-Z]{1,32}$`)

func (h *Sheets) usedFile(request string) string { return filepath.Join(h.Dir, "used", request) }

// spent refuses a sheet that was used here. What cannot be read was.
func (h *Sheets) spent(request string) error {
	if !requestForm.MatchString(request) {
		return errors.New("this certificate names no request")
	}
	data, err := os.ReadFile(h.usedFile(request))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var u control.SheetUse
	if err == nil && json.Unmarshal(data, &u) == nil {
		return fmt.Errorf("the sheet of %s was used by %s at %s; it is good once", request, oneLine(u.Person), u.Started.UTC().Format(time.RFC3339))
	}
	return fmt.Errorf("the sheet of %s was used; it is good once", request)
}

// burn writes down that a sheet is used, durably, before anything comes of it. Of two at once one fails; one that stands there, whole or not, is used
// for ever, also when the session never came to be.
func (h *Sheets) burn(u control.SheetUse) error {
	data, err := json.Marshal(u)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(h.usedFile(u.Request), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return h.spent(u.Request)
	}
	if err == nil {
		_, err = f.Write(data)
		err = errors.Join(err, f.Sync(), f.Close(), durable.SyncDir(filepath.Join(h.Dir, "used")), durable.SyncDir(h.Dir))
	}
	if err != nil {
		return fmt.Errorf("this bastion cannot write down that the sheet is used, so no session opens: %w", err)
	}
	if h.Burnt != nil {
		h.Burnt()
	}
	return nil
}

// Untold are the uses that the CA has not taken yet.
func (h *Sheets) Untold() (list []control.SheetUse, err error) {
	names, err := os.ReadDir(filepath.Join(h.Dir, "used"))
	if err != nil {
		return nil, err
	}
	for _, n := range names {
		if !requestForm.MatchString(n.Name()) || slices.ContainsFunc(names, func(o fs.DirEntry) bool { return o.Name() == n.Name()+toldMark }) {
			continue
		}
		var u control.SheetUse
		data, rerr := os.ReadFile(h.usedFile(n.Name()))
		if rerr == nil {
			rerr = json.Unmarshal(data, &u)
		}
		if rerr != nil { // it was cut short, and then nothing came of it
			err = errors.Join(err, fmt.Errorf("%s: %w", h.usedFile(n.Name()), rerr))
			continue
		}
		list = append(list, u)
	}
	return list, err
}

// Told marks a use that the CA has.
func (h *Sheets) Told(u control.SheetUse) error {
	return durable.Replace(h.usedFile(u.Request)+toldMark, nil)
}
