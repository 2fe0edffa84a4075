// Package sheet writes a sealed grant as text that can be printed, typed again and kept on a stick, and reads it back. Start with [Write] and
// [Read].
//
// A sheet is what [control.Made] holds, in the types of RFC 4251, compressed, in an age file whose only recipient is a passphrase, as lines of base32:
//
//	postern sheet 1: R-7K2M4Q, root@phi1 through bastion-1, until 2026-12-22
//	 1  MFXGI ZJNMV XGG4T ZOB2G S33OF ZXXEZ ZPOYY QUWRT  5K
//
// Each line has its number, 40 characters (RFC 4648; the last one may have fewer) and two of check, which differ for every line in which one
// character is wrong or two have changed places, and for a line in another's place. What does not begin with a number is for people and not read.
// The bytes under it begin with their own length, two bytes, and end with the first four of their SHA-256, so that a line that is missing is found before
// anybody is asked for a passphrase.
package sheet

import (
	"bytes"
	"compress/flate"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"filippo.io/age"
	"golang.org/x/crypto/ssh"

	"postern/internal/control"
)

const (
	first   = "postern sheet 1: "
	width   = 40
	group   = 5
	most    = 16 << 10 // bytes of an envelope: of three holders they are under three thousand
	mostRaw = 64 << 10

	// The passphrase has a hundred random bits, so scrypt need not be slow to be safe: who tries them all is not stopped by a second each, and not helped by none.
	work = 12
)

var alphabet = base32.StdEncoding.WithPadding(base32.NoPadding)

// Passphrase makes one: a hundred bits in four groups. No person chooses it, because people choose what others guess.
func Passphrase() string {
	b := make([]byte, 13)
	rand.Read(b)
	s := strings.ToLower(alphabet.EncodeToString(b))[:20]
	return s[:5] + "-" + s[5:10] + "-" + s[10:15] + "-" + s[15:]
}

// typed is a passphrase as it was made, however it was typed.
func typed(passphrase string) string {
	passphrase = strings.ToLower(strings.Join(strings.FieldsFunc(passphrase, func(r rune) bool { return r == '-' || r == ' ' || r == '\n' || r == '\r' || r == '\t' }), ""))
	return strings.NewReplacer("0", "o", "1", "l", "8", "b").Replace(passphrase)
}

// Write is the text of a sheet. title is for people: what it is, and until when.
func Write(made control.Made, passphrase, title string) (string, error) {
	plain := marshal(made)
	var sealed bytes.Buffer
	to, err := age.NewScryptRecipient(typed(passphrase))
	if err != nil {
		return "", err
	}
	to.SetWorkFactor(work)
	w, err := age.Encrypt(&sealed, to)
	if err != nil {
		return "", err
	}
	small, err := flate.NewWriter(w, flate.BestCompression)
	if err != nil {
		return "", err
	}
	if _, err := small.Write(plain); err != nil {
		return "", err
	}
	if err := errors.Join(small.Close(), w.Close()); err != nil {
		return "", err
	}
	if sealed.Len() > most {
		return "", fmt.Errorf("the sheet has %d bytes, at most %d fit", sealed.Len(), most)
	}
	return first + title + "\n\n" + lines(framed(sealed.Bytes())), nil
}

// wire is what a sheet holds, in the types of RFC 4251. Certificates are strings, one after the other.
type wire struct {
	Version      string
	Terms        []byte
	Envelope     []byte
	Certificates []byte
}

type text struct{ B []byte }

const version = "postern-sheet-v1"

func marshal(made control.Made) []byte {
	w := wire{Version: version, Terms: made.Terms, Envelope: made.Envelope}
	for _, c := range made.Certificates {
		w.Certificates = append(w.Certificates, ssh.Marshal(text{c})...)
	}
	return ssh.Marshal(w)
}

func unmarshal(b []byte) (control.Made, error) {
	var w wire
	if err := ssh.Unmarshal(b, &w); err != nil {
		return control.Made{}, err
	}
	if w.Version != version {
		return control.Made{}, fmt.Errorf("it is of version %.40q, and this program reads %q", w.Version, version)
	}
	made := control.Made{Terms: w.Terms, Envelope: w.Envelope}
	for rest := w.Certificates; len(rest) > 0; {
		if len(rest) < 4 || uint64(binary.BigEndian.Uint32(rest)) > uint64(len(rest)-4) {
			return made, errors.New("a certificate is cut short")
		}
		n := 4 + int(binary.BigEndian.Uint32(rest))
		made.Certificates, rest = append(made.Certificates, rest[4:n]), rest[n:]
	}
	return made, nil
}

func framed(b []byte) []byte {
	out := binary.BigEndian.AppendUint16(nil, uint16(len(b)))
	sum := sha256.Sum256(b)
	return append(append(out, b...), sum[:4]...)
}

