package sshsig

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
)

const (
	begin = "-----BEGIN SSH SIGNATURE-----\n"
	end   = "-----END SSH SIGNATURE-----\n"

	// width is where ssh-keygen breaks the lines of base64.
	width = 70

	// maxArmour bounds what a stranger can make us decode. The largest real signature, by an RSA key of 16384 bits,
	// armours to under 6 KiB.
	maxArmour = 16 << 10
)

func armour(blob []byte) []byte {
	text := base64.StdEncoding.EncodeToString(blob)
	out := []byte(begin)
	for len(text) > 0 {
		n := min(width, len(text))
		out = append(append(out, text[:n]...), '\n')
		text = text[n:]
	}
	return append(out, end...)
}

// unarmour accepts exactly what armour writes.
func unarmour(text []byte) ([]byte, error) {
	switch {
	case len(text) > maxArmour:
		return nil, fmt.Errorf("sshsig: %d bytes are too many for a signature", len(text))
	case bytes.IndexByte(text, '\r') >= 0:
		return nil, errors.New(`sshsig: carriage returns in the signature; remove them with: tr -d '\r'`)
	case !bytes.HasPrefix(text, []byte(begin)):
		return nil, errors.New("sshsig: signature does not start with " + begin[:len(begin)-1])
	case !bytes.HasSuffix(text, []byte(end)):
		return nil, errors.New("sshsig: signature does not end with " + end[:len(end)-1] + " and one newline")
	}
	if len(text) < len(begin)+len(end) {
		return nil, errors.New("sshsig: the armour is empty")
	}
	body := text[len(begin) : len(text)-len(end)]
	blob, err := base64.StdEncoding.DecodeString(string(body))
	if err != nil {
		return nil, fmt.Errorf("sshsig: armour: %w", err)
	}
	if !bytes.Equal(armour(blob), text) {
		return nil, errors.New("sshsig: the armour is not as ssh-keygen writes it (lines of 70 characters, nothing before or after)")
	}
	return blob, nil
}
