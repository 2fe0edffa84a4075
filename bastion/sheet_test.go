package bastion

import (
	"crypto/ed25519"
	"crypto/rand"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/internal/control"
	"postern/internal/envelope"
	"postern/recorder"
)

// drawer is a bastion without a CA, and a sheet for it.
type drawer struct {
	*world
	key     envelope.Key
	now     time.Time
	private ed25519.PrivateKey
	terms   control.Terms
	cert    *ssh.Certificate // adam's
	holder  ssh.Signer
}

func newDrawer(t *testing.T) *drawer {
	t.Helper()
	d := &drawer{world: &world{t: t, dir: t.TempDir(), log: &syncBuffer{}, userCA: newSigner(), sessionCA: newSigner(), hostCA: newSigner(), auditor: newSigner(), identity: newSigner()}, now: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC), holder: newSigner()}
	d.key = must(envelope.NewKey())
	d.b = d.bastion()
	d.b.Sheets.heard(d.now)
	_, public := recorder.NewKey()
	d.b.Sheets.Ready(control.Ready{RecordingKey: d.signedKey(public, "")})
	d.b.Sheets.flush()
	public2, private, _ := ed25519.GenerateKey(nil)
	d.private = private
	until := d.now.Add(30 * 24 * time.Hour)
	host := &ssh.Certificate{Key: must(ssh.NewPublicKey(public2)), CertType: ssh.UserCert, Serial: 7, ValidPrincipals: []string{"root@phi1"}, ValidBefore: uint64(until.Unix())}
	if err := host.SignCert(rand.Reader, d.sessionCA); err != nil {
		t.Fatal(err)
	}
	d.terms = control.Terms{Version: 1, CA: "postern-ca", Request: "R-7K2M4Q", Session: "S-1", Bastion: "bastion-1", Target: "root@phi1", Until: until, Seconds: 900, Seq: 5,
		Certificate: line(host), Address: "127.0.0.1:1", HostName: "phi1", Capabilities: []string{"shell"}, Record: control.Record{Files: "full", Streams: -1, Forwards: -1}}
	d.cert = &ssh.Certificate{Key: d.holder.PublicKey(), CertType: ssh.UserCert, Serial: 3, KeyId: "adam R-7K2M4Q", ValidPrincipals: []string{"root@phi1"},
		ValidAfter: uint64(d.now.Add(-time.Minute).Unix()), ValidBefore: uint64(until.Unix()),
		Permissions: ssh.Permissions{CriticalOptions: map[string]string{}, Extensions: map[string]string{requestExtension: "R-7K2M4Q"}}}
	return d
}

// bastion starts over the files there are.
func (d *drawer) bastion() *Bastion {
	b := &Bastion{Name: "bastion-1", UserCA: d.userCA.PublicKey(), HostCA: d.hostCA.PublicKey(), Now: func() time.Time { return d.now },
		Auditors: func() []ssh.PublicKey { return []ssh.PublicKey{d.auditor.PublicKey()} }, Log: slog.New(slog.NewTextHandler(d.log, nil)),
		Gateway: func(name string) (Gateway, bool) { return Gateway{Name: "phi1"}, name == "phi1" }}
	b.prepare()
	if d.b != nil {
		d.b.Sheets.flush()
	}
	b.Sheets = &Sheets{Dir: filepath.Join(d.dir, "emergency"), CA: "postern-ca", Key: d.key, Signer: d.identity}
	if err := b.Sheets.Open(b); err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(b.Sheets.flush)
	return b
}

// sealed is the sheet of the terms as they are now, and the certificate of its holder, signed.
func (d *drawer) sealed() (control.Made, *ssh.Certificate) {
	d.t.Helper()
	text := must(d.terms.Text())
	made := control.Made{Terms: text, Envelope: must(envelope.Seal(d.key.Public(), text, d.private))}
	if _, set := d.cert.CriticalOptions[control.SheetOption]; !set {
		d.cert.CriticalOptions[control.SheetOption] = control.SheetDigest(made.Terms, control.EnvelopeSum(made.Envelope))
	}
	if err := d.cert.SignCert(rand.Reader, d.userCA); err != nil {
		d.t.Fatal(err)
	}
	return made, d.cert
}

func (d *drawer) present(spoil func(*control.Made)) (*grant, error) {
	made, cert := d.sealed()
	if spoil != nil {
		spoil(&made)
	}
	g, err := d.b.certificate(cert, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9})
	if err == nil {
		_, err = d.b.present(g, made)
	}
	return g, err
}

