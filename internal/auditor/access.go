package auditor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/internal/control"
	"postern/internal/verify"
	"postern/recorder"
)

// Access is the right to some recordings, for as long as it is open. Its methods may be called from many goroutines.
type Access struct {
	desk   *Desk
	view   View
	signer ssh.Signer // of the view's own key
	order  []string
	ctx    context.Context // ends with Close
	cancel context.CancelFunc

	mu       sync.Mutex
	sessions map[string]verify.Session // as the CA's answer or a verified log has them
	passes   map[string]*pass          // by session
	all      []*pass
	keys     map[string]control.RecordingKey
	opened   map[string]recorder.PrivateKey
}

func newAccess(d *Desk, v View, signer ssh.Signer) *Access {
	a := &Access{desk: d, view: v, signer: signer, sessions: map[string]verify.Session{}, passes: map[string]*pass{},
		keys: map[string]control.RecordingKey{}, opened: map[string]recorder.PrivateKey{}}
	a.ctx, a.cancel = context.WithCancel(context.Background())
	return a
}

// take adds the answer of the CA to a batch. Nothing that was not asked for is kept.
func (a *Access) take(audit control.Audit, batch []string) error {
	for _, k := range audit.Keys {
		a.keys[k.ID] = k
	}
	for _, answer := range audit.Passes {
		p := &pass{Pass: answer, until: time.Now().Add(passLife)}
		a.all = append(a.all, p)
		for _, id := range answer.Sessions {
			a.passes[id] = p
		}
	}
	for _, id := range batch {
		s, ok := audit.Session(id)
		if !ok {
			return fmt.Errorf("the CA let us at recordings and left out %s", id)
		}
		entry := verify.Session{Session: s, Leaf: -1}
		if p := a.passes[id]; p != nil {
			if p.Bastion.Name != s.Bastion {
				return fmt.Errorf("the CA sends us to %s for %s, which %s keeps", p.Bastion.Name, id, s.Bastion)
			}
			key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(p.Bastion.Key))
			if err != nil {
				return fmt.Errorf("key of bastion %s: %w", p.Bastion.Name, err)
			}
			entry.BastionKey = key
		}
		a.sessions[id] = entry
	}
	return nil
}

// Expect holds the recordings against a log that was verified, in place of what the CA's answer says of them. Other sessions are passed over.
func (a *Access) Expect(logged []verify.Session) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, s := range logged {
		if _, ok := a.sessions[s.ID]; ok {
			a.sessions[s.ID] = s
		}
	}
}

// Sessions are those of the view, in the order they were asked for.
func (a *Access) Sessions() (list []control.Session) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, id := range a.order {
		list = append(list, a.sessions[id].Session)
	}
	return list
}

// Session is one of them, with the key of its bastion.
func (a *Access) Session(id string) (verify.Session, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	s, ok := a.sessions[strings.ToUpper(id)]
	if !ok {
		return s, fmt.Errorf("session %s is not part of this view", id)
	}
	return s, nil
}

// Archive opens the recording of a session: its outline is fetched and verified, and held against what was logged. Its segments come as they are
// wanted; what was typed is opened too when the view is with it and it was recorded. When it does not verify the error says why, and the Archive of what is good
// of it is not nil, unless nothing is: whoever shows that says so first.
func (a *Access) Archive(ctx context.Context, id string) (*recorder.Archive, error) {
	s, err := a.Session(id)
	if err != nil {
		return nil, err
	}
	key, err := a.Key(id)
	if err != nil {
		return nil, err
	}
	remote, err := a.remote(ctx, s)
	if err != nil {
		return nil, err
	}
	archive, damage := a.Open(ctx, remote, key, s)
	switch {
	case damage != nil && archive == nil:
		return nil, fmt.Errorf("recording of %s: %w", s.ID, damage)
	case damage != nil:
		damage = fmt.Errorf("the recording of %s does not verify: %w", s.ID, damage)
	}
	if a.view.Keystrokes && s.KeystrokeKey != "" {
		typed, err := a.KeystrokeKey(id)
		if err != nil {
			return nil, err
		}
		archive.OpenCompartment(typed)
	}
	return archive, damage
}

// Open is Archive of a source that is at hand, such as a file, with the same errors.
func (a *Access) Open(ctx context.Context, source recorder.Source, key recorder.PrivateKey, s verify.Session) (*recorder.Archive, error) {
	bastion, ok := s.BastionKey.(ssh.CryptoPublicKey)
	if !ok {
		return nil, fmt.Errorf("nobody knows the key of its bastion %s", s.Bastion)
	}
	archive, err := recorder.OpenArchive(ctx, source, key, bastion.CryptoPublicKey())
	if err != nil {
		return archive, err
	}
	return archive, verify.Archive(archive, s)
}

// Fetch copies the whole sealed recording of a session to w. Nothing of it is verified.
func (a *Access) Fetch(ctx context.Context, id string, w io.Writer) error {
	s, err := a.Session(id)
	if err != nil {
		return err
	}
	remote, err := a.remote(ctx, s)
	if err != nil {
		return err
	}
	return remote.Whole(ctx, w)
}

