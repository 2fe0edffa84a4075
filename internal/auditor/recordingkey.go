package auditor

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"filippo.io/age"
	"golang.org/x/crypto/ssh"

	"postern/internal/control"
	"postern/internal/sshsig"
	"postern/recorder"
)

// Recipients reads auditors' recipients: each word is one, or names a file of them, one a line. Doubles are dropped.
// A classic recipient is refused: recordings are kept for years, and who copies a box today may open it with a quantum
// computer then.
func Recipients(words []string) ([]age.Recipient, error) {
	var all []age.Recipient
	seen := map[string]bool{}
	for _, word := range words {
		lines := []string{word}
		if !strings.HasPrefix(word, "age1") {
			data, err := os.ReadFile(word)
			if err != nil {
				return nil, fmt.Errorf("recipient %q is neither an age recipient nor a file of them: %w", word, err)
			}
			lines = strings.Split(string(data), "\n")
		}
		for _, line := range lines {
			line = strings.TrimSpace(line)
			if line == "" || line[0] == '#' || seen[line] {
				continue
			}
			seen[line] = true
			to, err := age.ParseHybridRecipient(line)
			if err != nil {
				return nil, fmt.Errorf("recipient %.20q… is not a post-quantum one as postern auditor init makes them (age1pq1…)", line)
			}
			all = append(all, to)
		}
	}
	if len(all) == 0 {
		return nil, errors.New("no recipient: nobody could open the recordings")
	}
	return all, nil
}

// NewRecordingKey makes a key pair for the month, purpose and auditor that k names, seals its private half to the recipients and
// signs the public one as the auditor. The private half is nowhere else.
func NewRecordingKey(k control.RecordingKey, signer ssh.Signer, to []age.Recipient) (control.RecordingKey, error) {
	private, public := recorder.NewKey()
	box, err := seal(private.Marshal(), to)
	if err != nil {
		return control.RecordingKey{}, fmt.Errorf("private half of the recording key: %w", err)
	}
	k.ID, k.Public, k.Box, k.BoxSum = public.ID(), public.Marshal(), box, control.BoxSum(box)
	k.AuditKey = strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey())))
	signature, err := sshsig.Sign(signer, control.RecordingKeyNamespace, []byte(k.Statement()))
	if err != nil {
		return control.RecordingKey{}, err
	}
	k.Signature = string(signature)
	_, err = k.Verify()
	return k, err
}

func seal(secret []byte, to []age.Recipient) ([]byte, error) {
	var box bytes.Buffer
	w, err := age.Encrypt(&box, to...)
	if err != nil {
		return nil, err
	}
	_, err = w.Write(secret)
	err = errors.Join(err, w.Close())
	return box.Bytes(), err
}

// OpenRecordingKey opens the private half with an auditor's identity, and makes sure that it is the one of k: a CA that
// hands out another month's box, or a box of its own making, is found out here.
func OpenRecordingKey(k control.RecordingKey, identity Identity) (recorder.PrivateKey, error) {
	var none recorder.PrivateKey
	plain, err := age.Decrypt(bytes.NewReader(k.Box), identity)
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
	secret, err := io.ReadAll(plain)
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
