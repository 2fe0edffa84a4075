package recorder

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/crypto/ssh"
)

// Whoever shreds a recording must know that its key box is gone. The journal uses its files again and Badger keeps what was overwritten
// until it compacts, so the box is written there under a key of its own only, and that key lies in a file that is never moved, copied or
// compacted: where it stood, zeros are written.
const (
	boxKeysName  = "boxkeys"
	boxKeysMagic = "postern box keys 1\n"
	slotSize     = 64 // so that a slot never lies across two sectors
	lockVersion  = "postern-locked-box-v1"
)

// slot is one of the file, and zeros up to its size.
type slot struct {
	Number [16]byte // of the recording
	Key    [32]byte
	Sum    uint32 // CRC-32C of both
}

func (s slot) sum() uint32 {
	return crc32.Checksum(append(s.Number[:], s.Key[:]...), castagnoli)
}

// lockedBox is a key box as journal and store keep it.
type lockedBox struct {
	Version string
	Slot    uint64
	Sealed  []byte // AES-256-GCM under the slot's key, nonce 0
}

// boxKeys is the file.
type boxKeys struct {
	f  *os.File
	mu sync.Mutex
	n  uint64 // slots that were given out, the magic among them
}

func openBoxKeys(dir string) (*boxKeys, error) {
	f, err := os.OpenFile(filepath.Join(dir, boxKeysName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	b := &boxKeys{f: f}
	if err := b.begin(dir); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return b, nil
}

func (b *boxKeys) begin(dir string) error {
	info, err := b.f.Stat()
	if err != nil {
		return err
	}
	head := make([]byte, slotSize)
	if info.Size() < slotSize {
		copy(head, boxKeysMagic)
		if _, err := b.f.WriteAt(head, 0); err != nil {
			return err
		}
		b.n = 1
		return errors.Join(b.f.Sync(), syncDir(dir))
	}
	if _, err := b.f.ReadAt(head, 0); err != nil {
		return err
	}
	if !bytes.HasPrefix(head, []byte(boxKeysMagic)) {
		return fmt.Errorf("%s is no file of box keys that this version reads", b.f.Name())
	}
	b.n = uint64(info.Size()+slotSize-1) / slotSize // what a crash left of the last is not used again
	return nil
}

// lock makes a key for the box of a recording durable, and returns the box under it.
func (b *boxKeys) lock(number [16]byte, box []byte) ([]byte, error) {
	s := slot{Number: number}
	rand.Read(s.Key[:])
	defer clear(s.Key[:])
	s.Sum = s.sum()
	b.mu.Lock()
	at := b.n
	b.n++
	b.mu.Unlock()
	row := make([]byte, slotSize)
	copy(row, ssh.Marshal(s))
	defer clear(row)
	if _, err := b.f.WriteAt(row, int64(at)*slotSize); err != nil {
		return nil, fmt.Errorf("key of a key box: %w", err)
	}
	if err := syncData(b.f); err != nil {
		return nil, fmt.Errorf("key of a key box: %s: %w", b.f.Name(), err)
	}
	sealed, err := sealBody(s.Key[:], number[:], box)
	if err != nil {
		return nil, err
	}
	return ssh.Marshal(lockedBox{lockVersion, at, sealed}), nil
}

// unlock returns the box of a recording; none: it was destroyed.
func (b *boxKeys) unlock(number [16]byte, locked []byte) ([]byte, error) {
	if len(locked) == 0 {
		return nil, nil
	}
	var l lockedBox
	if err := ssh.Unmarshal(locked, &l); err != nil || l.Version != lockVersion {
		return locked, nil // of before there were keys; the opening says whether it is the one
	}
	s, err := b.slot(l.Slot)
	if err != nil {
		return nil, err
	}
	if s == (slot{}) {
		return nil, nil
	}
	if s.Number != number || s.Sum != s.sum() {
		return nil, fmt.Errorf("%s: slot %d is damaged, or that of another recording", b.f.Name(), l.Slot)
	}
	gcm, err := newGCM(s.Key[:])
	if err != nil {
		return nil, err
	}
	box, err := gcm.Open(nil, make([]byte, gcm.NonceSize()), l.Sealed, number[:])
	if err != nil {
		return nil, fmt.Errorf("%w: the key box does not open with the key in slot %d of %s", ErrAltered, l.Slot, b.f.Name())
	}
	return box, nil
}

func (b *boxKeys) slot(n uint64) (s slot, err error) {
	row := make([]byte, slotSize)
	defer clear(row)
	// What is not there was not destroyed: the file is another one, or was cut.
	if got, err := b.f.ReadAt(row, int64(n)*slotSize); got < slotSize || n == 0 {
		return s, errors.Join(err, fmt.Errorf("%s has no slot %d; bring the file back from a copy", b.f.Name(), n))
	}
	copy(s.Number[:], row)
	copy(s.Key[:], row[16:])
	s.Sum = binary.BigEndian.Uint32(row[48:])
	return s, nil
}

// destroy overwrites the key that opens a locked box. Nothing that was ever written of the box opens after that.
func (b *boxKeys) destroy(number [16]byte, locked []byte) error {
	var l lockedBox
	if err := ssh.Unmarshal(locked, &l); err != nil || l.Version != lockVersion {
		return errors.New("its key box is from before they could be destroyed")
	}
	s, err := b.slot(l.Slot)
	if err != nil || s == (slot{}) {
		return err
	}
	if s.Number != number {
		return fmt.Errorf("%s: slot %d is that of another recording", b.f.Name(), l.Slot)
	}
	if _, err := b.f.WriteAt(make([]byte, slotSize), int64(l.Slot)*slotSize); err != nil {
		return err
	}
	return b.f.Sync()
}

func (b *boxKeys) close() error { return b.f.Close() }
