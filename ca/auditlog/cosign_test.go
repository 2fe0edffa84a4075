package auditlog

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"slices"
	"strings"
	"testing"
	"time"
)

// A checkpoint of a public log as a public witness cosigned it: what others write, we read.
const (
	foreignWitness    = "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2"
	foreignLog        = "arche2025h1.staging.ct.transparency.dev+ba2f06c0+AU0vHmlGCS/PdN8b2OaGmKprLI8HKM+dJ472xgFYh15f"
	foreignCheckpoint = `arche2025h1.staging.ct.transparency.dev
1432088532
U7WM79jrzyhGZ5/GUBTpM7NzwdyfFx61t3RovgcC4Ro=

— arche2025h1.staging.ct.transparency.dev zTM8sQAAAZ5W0WdjBAMARjBEAiBjW5IQf9pvsYLfQFX6hoGREPMHbdQ3urbllzalApkptQIgIpwtEroeW2BXaHAI4kJXFbon5Ch9MNL5zRNZ55lvGt0=
— arche2025h1.staging.ct.transparency.dev ui8GwCF1+kWqZrxGdhj4aX3gcw7XUlXQQabg/27lefwhUkzbC3NygNI75MdhL1bfTW9g8Ei59RA23oHP7Ry1k3ZFWwQ=
— transparency.dev/DEV:witness-little-garden 2AQqhwAAAABqEiEgzgFIqqhbUoDwjMWE6UP8nd8/KYTzwZ2rhIgcqoXHAwVkjZr4AscylP3v7sEodkRAErumC2q44vdgJY096st5BQ==
— witness1.smartit.nu/witness1 pIyCDwAAAABqEiEghIp82KWebrw7/oHQwlTAm3g2RKS4+eebl8eO0WH+/iEcxZ75W3u5hNI7TOQtmJbqmNWVuE0tgh0XwzdZsDsUAQ==
— remora.n621.de 2net5wAAAABqEiEgPlfF3V06o0Y+fHM+J5J9s27wgxxcOVSpZ/2g/KSiXCg9DEZI+aVCIobWX9sXTynk5XeU/zZ0WBxtqB0DrAWfBw==
— witness.stagemole.eu Z/euoAAAAABqEiEgw0i+7g2ENfDAWHmtRzCfKTHSDwYDJA2NmKeGi9Y8FtEyOUvVr+AJmIY/2TUFucgKi7lI7cUiOvKFYe/TmN9DAg==
`
)

func TestForeignCosignature(t *testing.T) {
	w, err := ParseWitness(foreignWitness)
	if err != nil {
		t.Fatal(err)
	}
	by, err := Cosignatures([]byte(foreignCheckpoint), foreignLog, []*Witness{w})
	if err != nil || len(by) != 1 || by[0].At.Unix() != 0x6a122120 || by[0].Witness != "remora.n621.de" {
		t.Fatal(by, err)
	}
	// Whatever is changed in the body or in the cosignature, it is not cosigned any more.
	line := strings.Index(foreignCheckpoint, "— remora")
	for i := range foreignCheckpoint {
		if i >= strings.Index(foreignCheckpoint, "\n\n") && i < line || i >= strings.Index(foreignCheckpoint, "— witness.stagemole") {
			continue // signatures of others
		}
		forged := []byte(foreignCheckpoint)
		forged[i] ^= 1
		if by, err := Cosignatures(forged, foreignLog, []*Witness{w}); err == nil && len(by) > 0 {
			t.Errorf("byte %d changed, and it is cosigned", i)
		}
	}
}

func cosigner(t *testing.T, name string) *Cosigner {
	t.Helper()
	seed := make([]byte, ed25519.SeedSize)
	rand.Read(seed)
	c, err := NewCosigner(name, seed)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCosign(t *testing.T) {
	_, private, _ := ed25519.GenerateKey(rand.Reader)
	signer, err := NewSigner("postern-ca", private)
	if err != nil {
		t.Fatal(err)
	}
	_, trees := log(t, 3)
	checkpoint, err := signer.Checkpoint(trees[2])
	if err != nil {
		t.Fatal(err)
	}
	one, two := cosigner(t, "witness.example/one"), cosigner(t, "two")
	at := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	signed, err := one.Cosign(checkpoint, signer.VerifierKey(), at)
	if err != nil {
		t.Fatal(err)
	}
	if tree, err := OpenCheckpoint(signed, signer.VerifierKey()); err != nil || tree != trees[2] {
		t.Error("the log's own signature went lost", err)
	}
	by, err := Cosignatures(signed, signer.VerifierKey(), []*Witness{&one.Witness, &two.Witness})
	if err != nil || len(by) != 1 || by[0].Key != one.VerifierKey() || !by[0].At.Equal(at) {
		t.Error(by, err)
	}
	// One witness is one witness, however often it signs and under whatever name.
	again, err := one.Cosign(signed, signer.VerifierKey(), at.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if by, err := Cosignatures(again, signer.VerifierKey(), []*Witness{&one.Witness}); err != nil || len(by) != 1 {
		t.Error(by, err)
	}
	if by, err := Cosignatures(checkpoint, signer.VerifierKey(), []*Witness{&one.Witness}); err != nil || len(by) != 0 {
		t.Error("a checkpoint that nobody cosigned", by, err)
	}
	for i := range signed {
		forged := slices.Clone(signed)
		forged[i] ^= 1
		by, err := Cosignatures(forged, signer.VerifierKey(), []*Witness{&one.Witness})
		if err == nil && len(by) > 0 && !bytes.Equal(forged, signed) {
			t.Errorf("byte %d of %q changed, and it is cosigned", i, signed)
		}
	}
	if _, err := two.Cosign([]byte("postern-ca\n3\nx\n\n"), signer.VerifierKey(), at); err == nil {
		t.Error("cosigned what the log did not sign")
	}
}

func TestWitnessKeys(t *testing.T) {
	c := cosigner(t, "w")
	again, err := OpenCosigner(c.Secret() + "\n")
	if err != nil || again.VerifierKey() != c.VerifierKey() {
		t.Fatal(err)
	}
	secret, vkey := c.Secret(), c.VerifierKey()
	for i := range secret {
		b := []byte(secret)
		b[i] ^= 1
		if o, err := OpenCosigner(string(b)); err == nil && o.VerifierKey() == vkey {
			t.Errorf("secret with byte %d changed: %q", i, b)
		}
	}
	for i := range vkey {
		b := []byte(vkey)
		b[i] ^= 1
		if _, err := ParseWitness(string(b)); err == nil {
			t.Errorf("verifier key with byte %d changed: %q", i, b)
		}
	}
	_, private, _ := ed25519.GenerateKey(rand.Reader)
	log, _ := NewSigner("w", private)
	for _, bad := range []string{"", "w", "w+00000000", "+" + vkey, log.VerifierKey()} {
		if _, err := ParseWitness(bad); err == nil {
			t.Errorf("%q is a witness", bad)
		}
	}
	for _, name := range []string{"", "a b", "a+b", "a\nb", strings.Repeat("x", 101), "ü"} {
		if _, err := NewCosigner(name, make([]byte, 32)); err == nil {
			t.Errorf("%q is the name of a witness", name)
		}
	}
}
