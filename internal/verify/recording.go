package verify

import (
	"crypto"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"golang.org/x/crypto/ssh"

	"postern/recorder"
)

// Recording checks a sealed recording, as a bastion hands it out, against what was logged of its session: the bastion's
// signatures, the chain of sealed segments, and the logged heads. key, the private half of the recording key, is for
// auditors: with it every frame is decrypted and the chain over frames is checked as well; nil: only what is sealed.
func Recording(r io.Reader, s Session, key *recorder.PrivateKey) (recorder.Summary, error) {
	bastion, err := cryptoKey(s.BastionKey)
	if err != nil {
		return recorder.Summary{}, err
	}
	var sum recorder.Summary
	if key == nil || s.Destroyed != nil { // then nobody's key opens it, and what is left is checked
		sum, err = checkSealed(r, s, bastion)
	} else {
		sum, err = readAll(r, s, *key, bastion)
	}
	if errors.Is(err, recorder.ErrShredded) {
		return sum, fate(recorder.Summary{Shredded: true}, s)
	}
	if err == nil {
		err = fate(sum, s)
	}
	if err != nil {
		return sum, err
	}
	return sum, compare(sum, s)
}

func cryptoKey(key ssh.PublicKey) (crypto.PublicKey, error) {
	holder, ok := key.(ssh.CryptoPublicKey)
	if !ok {
		return nil, errors.New("the policy in the log knows no key of its bastion")
	}
	return holder.CryptoPublicKey(), nil
}

func readAll(r io.Reader, s Session, key recorder.PrivateKey, bastion crypto.PublicKey) (recorder.Summary, error) {
	reader, err := recorder.Open(r, key, bastion)
	if err != nil {
		return recorder.Summary{}, err
	}
	if err := Expect(reader, s); err != nil {
		return recorder.Summary{}, err
	}
	for {
		frame, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return reader.Summary(), nil
		}
		if err == nil && frame.Type == recorder.TypeCompartment {
			err = keystrokes(frame, s)
		}
		if err != nil {
			return reader.Summary(), err
		}
	}
}

// keystrokes checks that what was typed is sealed to the key that was logged: only the holder of the recording key can see to which.
func keystrokes(frame recorder.Frame, s Session) error {
	compartment, err := frame.CompartmentKey()
	if err != nil {
		return err
	}
	if compartment.Key != s.KeystrokeKey {
		return fmt.Errorf("frames in it are sealed to key %.40q, logged is %.40q", compartment.Key, s.KeystrokeKey)
	}
	return nil
}

// checkSealed checks what is sealed, and every logged head that shows without the key.
func checkSealed(r io.Reader, s Session, bastion crypto.PublicKey) (recorder.Summary, error) {
	frames, segments := map[uint64][32]byte{}, map[uint64][32]byte{}
	keep := func(in map[uint64][32]byte) func(uint64, [32]byte) error {
		return func(count uint64, head [32]byte) error {
			if before, known := in[count]; known && before != head {
				return fmt.Errorf("the log holds two heads for one length, %d", count)
			}
			in[count] = head
			return nil
		}
	}
	for _, h := range s.Heads {
		if err := h.expect(keep(frames), keep(segments)); err != nil {
			return recorder.Summary{}, err
		}
	}
	return recorder.CheckLogged(r, bastion, segments, frames)
}

// Expect tells the reader of a recording what was logged of it. Frames of a session that goes on are logged before they
// are sealed, so they may not be in the file yet: a reader does not miss them in a recording that says it is live.
func Expect(reader *recorder.Reader, s Session) error {
	for _, h := range s.Heads {
		err := h.expect(
			func(count uint64, head [32]byte) error { reader.Expect(count, head); return nil },
			func(count uint64, head [32]byte) error { reader.ExpectSealed(count, head); return nil })
		if err != nil {
			return err
		}
	}
	if s.SealedHead != "" {
		head, err := parseHead(s.SealedHead)
		if err != nil {
			return err
		}
		reader.ExpectSealed(s.Segments, head)
	}
	if s.Head != "" && s.Sealed {
		head, err := parseHead(s.Head)
		if err != nil {
			return err
		}
		reader.Expect(s.Frames, head)
	}
	return nil
}

// ExpectLive is Expect for a session that is followed while it runs: it has to pass through every head that was logged.
func ExpectLive(f *recorder.Follower, s Session) error {
	if s.SealedHead != "" {
		head, err := parseHead(s.SealedHead)
		if err != nil {
			return err
		}
		f.ExpectSealed(s.Segments, head)
	}
	if s.Head != "" {
		head, err := parseHead(s.Head)
		if err != nil {
			return err
		}
		f.Expect(s.Frames, head)
	}
	return nil
}

func parseHead(text string) ([32]byte, error) {
	head, err := hex.DecodeString(text)
	if err != nil || len(head) != 32 {
		return [32]byte{}, fmt.Errorf("the log holds the head %.80q, which is none", text)
	}
	return [32]byte(head), nil
}

// compare holds the summary against the log. A recording that was not sealed when it was logged may have grown since.
func compare(sum recorder.Summary, s Session) error {
	head, sealedHead := hex.EncodeToString(sum.Head[:]), hex.EncodeToString(sum.SealedHead[:])
	switch {
	case sum.Session != s.ID:
		return fmt.Errorf("it is the recording of %s", sum.Session)
	case sum.Bastion != s.Bastion:
		return fmt.Errorf("it is by bastion %s, logged is %s", sum.Bastion, s.Bastion)
	case sum.RecordingKey != s.RecordingKey:
		return fmt.Errorf("it is sealed to key %s, logged is %s", sum.RecordingKey, s.RecordingKey)
	case sum.Segments < s.Segments || s.Sealed && (sum.Segments != s.Segments || sum.Frames != s.Frames):
		return fmt.Errorf("it has %d segments and %d frames, logged were %d and %d", sum.Segments, sum.Frames, s.Segments, s.Frames)
	case sum.Segments == s.Segments && s.SealedHead != "" && sealedHead != s.SealedHead, s.Sealed && head != s.Head:
		return errors.New("its heads are not those that were logged")
	case s.Sealed && (!sum.Sealed || sum.Interrupted != s.Interrupted):
		return errors.New("it is not as complete as was logged")
	}
	return nil
}