func lines(b []byte) string {
	text := alphabet.EncodeToString(b)
	var out strings.Builder
	for n := 1; text != ""; n++ {
		line := text[:min(width, len(text))]
		text = text[len(line):]
		fmt.Fprintf(&out, "%3d ", n)
		for i := 0; i < len(line); i += group {
			out.WriteString(" " + line[i:min(i+group, len(line))])
		}
		out.WriteString("  " + check(n, line) + "\n")
	}
	return out.String()
}

// check is the sum of the characters, each by its place, and of the line's number, modulo a prime that is greater than any difference which one
// wrong character or two exchanged ones make, and no multiple of one.
func check(number int, line string) string {
	const prime = 1021
	sum := number * 47
	for i := range len(line) {
		sum += (i + 1) * strings.IndexByte(symbols, line[i])
	}
	sum %= prime
	return string([]byte{symbols[sum/32], symbols[sum%32]})
}

const symbols = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"

var numbered = regexp.MustCompile(`^\s*([0-9]{1,3})[\s.:]+(\S.*)$`)

// Read takes a sheet out of its text. Mistakes of typing are named by their line, all of them.
func Read(text, passphrase string) (control.Made, error) {
	var made control.Made
	sealed, err := Check(text)
	if err != nil {
		return made, err
	}
	as, err := age.NewScryptIdentity(typed(passphrase))
	if err != nil {
		return made, errors.New("the passphrase is empty")
	}
	as.SetMaxWorkFactor(work)
	r, err := age.Decrypt(bytes.NewReader(sealed), as)
	if err != nil {
		return made, errors.New("the sheet does not open with this passphrase; it stands on no sheet, ask who keeps it")
	}
	plain, err := io.ReadAll(io.LimitReader(flate.NewReader(r), mostRaw))
	if err == nil {
		made, err = unmarshal(plain)
	}
	if err != nil {
		return made, fmt.Errorf("the sheet opens, but what is in it cannot be read: %w", err)
	}
	return made, nil
}

// Check finds what is mistyped or missing, without a passphrase. It returns what the passphrase opens.
func Check(text string) ([]byte, error) {
	var got []string
	var wrong []error
	for raw := range strings.SplitSeq(text, "\n") {
		m := numbered.FindStringSubmatch(strings.ToUpper(strings.TrimRight(raw, " \t\r")))
		if m == nil {
			continue
		}
		n, _ := strconv.Atoi(m[1])
		line, err := readLine(n, m[2])
		if n != len(got)+1 {
			wrong = append(wrong, fmt.Errorf("line %d stands where line %d belongs", n, len(got)+1))
		} else if err != nil {
			wrong = append(wrong, err)
		}
		if got = append(got, line); len(got) > most {
			break
		}
	}
	if len(got) == 0 {
		return nil, errors.New("this is no sheet: it has no line that begins with a number")
	}
	if err := errors.Join(wrong...); err != nil {
		return nil, err
	}
	return unframed(got)
}

// readLine forgives what eyes mistake: 0, 1 and 8 are in no sheet.
func readLine(n int, rest string) (string, error) {
	line := strings.NewReplacer(" ", "", "\t", "", "-", "", "0", "O", "1", "I", "8", "B").Replace(rest)
	if i := strings.IndexFunc(line, func(r rune) bool { return !strings.ContainsRune(symbols, r) }); i >= 0 {
		return "", fmt.Errorf("line %d is mistyped: %q is in no sheet", n, []rune(line[i:])[0])
	}
	if len(line) < 3 || len(line) > width+2 {
		return "", fmt.Errorf("line %d is mistyped: it has %d characters, not %d", n, len(line), width+2)
	}
	body, sum := line[:len(line)-2], line[len(line)-2:]
	if check(n, body) != sum {
		return "", fmt.Errorf("line %d is mistyped: its last two characters do not fit the others", n)
	}
	return body, nil
}

func unframed(got []string) ([]byte, error) {
	for i, line := range got[:len(got)-1] {
		if len(line) != width {
			return nil, fmt.Errorf("line %d is mistyped: it has %d characters, not %d", i+1, len(line)+2, width+2)
		}
	}
	b, err := alphabet.DecodeString(strings.Join(got, ""))
	if len(b) < 2 {
		return nil, errors.New("the sheet ends after its first line")
	}
	want := int(binary.BigEndian.Uint16(b)) + 6
	last := (alphabet.EncodedLen(want) + width - 1) / width
	switch {
	case len(got) < last:
		return nil, fmt.Errorf("lines %d to %d are missing", len(got)+1, last)
	case len(got) > last:
		return nil, fmt.Errorf("line %d is one too many: the sheet has %d", last+1, last)
	case err != nil || len(b) != want:
		return nil, fmt.Errorf("line %d is mistyped: it is too long or too short", last)
	}
	b = b[2:]
	sum := sha256.Sum256(b[:len(b)-4])
	if !bytes.Equal(sum[:4], b[len(b)-4:]) {
		return nil, errors.New("the lines fit their own checks, but not together: one has two mistakes, or is of another sheet")
	}
	return b[:len(b)-4], nil
}
