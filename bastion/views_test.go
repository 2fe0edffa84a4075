package bastion

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"postern/internal/control"
)

// many are n sessions with the IDs among them.
func many(n int, ids ...string) []string {
	for i := len(ids); i < n; i++ {
		ids = append(ids, fmt.Sprintf("S-%010d", i))
	}
	slices.Sort(ids)
	return ids
}

// The longest certificate that a CA makes for an auditor passes the greeting, the door and the library on both sides, and stock ssh.
func TestAViewOfAThousandSessions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.recorded("echo one of many")
	cert := w.auditCertificate(many(control.MaxView, id)...)
	if n := len(cert.Marshal()); n > 16<<10 {
		t.Errorf("the certificate has %d bytes", n)
	}
	client, banner, err := w.dial("recordings", cert)
	if err != nil {
		t.Fatal(err, banner)
	}
	defer client.Close()
	if out, said, err := output(t, client, "recording "+id); err != nil || !strings.HasPrefix(out, "postern recording 1\n") {
		t.Errorf("%d bytes: %v: %s", len(out), err, said)
	}
	if _, said, err := output(t, client, "recording S-NOTOFIT"); err == nil || !strings.Contains(said, "and 999 others") {
		t.Errorf("%v: %s", err, said)
	}
	w.useCertificate(cert)
	if got := w.run("", "ssh", "-l", "recordings", "bastion", "recording "+id); got.status != 0 || !strings.HasPrefix(got.out, "postern recording 1\n") {
		t.Errorf("stock ssh: %d, %s", got.status, got.err)
	}
	if _, banner, err := w.dial("recordings", w.auditCertificate(many(control.MaxView+1, id)...)); err == nil || !strings.Contains(banner, "names no recordings") {
		t.Errorf("one more than the most: %v: %s", err, banner)
	}
}
