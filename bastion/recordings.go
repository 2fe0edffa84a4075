package bastion

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/crypto/ssh"

	"postern/internal/control"
	"postern/recorder"
)

// recordingKeys remembers which keys were checked, and who signed them.
type recordingKeys struct {
	mu    sync.Mutex
	known map[string]recordingKey // by statement and signature
}

type recordingKey struct {
	public recorder.PublicKey
	signer string // wire form
}

// recordingKey checks that an auditor whom this bastion was told about signed the key for that purpose, so that a stolen CA cannot choose who
// reads, nor have what is typed sealed to the key that more people hold.
func (b *Bastion) recordingKey(k control.RecordingKey, purpose string) (recorder.PublicKey, error) {
	if k.ID == "" {
		return recorder.PublicKey{}, errors.New("there is no recording key, and nothing opens unrecorded; an auditor makes one with: postern recording-key new")
	}
	if k.Purpose != purpose {
		return recorder.PublicKey{}, fmt.Errorf("recording key %s is for %q, not for %q; nothing opens unrecorded; tell your operator", oneLine(k.ID), oneLine(k.Purpose), purpose)
	}
	b.keys.mu.Lock()
	defer b.keys.mu.Unlock()
	id := k.Statement() + k.Signature
	known, ok := b.keys.known[id]
	if !ok {
		var err error
		if known, err = checkRecordingKey(k); err != nil {
			return recorder.PublicKey{}, fmt.Errorf("%s; nothing opens unrecorded: an auditor makes a new key with: postern recording-key new", oneLine(err.Error()))
		}
		if b.keys.known == nil {
			b.keys.known = map[string]recordingKey{}
		}
		b.keys.known[id] = known
	}
	if !slices.ContainsFunc(b.Auditors(), func(a ssh.PublicKey) bool { return string(a.Marshal()) == known.signer }) {
		return recorder.PublicKey{}, fmt.Errorf("recording key %s is signed by nobody whom %s knows as an auditor; nothing opens unrecorded: its operator adds that auditor's key to the file of --auditors and sends SIGHUP", oneLine(k.ID), b.Name)
	}
	return known.public, nil
}

func checkRecordingKey(k control.RecordingKey) (recordingKey, error) {
	signer, err := k.Verify()
	if err != nil {
		return recordingKey{}, err
	}
	public, err := recorder.ParsePublicKey(k.Public)
	return recordingKey{public, string(signer.Marshal())}, err
}
