package evidence

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// A bundle is a ustar archive of regular files in the order of their names, with nothing in it that could differ: mode 644, owner 0,
// time 0. The reader makes every header anew and compares, so that what stock tar would read in one way and we in another is refused.

const (
	block        = 512
	maxMembers   = 200_000
	maxName      = 100
	manifestName = "MANIFEST"
	maxManifest  = maxMembers * (maxName + 2*sha256.Size + 3)
	maxMember    = 1<<33 - 1 // what the size field of ustar can say
)

// member is one file of a bundle.
type member struct {
	name string
	data *io.SectionReader
}

func inMemory(name string, data []byte) member {
	return member{name, io.NewSectionReader(bytes.NewReader(data), 0, int64(len(data)))}
}

// header is the one block that announces a file.
func header(name string, size int64) [block]byte {
	var h [block]byte
	copy(h[0:], name)
	copy(h[100:], "0000644\x00")
	copy(h[108:], "0000000\x00")
	copy(h[116:], "0000000\x00")
	copy(h[124:], fmt.Sprintf("%011o\x00", size))
	copy(h[136:], "00000000000\x00")
	copy(h[148:], "        ") // the checksum is over spaces in its place
	h[156] = '0'
	copy(h[257:], "ustar\x0000")
	copy(h[329:], "0000000\x00")
	copy(h[337:], "0000000\x00")
	sum := 0
	for _, b := range h {
		sum += int(b)
	}
	copy(h[148:], fmt.Sprintf("%06o\x00 ", sum))
	return h
}

// writeMembers writes the archive, with the manifest in front.
func writeMembers(w io.Writer, members []member) error {
	slices.SortFunc(members, func(a, b member) int { return strings.Compare(a.name, b.name) })
	var manifest bytes.Buffer
	for i, m := range members {
		if !knownName(m.name) || m.data.Size() > maxMember || i > 0 && members[i-1].name == m.name {
			return fmt.Errorf("%s of %d bytes cannot be in a bundle", m.name, m.data.Size())
		}
		sum, err := sumOf(m)
		if err != nil {
			return err
		}
		fmt.Fprintf(&manifest, "%x  %s\n", sum, m.name)
	}
	for _, m := range slices.Insert(members, 0, inMemory(manifestName, manifest.Bytes())) {
		if err := writeMember(w, m); err != nil {
			return err
		}
	}
	_, err := w.Write(make([]byte, 2*block))
	return err
}

func writeMember(w io.Writer, m member) error {
	h := header(m.name, m.data.Size())
	if _, err := w.Write(h[:]); err != nil {
		return err
	}
	if _, err := m.data.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if _, err := io.Copy(w, m.data); err != nil {
		return err
	}
	_, err := w.Write(make([]byte, padding(m.data.Size())))
	return err
}

func padding(size int64) int64 { return (block - size%block) % block }

func sumOf(m member) ([]byte, error) {
	h := sha256.New()
	if _, err := m.data.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	if _, err := io.Copy(h, m.data); err != nil {
		return nil, err
	}
	return h.Sum(nil), nil
}

// readMembers finds the files of an archive and refuses what [writeMembers] could not have written.
func readMembers(r io.ReaderAt, size int64) ([]member, error) {
	var members []member
	last, at := "", int64(0)
	for {
		m, next, err := readMember(r, at, size)
		if err != nil {
			return nil, fmt.Errorf("bundle, %s: %w", after(last), err)
		}
		if m == nil {
			if next != size {
				return nil, fmt.Errorf("bundle, %s: something follows its end", after(last))
			}
			return members, nil
		}
		switch {
		case last == "" && m.name != manifestName:
			return nil, fmt.Errorf("bundle: it begins with %q and not with %s", m.name, manifestName)
		case m.name <= last:
			return nil, fmt.Errorf("bundle: %s follows %s; names are in order, and each is there once", m.name, last)
		case len(members) == maxMembers:
			return nil, fmt.Errorf("bundle: it has more than %d files", maxMembers)
		}
		members, last, at = append(members, *m), m.name, next
	}
}

func after(name string) string {
	if name == "" {
		return "at its beginning"
	}
	return "after " + name
}

var errNotOurs = errors.New("not as postern evidence writes it, or cut short")

// readMember reads the header at an offset; nil is the end of the archive.
func readMember(r io.ReaderAt, at, size int64) (*member, int64, error) {
	var h [block]byte
	if _, err := r.ReadAt(h[:], at); err != nil {
		return nil, 0, fmt.Errorf("%w: no header", errNotOurs)
	}
	if h == ([block]byte{}) {
		if _, err := r.ReadAt(h[:], at+block); err != nil || h != ([block]byte{}) {
			return nil, 0, fmt.Errorf("%w: the end of the archive", errNotOurs)
		}
		return nil, at + 2*block, nil
	}
	if strings.HasPrefix(string(h[:]), "postern recording ") {
		return nil, 0, errors.New("this is a sealed recording and no bundle; it is held against the log with: postern verify --recording FILE")
	}
	name, _, _ := strings.Cut(string(h[:maxName]), "\x00")
	length, err := strconv.ParseInt(string(h[124:135]), 8, 64)
	if err != nil || length < 0 || h != header(name, length) {
		return nil, 0, fmt.Errorf("%w: the header of %.100q", errNotOurs, name)
	}
	if name != manifestName && !knownName(name) {
		return nil, 0, fmt.Errorf("%.100q has no place in a bundle", name)
	}
	end := at + block + length
	if end+padding(length) > size {
		return nil, 0, fmt.Errorf("%s: cut short", name)
	}
	pad := make([]byte, padding(length))
	if _, err := r.ReadAt(pad, end); err != nil || !bytes.Equal(pad, make([]byte, len(pad))) {
		return nil, 0, fmt.Errorf("%w: what follows %s", errNotOurs, name)
	}
	return &member{name, io.NewSectionReader(r, at+block, length)}, end + padding(length), nil
}

// checkManifest holds every file against its line.
func checkManifest(members []member) error {
	text, err := content(members[0], maxManifest)
	if err != nil {
		return err
	}
	lines := strings.SplitAfter(string(text), "\n")
	if lines[len(lines)-1] != "" {
		return fmt.Errorf("%s: its last line has no end", manifestName)
	}
	lines = lines[:len(lines)-1]
	for i, m := range members[1:] {
		if i >= len(lines) {
			return fmt.Errorf("%s is in no line of %s", m.name, manifestName)
		}
		sum, err := sumOf(m)
		if err != nil {
			return err
		}
		said, name, _ := strings.Cut(strings.TrimSuffix(lines[i], "\n"), "  ")
		if name != m.name {
			return fmt.Errorf("%s: line %d is about %.100q, and the file in that place is %s", manifestName, i+1, name, m.name)
		}
		if said != hex.EncodeToString(sum) {
			return fmt.Errorf("%s is not what line %d of %s says", m.name, i+1, manifestName)
		}
	}
	if len(lines) > len(members)-1 {
		return fmt.Errorf("%s: %.200q is not in the bundle", manifestName, lines[len(members)-1])
	}
	return nil
}

// content reads a file of which not more than that is believed.
func content(m member, most int64) ([]byte, error) {
	if m.data.Size() > most {
		return nil, fmt.Errorf("%s: %d bytes, at most %d may be", m.name, m.data.Size(), most)
	}
	b := make([]byte, m.data.Size())
	if _, err := m.data.ReadAt(b, 0); err != nil && !(errors.Is(err, io.EOF)) {
		return nil, fmt.Errorf("%s: %w", m.name, err)
	}
	return b, nil
}
