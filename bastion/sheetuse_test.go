package bastion

import (
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/internal/control"
)

// somewhere is a connection of which only the address matters.
type somewhere struct{ visitor }

func (somewhere) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9} }

// Between a sheet's presentation and its login lie minutes, in which much may happen. Whatever is refused then opens nothing.
func TestSheetIsNotUsed(t *testing.T) {
	for _, c := range []struct {
		name, says string
		lie        func(*drawer)
		target     string
	}{
		{name: "another account", says: "not for postgres@phi1", target: "postgres@phi1"},
		{name: "its time is over", says: "was good until", lie: func(d *drawer) { d.now = d.terms.Until }},
		{name: "revoked", says: "revoked", lie: func(d *drawer) {
			d.b.Revoke(control.Revocation{Seq: 6, Kind: "person", Value: "adam", Until: d.terms.Until})
		}},
		{name: "nothing can be written down", says: "cannot write down", lie: func(d *drawer) {
			used := filepath.Join(d.b.Sheets.Dir, "used")
			_ = os.RemoveAll(used)
			_ = os.WriteFile(used, nil, 0o600)
		}},
		{name: "written down already", says: "good once", lie: func(d *drawer) { must(0, d.b.Sheets.burn(control.SheetUse{Request: "R-7K2M4Q", Person: "pat"})) }},
		{name: "no auditor is known any more", says: "signed by nobody", lie: func(d *drawer) { d.auditor = newSigner() }},
		{name: "minutes ago", says: "present its sheet first", lie: func(d *drawer) { d.b.Sheets.waiting["R-7K2M4Q"].until -= 2 * sheetWait }},
		{name: "another sheet of the request", says: "present its sheet first", lie: func(d *drawer) { d.b.Sheets.waiting["R-7K2M4Q"].digest = "other" }},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDrawer(t)
			g, err := d.present(nil)
			if err != nil {
				t.Fatal(err)
			}
			if c.lie != nil {
				c.lie(d)
			}
			if c.target == "" {
				c.target = "root@phi1"
			}
			if _, _, err := d.b.useSheet(g, c.target, somewhere{}); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("want an error that says %q, got %v", c.says, err)
			}
		})
	}
}

// A session does not outlive its sheet, and its key is for the account that the sheet is for.
func TestSheetsEndsAreItsSessions(t *testing.T) {
	d := newDrawer(t)
	d.now = d.terms.Until.Add(-5 * time.Minute)
	d.b.Sheets.heard(d.now)
	g, err := d.present(nil)
	if err != nil {
		t.Fatal(err)
	}
	_, reply, err := d.b.useSheet(g, "root@phi1", somewhere{})
	if err != nil || !reply.Session.Deadline.Equal(d.terms.Until) || !reply.Emergency {
		t.Errorf("until %v, %v", reply, err)
	}
	d = newDrawer(t)
	host := must(ssh.ParsePublicKey(keyOf(t, d.terms.Certificate))).(*ssh.Certificate)
	host.ValidPrincipals = []string{"root@phi2"}
	if err := host.SignCert(rand.Reader, d.sessionCA); err != nil {
		t.Fatal(err)
	}
	d.terms.Certificate = line(host)
	if _, err := d.present(nil); err == nil || !strings.Contains(err.Error(), "not the one that its certificate") {
		t.Errorf("a certificate for another host: %v", err)
	}
}

func keyOf(t *testing.T, line string) []byte {
	t.Helper()
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line))
	if err != nil {
		t.Fatal(err)
	}
	return key.Marshal()
}

// Who presents many sheets keeps so many keys in memory and no more; those that nobody came for make room.
func TestSheetsWaitForTheirLogins(t *testing.T) {
	h := newDrawer(t).b.Sheets
	for i := range mostWait {
		if err := h.wait(&presented{terms: control.Terms{Request: fmt.Sprintf("R-%d", i)}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.wait(&presented{terms: control.Terms{Request: "R-0"}}); err != nil {
		t.Errorf("one again: %v", err)
	}
	if err := h.wait(&presented{terms: control.Terms{Request: "R-MORE"}}); err == nil {
		t.Error("one more")
	}
	h.waiting["R-3"].until = 0
	if err := h.wait(&presented{terms: control.Terms{Request: "R-MORE"}}); err != nil {
		t.Errorf("when one is over: %v", err)
	}
}
