package policy

import (
	"crypto/ecdh"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
	"strings"
)

// minRSA is what OpenSSH itself still accepts and maxRSA what it can make; longer ones cost us time, not attackers.
const (
	minRSA = 2048
	maxRSA = 16384
)

var errShortKey = errors.New("the key is cut short")

// parseKey reads one line of authorized_keys form. It knows the wire format of public keys (RFC 4253 section 6.6,
// RFC 5656, RFC 8709, OpenSSH's PROTOCOL.u2f) by itself, so that deciding needs no SSH library.
func parseKey(line string) (Key, error) {
	fields := strings.Fields(line)
	if len(fields) == 0 {
		return Key{}, errors.New("an SSH public key is empty")
	}
	kind := fields[0]
	switch {
	case strings.Contains(kind, "-cert-v0"):
		return Key{}, fmt.Errorf("%s is a certificate; give the plain public key it was made for", kind)
	case kind == "ssh-dss":
		return Key{}, errors.New("ssh-dss keys are broken; make a new one with: ssh-keygen -t ed25519")
	case keyForms[kind] == nil:
		return Key{}, fmt.Errorf("no SSH public key begins with %.40q; options are not allowed%s", kind, among("types", keyTypes()))
	case len(fields) < 2:
		return Key{}, fmt.Errorf("after %s the key itself is missing", kind)
	}
	blob, err := base64.StdEncoding.Strict().DecodeString(fields[1])
	if err != nil {
		return Key{}, fmt.Errorf("the %s key is not base64: %v", kind, err)
	}
	rest, err := takeHeader(blob, kind)
	if err != nil {
		return Key{}, err
	}
	if rest, err = keyForms[kind](rest); err != nil {
		return Key{}, fmt.Errorf("%s: %w", kind, err)
	}
	if len(rest) > 0 {
		return Key{}, fmt.Errorf("%s: %d bytes follow the key", kind, len(rest))
	}
	sum := sha256.Sum256(blob)
	return Key{
		Line:        kind + " " + fields[1],
		Fingerprint: "SHA256:" + base64.RawStdEncoding.EncodeToString(sum[:]),
		Type:        kind,
	}, nil
}

// keyForms reads what follows the type in a public key, and returns what is left over.
var keyForms = map[string]func([]byte) ([]byte, error){
	"ssh-ed25519":                        ed25519Form,
	"sk-ssh-ed25519@openssh.com":         then(ed25519Form, application),
	"ecdsa-sha2-nistp256":                ecdsaForm("nistp256", ecdh.P256()),
	"ecdsa-sha2-nistp384":                ecdsaForm("nistp384", ecdh.P384()),
	"ecdsa-sha2-nistp521":                ecdsaForm("nistp521", ecdh.P521()),
	"sk-ecdsa-sha2-nistp256@openssh.com": then(ecdsaForm("nistp256", ecdh.P256()), application),
	"ssh-rsa":                            rsaForm,
}

func keyTypes() []string {
	types := make([]string, 0, len(keyForms))
	for kind := range keyForms {
		types = append(types, kind)
	}
	return types
}

func takeHeader(blob []byte, kind string) ([]byte, error) {
	inner, rest, ok := takeString(blob)
	if !ok {
		return nil, errShortKey
	}
	if string(inner) != kind {
		return nil, fmt.Errorf("the line says %s but the key in it is of type %.40q", kind, inner)
	}
	return rest, nil
}

func takeString(b []byte) (value, rest []byte, ok bool) {
	if len(b) < 4 {
		return nil, nil, false
	}
	n := binary.BigEndian.Uint32(b)
	if uint64(n) > uint64(len(b)-4) {
		return nil, nil, false
	}
	return b[4 : 4+n], b[4+n:], true
}

func ed25519Form(b []byte) ([]byte, error) {
	point, rest, ok := takeString(b)
	if !ok || len(point) != 32 {
		return nil, errShortKey
	}
	return rest, nil
}

func ecdsaForm(name string, curve ecdh.Curve) func([]byte) ([]byte, error) {
	return func(b []byte) ([]byte, error) {
		inner, rest, ok := takeString(b)
		if !ok {
			return nil, errShortKey
		}
		if string(inner) != name {
			return nil, fmt.Errorf("the curve is %.20q, not %s", inner, name)
		}
		point, rest, ok := takeString(rest)
		if !ok {
			return nil, errShortKey
		}
		if _, err := curve.NewPublicKey(point); err != nil {
			return nil, fmt.Errorf("the key is no point of %s", name)
		}
		return rest, nil
	}
}

func application(b []byte) ([]byte, error) {
	name, rest, ok := takeString(b)
	if !ok {
		return nil, errShortKey
	}
	// OpenSSH makes no others; a web origin as application would let a browser make the signatures.
	if !strings.HasPrefix(string(name), "ssh:") {
		return nil, fmt.Errorf("the FIDO application %.40q is not one of ssh", name)
	}
	return rest, nil
}

func then(first, second func([]byte) ([]byte, error)) func([]byte) ([]byte, error) {
	return func(b []byte) ([]byte, error) {
		rest, err := first(b)
		if err != nil {
			return nil, err
		}
		return second(rest)
	}
}

func rsaForm(b []byte) ([]byte, error) {
	e, rest, err := takeMPInt(b)
	if err != nil {
		return nil, err
	}
	n, rest, err := takeMPInt(rest)
	if err != nil {
		return nil, err
	}
	switch bits := n.BitLen(); {
	case bits < minRSA:
		return nil, fmt.Errorf("%d bits are too few, %d the least; better is: ssh-keygen -t ed25519", bits, minRSA)
	case bits > maxRSA:
		return nil, fmt.Errorf("%d bits are too many, %d the most", bits, maxRSA)
	case n.Bit(0) == 0:
		return nil, errors.New("the modulus is even")
	case e.Bit(0) == 0 || e.Cmp(big.NewInt(3)) < 0 || e.BitLen() > 24:
		return nil, errors.New("the exponent is not an odd number from 3 to 2^24")
	}
	return rest, nil
}

// takeMPInt takes a positive mpint in its one canonical form: two encodings of one key would have two fingerprints,
// and revoking one would leave the other.
func takeMPInt(b []byte) (*big.Int, []byte, error) {
	raw, rest, ok := takeString(b)
	if !ok || len(raw) == 0 {
		return nil, nil, errShortKey
	}
	if raw[0]&0x80 != 0 || raw[0] == 0 && (len(raw) == 1 || raw[1]&0x80 == 0) {
		return nil, nil, errors.New("a number in the key is negative or not in its shortest form")
	}
	return new(big.Int).SetBytes(raw), rest, nil
}
