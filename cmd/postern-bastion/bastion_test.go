package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/bastion"
	"postern/internal/control"
)

func TestReadKeys(t *testing.T) {
	path := filepath.Join(t.TempDir(), "auditors")
	key := signer(t)
	text := "# carol\n\n" + string(ssh.MarshalAuthorizedKey(key.PublicKey())) + "# the end\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	keys, err := readKeys(path)
	if err != nil || len(keys) != 1 {
		t.Errorf("%d keys, %v", len(keys), err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if keys, err = readKeys(path); err != nil || len(keys) != 0 {
		t.Errorf("an empty file: %d keys, %v", len(keys), err)
	}
}

func signer(t *testing.T) ssh.Signer {
	t.Helper()
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestNames(t *testing.T) {
	key, ca := signer(t), signer(t)
	n := newNames("bastion-1", key)
	answer := func(key ssh.PublicKey, kind uint32, names ...string) string {
		cert := &ssh.Certificate{Key: key, CertType: kind, ValidPrincipals: names, ValidBefore: ssh.CertTimeInfinity}
		if err := cert.SignCert(rand.Reader, ca); err != nil {
			t.Fatal(err)
		}
		b, err := json.Marshal(control.Certificate{Host: names[0], Certificate: string(ssh.MarshalAuthorizedKey(cert)), NotAfter: time.Now().Add(time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		return string(b) + "\n"
	}
	own := answer(key.PublicKey(), ssh.HostCert, "bastion-1", "127.0.0.1")
	phi := answer(key.PublicKey(), ssh.HostCert, "phi1", "PHI1.example")
	for what, bad := range map[string]string{
		"no own name":         phi,
		"another's key":       own + answer(signer(t).PublicKey(), ssh.HostCert, "phi1"),
		"a user certificate":  own + answer(key.PublicKey(), ssh.UserCert, "phi1"),
		"half a line":         own + phi[:len(phi)/2],
		"not a certificate":   own + `{"host":"phi1","certificate":"` + strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key.PublicKey()))) + `"}`,
		"nothing, in the end": "",
	} {
		if _, err := n.set([]byte(bad)); err == nil {
			t.Errorf("%s was accepted", what)
		}
	}
	if n.hostKeys() != nil {
		t.Error("a bad answer left a host key behind")
	}
	if _, err := n.set([]byte(own + phi)); err != nil {
		t.Fatal(err)
	}
	<-n.ready
	if g, ok := n.gateway("phi1.EXAMPLE"); !ok || g.Name != "phi1" {
		t.Errorf("an alias leads to %q, %v", g.Name, ok)
	}
	for _, not := range []string{"bastion-1", "127.0.0.1", "phi2", ""} {
		if _, ok := n.gateway(not); ok {
			t.Errorf("%q is a host", not)
		}
	}
	if due := time.Until(n.due()); due < 25*time.Minute || due > 35*time.Minute {
		t.Errorf("certificates of an hour are fetched again in %s", due)
	}
	n.outdate()
	if time.Until(n.due()) > 0 {
		t.Error("a changed policy fetches nothing")
	}
}

func TestPingsRememberWhenTheyWereSent(t *testing.T) {
	now := bastion.Uptime()
	p := &pings{silence: silence, sent: map[uint64]time.Duration{1: now - 3, 2: now - 2, 3: now - 1, 4: now - silence}}
	if at, ok := p.answered(2); !ok || at != now-2 {
		t.Errorf("ping 2 was sent at %v, %v", at, ok)
	}
	for _, n := range []uint64{0, 1, 2, 4, 9} {
		if _, ok := p.answered(n); ok {
			t.Errorf("ping %d was answered twice, late or without being sent", n)
		}
	}
	if _, ok := p.answered(3); ok {
		t.Error("an answer to a later ping was taken, and one to an earlier one after it")
	}
}
