package report

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"io"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"postern/internal/control"
	"postern/internal/sshsig"
)

// fido is a FIDO key in software, as OpenSSH's PROTOCOL.u2f describes what it signs.
type fido struct {
	private ed25519.PrivateKey
	public  ssh.PublicKey
	flags   byte
}

func newFIDO(t *testing.T, flags byte) *fido {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.ParsePublicKey(ssh.Marshal(struct {
		Type        string
		Key         []byte
		Application string
	}{ssh.KeyAlgoSKED25519, public, "ssh:"}))
	if err != nil {
		t.Fatal(err)
	}
	return &fido{private, key, flags}
}

func (k *fido) PublicKey() ssh.PublicKey { return k.public }

func (k *fido) Sign(_ io.Reader, data []byte) (*ssh.Signature, error) {
	app, message := sha256.Sum256([]byte("ssh:")), sha256.Sum256(data)
	rest := binary.BigEndian.AppendUint32([]byte{k.flags}, 7)
	signed := append(append(app[:], rest...), message[:]...)
	return &ssh.Signature{Format: ssh.KeyAlgoSKED25519, Blob: ed25519.Sign(k.private, signed), Rest: rest}, nil
}

// A touch is said of the signatures that show one, and of no other, whatever the log says of the key.
func TestTouch(t *testing.T) {
	vote := func(k *fido) control.Vote {
		text := "postern statement v1\n"
		signature, err := sshsig.Sign(k, control.Namespace, []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return control.Vote{Public: strings.TrimSpace(string(ssh.MarshalAuthorizedKey(k.public))), Key: ssh.FingerprintSHA256(k.public), Statement: text, Signature: string(signature)}
	}
	touched, verified := vote(newFIDO(t, 1)), vote(newFIDO(t, 5))
	other := touched
	other.Key = verified.Key
	forged := touched
	forged.Statement += "x"
	plain := touched
	plain.Public = "ssh-ed25519 AAAA"
	for name, c := range map[string]struct {
		vote control.Vote
		want string
	}{
		"touched": {touched, "FIDO key, touched"}, "with its PIN": {verified, "FIDO key, touched, with its PIN"},
		"another key": {other, "key without touch"}, "another text": {forged, "key without touch"}, "no token": {plain, "key without touch"},
	} {
		var a Approval
		if a.FIDO, a.Touch, a.PIN = token(c.vote); a.How() != c.want {
			t.Errorf("%s: %s", name, a.How())
		}
	}
}
