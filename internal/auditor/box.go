package auditor

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"filippo.io/age"

	"postern/internal/control"
)

// boxMagic begins a box of several age files, each a string of RFC 4251; a box of one is that file alone. age seals no file to post-quantum
// recipients and to those of whom it does not know whether they are, because the file is as weak as the weakest. So is the box, and who takes a
// plugin's recipient in has said so.
const boxMagic = "postern box 1\n"

// seal makes a box that any of the recipients opens.
func (p Prompts) seal(secret []byte, to []control.Recipient) ([]byte, error) {
	var strong []age.Recipient
	var groups [][]age.Recipient
	for _, r := range to {
		parsed, err := p.parse(r)
		if err != nil {
			return nil, err
		}
		if isPlugin(r.Public) {
			groups = append(groups, []age.Recipient{parsed})
		} else {
			strong = append(strong, parsed)
		}
	}
	if len(strong) > 0 {
		groups = append([][]age.Recipient{strong}, groups...)
	}
	if len(groups) == 0 {
		return nil, errors.New("no recipient: nobody could open the box")
	}
	var files [][]byte
	for _, group := range groups {
		file, err := encryptTo(secret, group)
		if err != nil {
			return nil, missing(err)
		}
		files = append(files, file)
	}
	if len(files) == 1 {
		return files[0], nil
	}
	box := []byte(boxMagic)
	for _, file := range files {
		box = append(binary.BigEndian.AppendUint32(box, uint32(len(file))), file...)
	}
	return box, nil
}

func encryptTo(secret []byte, to []age.Recipient) ([]byte, error) {
	var file bytes.Buffer
	w, err := age.Encrypt(&file, to...)
	if err != nil {
		return nil, err
	}
	_, err = w.Write(secret)
	err = errors.Join(err, w.Close())
	return file.Bytes(), err
}

// openBox decrypts the first age file of a box that the identity opens. An *age.NoIdentityMatchError means that there is none.
func openBox(box []byte, identity Identity) ([]byte, error) {
	files, err := filesOf(box)
	if err != nil {
		return nil, err
	}
	var failed error
	for _, file := range files {
		plain, err := age.Decrypt(bytes.NewReader(file), identity)
		if err == nil {
			return io.ReadAll(plain)
		}
		var notFor *age.NoIdentityMatchError
		if failed == nil || !errors.As(err, &notFor) {
			failed = err
		}
	}
	return nil, failed
}

func filesOf(box []byte) (files [][]byte, err error) {
	rest, several := bytes.CutPrefix(box, []byte(boxMagic))
	if !several {
		return [][]byte{box}, nil
	}
	for len(rest) > 0 {
		if len(rest) < 4 || uint64(binary.BigEndian.Uint32(rest)) > uint64(len(rest)-4) {
			return nil, fmt.Errorf("the box ends within its age file %d", len(files))
		}
		n := binary.BigEndian.Uint32(rest)
		files, rest = append(files, rest[4:4+n]), rest[4+n:]
	}
	if len(files) < 2 {
		return nil, errors.New("the box has not the files it announces")
	}
	return files, nil
}