func TestSheetIsPresented(t *testing.T) {
	t.Parallel()
	d := newDrawer(t)
	g, err := d.present(nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(d.b.Sheets.usedFile("R-7K2M4Q")); err == nil {
		t.Error("to present it uses it up")
	}
	if p, err := d.b.Sheets.take(g); err != nil || p.terms.Session != "S-1" {
		t.Error(err)
	}
	if _, err := d.b.Sheets.take(g); err == nil {
		t.Error("it is there for two logins")
	}
}

func TestSheetIsRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, says string
		lie        func(*drawer)
		spoil      func(*control.Made)
	}{
		{name: "the flag is off", says: "--emergency on", lie: func(d *drawer) { d.b.Sheets = nil }},
		{name: "the CA is there", says: "the CA is there", lie: func(d *drawer) { d.b.Renew(Uptime(), time.Minute, time.Minute) }},
		{name: "the CA was there a moment ago", says: "for a moment only", lie: func(d *drawer) { d.b.Sheets.After = time.Minute; d.b.Renew(Uptime(), time.Nanosecond, time.Nanosecond) }},
		{name: "it has just started", says: "for a moment only", lie: func(d *drawer) { d.b = d.bastion(); d.b.Sheets.After = time.Minute }},
		{name: "it never heard a CA", says: "never heard", lie: func(d *drawer) { os.Remove(filepath.Join(d.b.Sheets.Dir, knownFile)); d.b = d.bastion() }},
		{name: "it heard one long ago", says: "so long ago", lie: func(d *drawer) { d.now = d.now.Add(8 * 24 * time.Hour) }},
		{name: "the clock was set back", says: "clock is behind", lie: func(d *drawer) { d.b.Sheets.heard(d.now.Add(2 * time.Minute)) }},
		{name: "nothing can be written down", says: "cannot write down", lie: func(d *drawer) { d.b.Sheets.broken = os.ErrPermission }},
		{name: "expired", says: "expired", lie: func(d *drawer) { d.now = d.now.Add(31 * 24 * time.Hour); d.b.Sheets.heard(d.now) }},
		{name: "not good yet", says: "not valid before", lie: func(d *drawer) { d.cert.ValidAfter += 3600 }},
		{name: "good for a year", says: "longer than any may be", lie: func(d *drawer) { d.cert.ValidBefore += 365 * 86400 }},
		{name: "of another CA", says: "does not know", lie: func(d *drawer) { d.userCA = newSigner() }},
		{name: "another bastion's", says: "is for the bastion bastion-2", lie: func(d *drawer) { d.terms.Bastion = "bastion-2" }},
		{name: "of another CA's name", says: "is of the CA other", lie: func(d *drawer) { d.terms.CA = "other" }},
		{name: "of another request", says: "another grant", lie: func(d *drawer) { d.terms.Request = "R-000000" }},
		{name: "of another account", says: "another grant", lie: func(d *drawer) { d.terms.Target = "postgres@phi1" }},
		{name: "longer than its certificate", says: "was good until", lie: func(d *drawer) { d.terms.Until = d.terms.Until.Add(time.Hour) }},
		{name: "for hours", says: "none lasts longer", lie: func(d *drawer) { d.terms.Seconds = 3601 }},
		{name: "for no time", says: "none lasts longer", lie: func(d *drawer) { d.terms.Seconds = 0 }},
		{name: "to nowhere", says: "leads nowhere", lie: func(d *drawer) { d.terms.HostName = "phi2" }},
		{name: "without limits that can be read", says: "limits", lie: func(d *drawer) { d.terms.Limits = "x" }},
		{name: "a later version", says: "another version", lie: func(d *drawer) { d.terms.Version = 2 }},
		{name: "two accounts", says: "not for one account", lie: func(d *drawer) { d.cert.ValidPrincipals = append(d.cert.ValidPrincipals, "root@phi2") }},
		{name: "another option", says: "not for one account", lie: func(d *drawer) { d.cert.CriticalOptions["force-command"] = "x" }},
		{name: "another digest", says: "not the one", lie: func(d *drawer) { d.cert.CriticalOptions[control.SheetOption] = strings.Repeat("0", 64) }},
		{name: "no digest", says: "not the one", lie: func(d *drawer) { d.cert.CriticalOptions[control.SheetOption] = "" }},
		{name: "altered terms", says: "not the one", spoil: func(m *control.Made) {
			m.Terms = []byte(strings.Replace(string(m.Terms), `"seconds":900`, `"seconds":999`, 1))
		}},
		{name: "another envelope", says: "not the one", spoil: func(m *control.Made) { m.Envelope[0] ^= 1 }},
		{name: "sealed to another bastion", says: "does not open", lie: func(d *drawer) { d.b.Sheets.Key = must(envelope.NewKey()) }},
		{name: "another key in the envelope", says: "not the one that its certificate", lie: func(d *drawer) { _, d.private, _ = ed25519.GenerateKey(nil) }},
		{name: "keystrokes without a key", says: "no key to seal it to", lie: func(d *drawer) { d.terms.Record.Keystrokes = true }},
		{name: "recorded to nobody known", says: "signed by nobody", lie: func(d *drawer) { d.auditor = newSigner() }},
		{name: "its request revoked", says: "revoked", lie: func(d *drawer) {
			d.b.Revoke(control.Revocation{Seq: 2, Kind: "approver", Value: "bob", Requests: []string{"R-7K2M4Q"}, Until: d.terms.Until})
		}},
		{name: "its holder revoked since", says: "revoked", lie: func(d *drawer) {
			d.b.Revoke(control.Revocation{Seq: 6, Kind: "person", Value: "adam", Until: d.terms.Until})
		}},
		{name: "its host revoked since", says: "revoked", lie: func(d *drawer) {
			d.b.Revoke(control.Revocation{Seq: 6, Kind: "host", Value: "phi1", Until: d.terms.Until})
		}},
		{name: "kept away for a time", says: "revoked", lie: func(d *drawer) {
			d.b.Revoke(control.Revocation{Seq: 2, Kind: "person", Value: "adam", Holds: d.now.Add(time.Hour), Until: d.now.Add(time.Hour)})
		}},
		{name: "revoked, and the bastion started anew", says: "revoked", lie: func(d *drawer) {
			for seq := range uint64(20) {
				d.b.Revoke(control.Revocation{Seq: seq + 6, Kind: "person", Value: "adam", Until: d.terms.Until})
			}
			d.b = d.bastion()
		}},
		{name: "used", says: "good once", lie: func(d *drawer) { must(0, d.b.Sheets.burn(control.SheetUse{Request: "R-7K2M4Q", Person: "pat"})) }},
		{name: "used, and the bastion died while it wrote that", says: "good once", lie: func(d *drawer) { os.WriteFile(d.b.Sheets.usedFile("R-7K2M4Q"), []byte(`{"requ`), 0o600) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDrawer(t)
			if c.lie != nil {
				c.lie(d)
			}
			if _, err := d.present(c.spoil); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("want an error that says %q, got %v", c.says, err)
			}
		})
	}
	// A revocation that the CA knew when it made the sheet is about what was before.
	d := newDrawer(t)
	d.b.Revoke(control.Revocation{Seq: 5, Kind: "person", Value: "adam", Until: d.terms.Until})
	if _, err := d.present(nil); err != nil {
		t.Error(err)
	}
}

