package auditor

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"filippo.io/age"
	"golang.org/x/crypto/ssh"

	"postern/internal/control"
	"postern/internal/sshsig"
	"postern/recorder"
)

// Recipients reads auditors' recipients: each word is one, or names a file of them, one a line. Doubles are dropped.
// A classic recipient is refused: recordings are kept for years, and who copies a box today may open it with a quantum
// computer then. Of a plugin's nobody here can tell, so it is refused too, unless plugins says that this is known.
func Recipients(words []string, plugins ...bool) ([]control.Recipient, error) {
	var all []control.Recipient
	for _, word := range words {
		lines := []string{word}
		if !strings.HasPrefix(word, "age1") {
			data, err := os.ReadFile(word)
			if err != nil {
				return nil, fmt.Errorf("recipient %q is no age recipient, no name that is enrolled (postern auditor list), and no file: %w", word, err)
			}
			lines = strings.Split(string(data), "\n")
		}
		for _, line := range lines {
			line = strings.TrimSpace(line)
			if line == "" || line[0] == '#' {
				continue
			}
			if err := acceptable(line, len(plugins) > 0 && plugins[0]); err != nil {
				return nil, err
			}
			all = With(all, control.Recipient{ID: control.RecipientID(line), Public: line})
		}
	}
	if len(all) == 0 {
		return nil, errors.New("no recipient: nobody could open the recordings")
	}
	return all, nil
}

func acceptable(public string, plugins bool) error {
	if isPlugin(public) {
		if !plugins {
			return fmt.Errorf("recipient %.20q… is that of an age plugin: whether what is sealed to it outlives quantum computers nobody here can tell; if you know, say so with --plugins", public)
		}
		return nil
	}
	if _, err := age.ParseHybridRecipient(public); err != nil {
		return fmt.Errorf("recipient %.20q… is not a post-quantum one as postern auditor init makes them (age1pq1…)", public)
	}
	return nil
}

// With adds a recipient to a list in which each is once. A name that one of them has is kept.
func With(list []control.Recipient, more ...control.Recipient) []control.Recipient {
	list = slices.Clone(list)
	for _, r := range more {
		i := slices.IndexFunc(list, func(o control.Recipient) bool { return o.ID == r.ID })
		switch {
		case i < 0:
			list = append(list, r)
		case list[i].Name == "" || r.Recovery:
			list[i].Name, list[i].Recovery = r.Name, r.Recovery
		}
	}
	return list
}

// NewRecordingKey makes a key pair for the month, purpose and auditor that k names, seals its private half to the recipients and
// signs the public one as the auditor. The private half is nowhere else.
func NewRecordingKey(k control.RecordingKey, signer ssh.Signer, to []control.Recipient, prompts ...Prompts) (control.RecordingKey, error) {
	var p Prompts
	if len(prompts) > 0 {
		p = prompts[0]
	}
	private, public := recorder.NewKey()
	box, err := p.seal(private.Marshal(), to)
	if err != nil {
		return control.RecordingKey{}, fmt.Errorf("private half of the recording key: %w", err)
	}
	k.ID, k.Public, k.Box, k.BoxSum, k.Recipients = public.ID(), public.Marshal(), box, control.BoxSum(box), to
	k.AuditKey = strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey())))
	signature, err := sshsig.Sign(signer, control.RecordingKeyNamespace, []byte(k.Statement()))
	if err != nil {
		return control.RecordingKey{}, err
	}
	k.Signature = string(signature)
	_, err = k.Verify()
	return k, err
}

// Rewrap seals the private half of a recording key, which the identity opens, to other recipients. It is not signed yet.
func Rewrap(k control.RecordingKey, identity Identity, to []control.Recipient, p Prompts) (control.Rewrap, error) {
	private, err := OpenRecordingKey(k, identity)
	if err != nil {
		return control.Rewrap{}, err
	}
	box, err := p.seal(private.Marshal(), to)
	if err != nil {
		return control.Rewrap{}, fmt.Errorf("recording key %s: %w", k.ID, err)
	}
	return control.Rewrap{Key: k.ID, Before: k.CurrentSum(), After: control.BoxSum(box), Recipients: to, Box: box}, nil
}

// OpenRecordingKey opens the private half with an auditor's identity, and makes sure that it is the one of k: a CA that
// hands out another month's box, or a box of its own making, is found out here.
func OpenRecordingKey(k control.RecordingKey, identity Identity) (recorder.PrivateKey, error) {
	var none recorder.PrivateKey
	if len(k.Box) == 0 && !k.Shredded.IsZero() {
		return none, fmt.Errorf("the private half of recording key %s was destroyed on %s: %w", k.ID, k.Shredded.UTC().Format(time.DateOnly), recorder.ErrShredded)
	}
	if len(k.Box) == 0 {
		return none, fmt.Errorf("the CA has no box of recording key %s", k.ID)
	}
	secret, err := openBox(k.Box, identity)
	var notFor *age.NoIdentityMatchError
	if errors.As(err, &notFor) && k.Purpose == control.Keystrokes {
		return none, fmt.Errorf("what was typed is sealed to key %s, and that not to you; somebody it is sealed to can read it", k.ID)
	}
	if errors.As(err, &notFor) {
		return none, fmt.Errorf("recording key %s is not sealed to you; an auditor it is sealed to can replay", k.ID)
	}
	if err != nil {
		return none, fmt.Errorf("box of recording key %s: %w", k.ID, err)
	}
	private, err := recorder.ParsePrivateKey(secret)
	if err != nil {
		return none, fmt.Errorf("box of recording key %s: %w", k.ID, err)
	}
	if private.ID() != k.ID || !bytes.Equal(private.Public().Marshal(), k.Public) {
		return none, fmt.Errorf("the box of recording key %s holds another key", k.ID)
	}
	return private, nil
}
