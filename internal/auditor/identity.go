// Package auditor is what an auditor keeps and does on their own machine: the age identity that opens the private halves
// of recording keys, and the making of those keys. Start with [Create] and [NewRecordingKey].
package auditor

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"filippo.io/age"
	"filippo.io/age/armor"
)

const (
	identityName  = "auditor.key"
	recipientName = "auditor.pub" // readable without the passphrase
)

// Create makes a post-quantum age identity in dir and returns its recipient. An empty passphrase leaves the identity
// readable to whoever reads the file. It never replaces one: recordings may depend on it.
func Create(dir string, passphrase []byte, now time.Time) (recipient string, err error) {
	return createSealed(dir, passphrase, workFactor, now)
}

func createSealed(dir string, passphrase []byte, work int, now time.Time) (recipient string, err error) {
	identity, err := age.GenerateHybridIdentity()
	if err != nil {
		return "", err
	}
	recipient = identity.Recipient().String()
	text := fmt.Appendf(nil, "# created: %s\n# public key: %s\n%s\n", now.UTC().Format(time.RFC3339), recipient, identity)
	if len(passphrase) > 0 {
		if text, err = encrypt(text, string(passphrase), work); err != nil {
			return "", err
		}
	}
	return recipient, keep(dir, text, recipient)
}

// keep writes both halves. It never replaces them: recordings may depend on them.
func keep(dir string, identity []byte, recipient string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := create(filepath.Join(dir, identityName), identity); err != nil {
		return err
	}
	return create(filepath.Join(dir, recipientName), []byte(recipient+"\n"))
}

// create writes a file that must not exist, and keeps it through a power cut.
func create(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return fmt.Errorf("%s exists; recordings may need it, so it is never replaced", path)
	}
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}

// workFactor makes one guess at a passphrase cost about a second: 2 to the 18, which is age's own.
const workFactor = 18

func encrypt(text []byte, passphrase string, work int) ([]byte, error) {
	to, err := age.NewScryptRecipient(passphrase)
	if err != nil {
		return nil, err
	}
	to.SetWorkFactor(work)
	var sealed bytes.Buffer
	outer := armor.NewWriter(&sealed)
	inner, err := age.Encrypt(outer, to)
	if err != nil {
		return nil, err
	}
	_, err = inner.Write(text)
	err = errors.Join(err, inner.Close(), outer.Close())
	return sealed.Bytes(), err
}

// Recipient is the public half of the identity in dir.
func Recipient(dir string) (string, error) {
	data, err := os.ReadFile(filepath.Join(dir, recipientName))
	if err != nil {
		return "", hint(err)
	}
	return strings.TrimSpace(string(data)), nil
}

// Identity is what opens the recording keys that are sealed to one auditor.
type Identity = age.Identity

// Open reads the identity in dir, and asks for the passphrase when it has one. An identity of a plugin asks when it opens something.
func Open(dir string, p Prompts) (Identity, error) {
	path := filepath.Join(dir, identityName)
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, hint(err)
	}
	return p.open(path, data)
}

// OpenSilently is Open for what has to go on without anybody: it fails for an identity that wants a passphrase, or the hands of a person.
func OpenSilently(dir string) (Identity, error) {
	identity, err := Open(dir, Prompts{})
	if list, ok := identity.(identities); ok && list.wantsHands() {
		return nil, errNobody
	}
	return identity, err
}

func (p Prompts) open(path string, data []byte) (Identity, error) {
	if bytes.HasPrefix(data, []byte(armor.Header)) {
		if p.Ask == nil {
			return nil, fmt.Errorf("%s is encrypted: %w", path, errNobody)
		}
		passphrase, err := p.Ask("Passphrase of " + path + ": ")
		if err != nil {
			return nil, fmt.Errorf("%s is encrypted: %w", path, err)
		}
		if data, err = decrypt(data, string(passphrase)); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	list, err := p.parseIdentities(string(data))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return list, nil
}

func decrypt(sealed []byte, passphrase string) ([]byte, error) {
	from, err := age.NewScryptIdentity(passphrase)
	if err != nil {
		return nil, err
	}
	plain, err := age.Decrypt(armor.NewReader(bytes.NewReader(sealed)), from)
	if err != nil {
		return nil, errors.New("wrong passphrase")
	}
	return io.ReadAll(plain)
}

func hint(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%w; this is not an auditor's POSTERN_HOME, or make one with: postern auditor init", err)
	}
	return err
}
