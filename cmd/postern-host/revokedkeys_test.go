package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postern/ca/krl"
)

// list makes the file that a CA would send.
func list(t testing.TB, version uint64, generated time.Time, serials ...uint64) []byte {
	t.Helper()
	l := &krl.List{Version: version, Generated: generated, Comment: "test"}
	for _, s := range serials {
		l.RevokeSerials(nil, s, s)
	}
	b, err := l.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestInstall(t *testing.T) {
	day := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	first := list(t, 5, day, 7)
	foreign := bytes.Replace(list(t, 9, day, 7), []byte(" bytes]"), []byte(" Bytes]"), 1)
	for name, c := range map[string]struct {
		disk, sent []byte
		want       string // in the error; "" is success
		changed    bool
	}{
		"none yet":                    {nil, first, "", true},
		"the same":                    {first, first, "", false},
		"the same, made later":        {first, list(t, 5, day.Add(time.Hour), 7), "", false},
		"next":                        {first, list(t, 6, day, 7, 8), "", true},
		"revocations ran out":         {first, list(t, 5, day.Add(time.Hour)), "", true},
		"older number":                {first, list(t, 4, day.Add(time.Hour), 7, 8), "older than 5", false},
		"older time":                  {first, list(t, 5, day.Add(-time.Hour)), "older than that of 12:00:00", false},
		"empty file":                  {first, nil, "the file is empty", false},
		"text":                        {first, []byte("ssh-ed25519 AAAA\n"), "no KRL", false},
		"cut":                         {first, list(t, 6, day, 7, 8)[:60], "revocation list", false},
		"header only":                 {first, first[:bytes.IndexByte(first, ']')+1], "the file says that it has", false},
		"with bytes after":            {first, append(list(t, 6, day, 7), 0), "has", false},
		"without size":                {first, foreign, "its own size", false},
		"damaged on disk":             {first[:50], first, "", true},
		"empty on disk":               {[]byte{}, first, "", true},
		"damaged on disk, older sent": {list(t, 9, day, 7)[:70], first, "", true},
		"revokes nothing":             {nil, list(t, 0, day), "", true},
	} {
		t.Run(name, func(t *testing.T) {
			r := revokedKeys{path: filepath.Join(t.TempDir(), "revoked_keys"), disk: onDisk}
			if c.disk != nil {
				put(t, r.path, string(c.disk))
			}
			_, changed, err := r.install(c.sent)
			after, _ := os.ReadFile(r.path)
			if c.want == "" {
				if err != nil || changed != c.changed {
					t.Errorf("changed %v, error %v", changed, err)
				}
				want := c.sent
				if !c.changed {
					want = c.disk
				}
				if !bytes.Equal(after, want) {
					t.Errorf("the file holds\n%x, want\n%x", after, want)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
			if !bytes.Equal(after, c.disk) {
				t.Errorf("a refused list changed the file to\n%x", after)
			}
		})
	}
}

// At every byte at which the write of a list can be cut, the list before stays in force.
func TestInstallCutAtEveryByte(t *testing.T) {
	r := revokedKeys{path: filepath.Join(t.TempDir(), "revoked_keys")}
	day := time.Now()
	old, next := list(t, 1, day, 7), list(t, 2, day, 7, 8, 90, 1e6)
	put(t, r.path, string(old))
	for n := range next {
		r.disk = cutting(n, nil)
		if _, _, err := r.install(next); err == nil {
			t.Errorf("a write cut after %d of %d bytes went unnoticed", n, len(next))
		}
		if !bytes.Equal([]byte(read(t, r.path)), old) {
			t.Fatalf("cut after %d bytes: the list in force changed", n)
		}
	}
	r.disk = onDisk
	if _, changed, err := r.install(next); err != nil || !changed {
		t.Error(changed, err)
	}
}

func TestTidy(t *testing.T) {
	whole := list(t, 3, time.Now(), 7)
	for name, c := range map[string]struct {
		disk          []byte
		removed, stop bool
	}{
		"whole":               {whole, false, false},
		"missing":             {nil, false, false},
		"empty":               {[]byte{}, true, false},
		"header only":         {whole[:bytes.IndexByte(whole, ']')+1], true, false},
		"cut":                 {whole[:len(whole)-1], true, false},
		"somebody's own keys": {[]byte("ssh-ed25519 AAAA me\n"), false, true},
	} {
		t.Run(name, func(t *testing.T) {
			r := revokedKeys{path: filepath.Join(t.TempDir(), "revoked_keys"), disk: onDisk}
			if c.disk != nil {
				put(t, r.path, string(c.disk))
			}
			removed, err := r.tidy()
			if (removed != nil) != c.removed || (err != nil) != c.stop {
				t.Errorf("removed %v, error %v", removed, err)
			}
			if _, err := os.Stat(r.path); (err == nil) == (c.removed || c.disk == nil) {
				t.Errorf("the file: %v", err)
			}
		})
	}
}
