package control

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A CA is called what its operator called it, which is in the trust directory.
func TestTheNameOfTheCA(t *testing.T) {
	dir := t.TempDir()
	if got := NameIn(dir); got != DefaultName {
		t.Errorf("of an empty directory: %q", got)
	}
	for vkey, want := range map[string]string{"acme+00bf4da0+AWM9MrmgRspekbnb0d48xeD7Vo0UpBBFwftZmY8/2Ip/\n": "acme", "": DefaultName, "+": DefaultName, "nonsense": DefaultName} {
		if err := os.WriteFile(filepath.Join(dir, "log.vkey"), []byte(vkey), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := NameIn(dir); got != want {
			t.Errorf("%q: %q, want %q", vkey, got, want)
		}
	}
}

func TestACAThatIsNotThere(t *testing.T) {
	known := filepath.Join(t.TempDir(), "known_hosts")
	if err := os.WriteFile(known, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, address := range []string{"127.0.0.1:1", "nowhere"} {
		_, err := Dial(context.Background(), Config{Address: address, KnownHosts: known})
		if err == nil || !strings.HasPrefix(err.Error(), "CA "+address+" cannot be reached: ") || !strings.Contains(err.Error(), "does postern-ca run there?") {
			t.Errorf("%s: %v", address, err)
		}
	}
}