// Follow is a session while it runs, for [recorder.Follow].
func (a *Access) Follow(ctx context.Context, id string) (io.ReadCloser, error) {
	s, err := a.Session(id)
	if err != nil {
		return nil, err
	}
	remote, err := a.remote(ctx, s)
	if err != nil {
		return nil, err
	}
	return remote.Follow(ctx)
}

func (a *Access) remote(ctx context.Context, s verify.Session) (*Remote, error) {
	p := a.passes[s.ID]
	if p == nil {
		return nil, fmt.Errorf("bastion %s, which keeps %s, is not in the policy any more", s.Bastion, s.ID)
	}
	client, err := p.connection(ctx, a)
	if err != nil {
		return nil, err
	}
	return NewRemote(client, s.ID), nil
}

// Key opens the private half of the key that a session was recorded to.
func (a *Access) Key(id string) (recorder.PrivateKey, error) {
	s, err := a.Session(id)
	if err != nil {
		return recorder.PrivateKey{}, err
	}
	return a.open(s.Session, s.RecordingKey, "")
}

// KeystrokeKey opens the one that what was typed is sealed to. The view must be with keystrokes.
func (a *Access) KeystrokeKey(id string) (recorder.PrivateKey, error) {
	s, err := a.Session(id)
	switch {
	case err != nil:
		return recorder.PrivateKey{}, err
	case !a.view.Keystrokes:
		return recorder.PrivateKey{}, errors.New("this view does not say that it is with keystrokes")
	case s.KeystrokeKey == "":
		return recorder.PrivateKey{}, fmt.Errorf("what was typed in %s was not recorded; a rule with @keystrokes(\"true\") has it recorded", s.ID)
	}
	return a.open(s.Session, s.KeystrokeKey, control.Keystrokes)
}

// open makes sure that the CA has not swapped in a key for something else, which other people hold.
func (a *Access) open(s control.Session, id, purpose string) (recorder.PrivateKey, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if private, ok := a.opened[id]; ok {
		return private, nil
	}
	k, ok := a.keys[id]
	if !ok {
		return recorder.PrivateKey{}, fmt.Errorf("the CA has no key %s any more, to which %s was recorded", id, s.ID)
	}
	if _, err := k.Verify(); err != nil {
		return recorder.PrivateKey{}, err
	}
	if k.Purpose != purpose {
		return recorder.PrivateKey{}, fmt.Errorf("the CA answered with key %s, which is not for that (it is for %q) and %s is not recorded to", id, k.Purpose, s.ID)
	}
	identity, err := a.desk.identity.get(func() (Identity, error) { return Open(a.desk.Home, Prompts{Ask: a.desk.Ask, Tell: a.desk.Tell}) })
	if err != nil {
		return recorder.PrivateKey{}, err
	}
	private, err := OpenRecordingKey(k, identity)
	if err == nil {
		a.opened[id] = private
	}
	return private, err
}

// Close ends the connections to the bastions.
func (a *Access) Close() error {
	a.cancel()
	var err error
	for _, p := range a.all {
		err = errors.Join(err, p.close())
	}
	return err
}

// dial begins to connect to every bastion at once: a pass is good for minutes, and reading what one bastion keeps may take longer.
func (a *Access) dial() {
	for _, p := range a.all {
		go func() { _, _ = p.connection(a.ctx, a) }()
	}
}

// pass is the way to one bastion.
type pass struct {
	control.Pass
	until  time.Time // by our clock, which may not be the CA's
	mu     sync.Mutex
	client *ssh.Client
	gone   chan struct{} // closed when the connection is
	down   error         // why the last try failed
	tried  time.Time
	closed bool
}

// passLife is how long a bastion lets somebody begin with a certificate; ca/PROTOCOL.md, Views.
const passLife = 5 * time.Minute

// downTime is how long a bastion that did not answer is taken to be down: a thousand recordings of it should not be waited for one by one.
const downTime = 5 * time.Second

// connection is the one there is, or a new one while the certificate is good.
func (p *pass) connection(ctx context.Context, a *Access) (*ssh.Client, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.client != nil {
		select {
		case <-p.gone:
			p.client = nil
		default:
			return p.client, nil
		}
	}
	switch {
	case p.closed || a.ctx.Err() != nil:
		return nil, errors.New("this view is closed")
	case p.down != nil && time.Since(p.tried) < downTime:
		return nil, p.down
	case !time.Now().Before(p.until):
		return nil, fmt.Errorf("the connection to bastion %s is gone, and what the CA let us at was good for %d minutes; look again",
			p.Bastion.Name, int(passLife.Minutes()))
	}
	dialling, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(a.ctx, stop)()
	client, err := dial(dialling, p.Pass, a.signer, a.desk.KnownHosts)
	if err != nil {
		err = fmt.Errorf("bastion %s at %s: %w", p.Bastion.Name, p.Bastion.Address, err)
		if dialling.Err() == nil {
			p.down, p.tried = err, time.Now()
		}
		return nil, err
	}
	p.client, p.gone, p.down = client, make(chan struct{}), nil
	go watchOver(client, p.gone)
	return client, nil
}

func (p *pass) close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	if p.client == nil {
		return nil
	}
	return p.client.Close()
}
