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

	mu      sync.Mutex
	began   time.Duration // by [Uptime]
	known   known
	set     func() []control.Revocation
	written time.Time // known.Heard, as the file has it
	saved   time.Time
	later   *time.Timer // saves what came too soon after
	broken  error       // the file could not be written: nothing is taken until it can
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
	h.began, h.waiting, h.set = Uptime(), map[string]*presented{}, b.revoked.known
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
		h.save()
	}
}

// remember keeps the revocations there are: at once, or of many in a row all together a moment later.
func (h *Sheets) remember() {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case time.Since(h.saved) > time.Second:
		h.save()
	case h.later == nil:
		h.later = time.AfterFunc(time.Second, func() {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.later = nil
			h.save()
		})
	}
}

// heard says that the CA answered. What was presented goes: with a CA there is no need for it.
func (h *Sheets) heard(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	clear(h.waiting)
	h.known.Heard = now.UTC()
	if now.Sub(h.written).Abs() > time.Minute || h.broken != nil {
		h.save()
	}
}

// save replaces the file, durably.
func (h *Sheets) save() {
	h.known.Revocations, h.saved = h.set(), time.Now()
	data, err := json.Marshal(h.known)
	if err == nil {
		err = durable.Replace(filepath.Join(h.Dir, knownFile), data)
	}
	if h.broken = err; err == nil {
		h.written = h.known.Heard
	}
}

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