// Of many uses at once one is the first, and it is on disk: a bastion that starts anew knows it, and tells the CA until it is told.
func TestSheetIsUsedOnce(t *testing.T) {
	t.Parallel()
	d := newDrawer(t)
	use := must(control.SheetUse{CA: "postern-ca", Request: "R-7K2M4Q", Session: "S-1", Bastion: "bastion-1", Person: "adam", Started: d.now, Deadline: d.now, Nonce: strings.Repeat("00", 16)}.Sign(d.identity))
	var first atomic.Int32
	var group sync.WaitGroup
	for range 50 {
		group.Go(func() {
			if d.b.Sheets.burn(use) == nil {
				first.Add(1)
			}
		})
	}
	group.Wait()
	if n := first.Load(); n != 1 {
		t.Fatalf("used %d times", n)
	}
	for range 2 {
		again := d.bastion()
		list, err := again.Sheets.Untold()
		if err != nil || len(list) != 1 || list[0] != use || list[0].Verify(d.identity.PublicKey()) != nil {
			t.Fatalf("%+v %v", list, err)
		}
	}
	if err := d.b.Sheets.Told(use); err != nil {
		t.Fatal(err)
	}
	if list, err := d.bastion().Sheets.Untold(); err != nil || len(list) != 0 {
		t.Errorf("%+v %v", list, err)
	}
	if err := d.bastion().Sheets.spent("R-7K2M4Q"); err == nil {
		t.Error("what was told is forgotten")
	}
	for _, name := range []string{"../known", "R-1/../../x", "", "R-7K2M4Q.told"} {
		if err := d.b.Sheets.spent(name); err == nil {
			t.Errorf("%q is a sheet", name)
		}
	}
}

// An ordinary bastion is as it was: an option that it does not know is refused, and no sheet changes what others may.
func TestSheetLoginIsForNothingElse(t *testing.T) {
	t.Parallel()
	d := newDrawer(t)
	made, cert := d.sealed()
	g, err := d.b.certificate(cert, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.b.Sheets.take(g); err == nil || !strings.Contains(err.Error(), "present its sheet first") {
		t.Errorf("a login before the sheet was presented: %v", err)
	}
	if _, err := d.b.present(g, made); err != nil {
		t.Fatal(err)
	}
	d.b.Renew(Uptime(), time.Minute, time.Minute) // the CA is back
	if _, err := d.b.Sheets.take(g); err == nil {
		t.Error("what was presented is still there when the CA is back")
	}
}
