package main

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

func line(c *ssh.Certificate) string { return string(ssh.MarshalAuthorizedKey(c)) }

func TestHostCertificate(t *testing.T) {
	key, _ := newSigner(t)
	other, _ := newSigner(t)
	ca, _ := newSigner(t)
	now := time.Now()
	from, until := uint64(now.Unix()), uint64(now.Add(4*time.Hour).Unix())
	good := ssh.Certificate{CertType: ssh.HostCert, ValidPrincipals: []string{"phi1"}, ValidAfter: from, ValidBefore: until}
	with := func(change func(*ssh.Certificate)) ssh.Certificate {
		c := good
		change(&c)
		return c
	}
	for name, c := range map[string]struct {
		line string
		want string
	}{
		"good":            {line(newCert(t, ca, key.PublicKey(), good)), ""},
		"not a line":      {"x", "host certificate"},
		"plain key":       {string(ssh.MarshalAuthorizedKey(key.PublicKey())), "not one certificate"},
		"two":             {line(newCert(t, ca, key.PublicKey(), good)) + line(newCert(t, ca, key.PublicKey(), good)), "not one certificate"},
		"user":            {line(newCert(t, ca, key.PublicKey(), with(func(c *ssh.Certificate) { c.CertType = ssh.UserCert }))), "user certificate"},
		"other key":       {line(newCert(t, ca, other.PublicKey(), good)), "another key"},
		"other CA":        {line(newCert(t, other, key.PublicKey(), good)), "another CA"},
		"any host":        {line(newCert(t, ca, key.PublicKey(), with(func(c *ssh.Certificate) { c.ValidPrincipals = nil }))), "any host"},
		"for ever":        {line(newCert(t, ca, key.PublicKey(), with(func(c *ssh.Certificate) { c.ValidBefore = ssh.CertTimeInfinity }))), "never expires"},
		"expired":         {line(newCert(t, ca, key.PublicKey(), with(func(c *ssh.Certificate) { c.ValidBefore = from - 1; c.ValidAfter = 1 }))), "expired"},
		"critical option": {line(newCert(t, ca, key.PublicKey(), with(func(c *ssh.Certificate) { c.CriticalOptions = map[string]string{"x": ""} }))), "critical"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			h := &hostCertificate{key: key.PublicKey(), ca: ca.PublicKey(), path: filepath.Join(dir, "cert"), reload: "echo x >>" + filepath.Join(dir, "reloads"), disk: onDisk}
			if !h.due(now) {
				t.Error("there is none, and none is due")
			}
			_, err := h.install(t.Context(), c.line, now)
			if c.want == "" {
				if err != nil || read(t, h.path) != c.line || read(t, filepath.Join(dir, "reloads")) != "x\n" {
					t.Error(err)
				}
				if h.due(now.Add(2*time.Hour-time.Minute)) || !h.due(now.Add(2*time.Hour+time.Minute)) {
					t.Error("the next is not due at half the life of this")
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) || !h.due(now) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}

func TestReloadIsTriedAgain(t *testing.T) {
	key, _ := newSigner(t)
	ca, _ := newSigner(t)
	dir := t.TempDir()
	flag := filepath.Join(dir, "flag")
	h := &hostCertificate{key: key.PublicKey(), ca: ca.PublicKey(), path: filepath.Join(dir, "cert"), disk: onDisk,
		reload: "echo no luck >&2; test -e " + flag}
	cert := newCert(t, ca, key.PublicKey(), ssh.Certificate{CertType: ssh.HostCert, ValidPrincipals: []string{"phi1"}})
	if _, err := h.install(t.Context(), line(cert), time.Now()); err == nil || !strings.Contains(err.Error(), "no luck") {
		t.Errorf("a failed reload: %v", err)
	}
	put(t, flag, "")
	if err := h.reloadIfDue(t.Context()); err != nil || h.reloadDue {
		t.Errorf("due %v, error %v", h.reloadDue, err)
	}
}
