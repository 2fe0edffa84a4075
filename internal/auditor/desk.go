package auditor

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"golang.org/x/crypto/ssh"

	"postern/ca/statement"
	"postern/internal/control"
	"postern/internal/sshsig"
)

// Desk is where an auditor works: the CA that is asked and told, the keys that sign and open. Its methods may be called from many goroutines.
type Desk struct {
	CA         *control.Client
	Sign       func(fingerprint string) (ssh.Signer, error) // the auditor's SSH key
	Home       string                                       // POSTERN_HOME, with the identity
	KnownHosts string
	LogKey     func() (string, error)                             // verifier key of the CA's log, as the operator hands it out
	Seen       func(ctx context.Context, checkpoint []byte) error // remembers a checkpoint, or says why it contradicts what was seen; may be nil
	Ask        func(prompt string) ([]byte, error)                // for the passphrase of the identity
	Reason     func() (string, error)                             // asks why, when a view does not say; nil: that is an error
	Tell       func(text string)                                  // what a person should know while they wait; nil: nothing is told

	signing  sync.Mutex // one view at a time: each is numbered
	identity lazy[Identity]
	me       lazy[control.Identity]
}

// View is what is done with recordings, and why. It is in the audit log, signed by the auditor, before the first byte comes.
type View struct {
	Kind       string // control.ViewReplay and its siblings
	Reason     string
	Keystrokes bool // with what was typed
}

// ErrNoReason is the answer to a view that does not say why.
var ErrNoReason = errors.New("say why with --reason TEXT")

// attempts bounds how often a view is signed anew because another one of the same auditor was logged meanwhile.
const attempts = 10

// View asks for recordings. Access is to all of them or there is an error. Many sessions are several views: each is signed.
func (d *Desk) View(ctx context.Context, v View, sessions ...string) (*Access, error) {
	ids, err := known(sessions)
	if err != nil {
		return nil, err
	}
	if v.Reason, err = d.reason(v.Reason); err != nil {
		return nil, err
	}
	// The key of this view is nowhere but here, so the certificates end with us.
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		return nil, err
	}
	a := newAccess(d, v, signer)
	for batch := range slices.Chunk(slices.Sorted(slices.Values(ids)), control.MaxView) {
		audit, err := d.audit(ctx, v, batch, signer.PublicKey())
		if err == nil {
			err = a.take(audit, batch)
		}
		if err != nil {
			return nil, errors.Join(err, a.Close())
		}
	}
	a.order = ids
	a.dial()
	return a, nil
}

// sessionID is what may be one: nothing that the CA would take for an option.
var sessionID = regexp.MustCompile(`^S-[A-Z0-9]{1,40}$`)

func known(sessions []string) ([]string, error) {
	if len(sessions) == 0 {
		return nil, errors.New("no sessions to look at")
	}
	var ids []string
	seen := map[string]bool{}
	for _, text := range sessions {
		id := strings.ToUpper(text)
		if !sessionID.MatchString(id) {
			return nil, fmt.Errorf("%.40q is not the ID of a session; list them with: postern sessions", text)
		}
		if !seen[id] {
			seen[id], ids = true, append(ids, id)
		}
	}
	return ids, nil
}

func (d *Desk) reason(given string) (string, error) {
	given = strings.TrimSpace(given)
	if given == "" && d.Reason != nil {
		asked, err := d.Reason()
		if err != nil {
			return "", err
		}
		given = strings.TrimSpace(asked)
	}
	if given == "" {
		return "", ErrNoReason
	}
	return given, nil
}

// audit gets one batch: the statement is fetched, held against what is meant, and signed.
func (d *Desk) audit(ctx context.Context, v View, ids []string, key ssh.PublicKey) (control.Audit, error) {
	d.signing.Lock()
	defer d.signing.Unlock()
	var none control.Audit
	me, err := d.me.get(func() (control.Identity, error) {
		return control.Call[control.Identity](ctx, d.CA, nil, "whoami")
	})
	if err != nil {
		return none, err
	}
	signer, err := d.Sign(me.Key)
	if err != nil {
		return none, err
	}
	logKey, err := d.LogKey() // before anything is signed
	if err != nil {
		return none, err
	}
	// The value of --key goes on to the next option, which nobody wrote and nothing quotes.
	words := append(append([]string{"audit"}, ids...), "--key", line(key), "--kind", v.Kind, "--reason="+v.Reason)
	if v.Keystrokes {
		words = append(words, "--keystrokes")
	}
	want := statement.View{CA: me.CA, Person: me.Name, Kind: v.Kind, Sessions: ids, Keystrokes: v.Keystrokes, Key: ssh.FingerprintSHA256(key), Reason: v.Reason}
	text, err := d.statement(ctx, words, want)
	for range attempts {
		if err != nil {
			return none, err
		}
		var signature []byte
		if signature, err = d.sign(signer, text); err != nil {
			return none, err
		}
		audit, failed := control.Call[control.Audit](ctx, d.CA, signature, words...)
		if failed == nil {
			if err := d.inLog(ctx, audit.Logged, logKey, me.Name, text, string(signature)); err != nil {
				return none, fmt.Errorf("this view is not in the log, so nothing is looked at: %w", err)
			}
			return audit, nil
		}
		var refused *control.Refused
		if !errors.As(failed, &refused) {
			return none, failed
		}
		signed := text // if the number is another one now, that is why
		if text, err = d.statement(ctx, words, want); err == nil && text == signed {
			return none, failed
		}
	}
	return none, fmt.Errorf("other views of %s were logged each time this one was signed; try again", me.Name)
}

// statement asks the CA for the text to sign and makes sure that it says what is meant: only the number of the view is the CA's to say.
func (d *Desk) statement(ctx context.Context, words []string, want statement.View) (string, error) {
	text, err := d.CA.Run(ctx, nil, append(slices.Clone(words), "--statement")...)
	if err != nil {
		return "", err
	}
	said, err := statement.ParseView(string(text))
	if err != nil {
		return "", fmt.Errorf("the CA's statement of the view: %w; nothing was signed", err)
	}
	want.Sequence = said.Sequence
	if want.Text() != string(text) {
		return "", fmt.Errorf("the CA's statement of the view does not say what was asked for; nothing was signed:\n%.2000s", text)
	}
	return string(text), nil
}

func (d *Desk) sign(signer ssh.Signer, text string) ([]byte, error) {
	if strings.HasPrefix(signer.PublicKey().Type(), "sk-") && d.Tell != nil {
		d.Tell("touch your key " + ssh.FingerprintSHA256(signer.PublicKey()) + " to sign for what you are about to see")
	}
	return sshsig.Sign(signer, control.ViewNamespace, []byte(text))
}

func line(key ssh.PublicKey) string { return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))) }

// lazy is found out once; an error is not kept.
type lazy[T any] struct {
	mu   sync.Mutex
	is   T
	done bool
}

func (l *lazy[T]) get(find func() (T, error)) (T, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.done {
		return l.is, nil
	}
	is, err := find()
	if err == nil {
		l.is, l.done = is, true
	}
	return is, err
}
