package bastion

import (
	"crypto/ed25519"
	"crypto/rand"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/internal/control"
	"postern/internal/durable"
	"postern/internal/envelope"
	"postern/recorder"
)

// sealedLogin opens a session with a sealed grant, on a bastion whose right to admit is over and whose right to keep is not.
func sealedLogin(t *testing.T) (*world, *ssh.Client) {
	t.Helper()
	w := newWorld(t, func(w *world, _ *recorder.Config) {
		w.b.prepare()
		w.b.Sheets = &Sheets{Dir: w.file("emergency"), CA: "postern-ca", Key: must(envelope.NewKey()), Signer: w.identity}
		if err := w.b.Sheets.Open(w.b); err != nil {
			w.t.Fatal(err)
		}
	})
	_, public := recorder.NewKey()
	w.b.Sheets.Ready(control.Ready{RecordingKey: w.signedKey(public, "")})
	w.b.Renew(Uptime(), time.Minute, time.Hour) // the CA was heard
	w.b.Renew(Uptime(), 0, time.Hour)
	pub, private, _ := ed25519.GenerateKey(nil)
	until := time.Now().Add(24 * time.Hour).Truncate(time.Second)
	target := w.account + "@phi1"
	host := &ssh.Certificate{Key: must(ssh.NewPublicKey(pub)), CertType: ssh.UserCert, Serial: 7, ValidPrincipals: []string{target}, ValidBefore: uint64(until.Unix()),
		Permissions: ssh.Permissions{Extensions: map[string]string{"permit-pty": ""}}}
	if err := host.SignCert(rand.Reader, w.sessionCA); err != nil {
		t.Fatal(err)
	}
	terms := must(control.Terms{Version: 1, CA: "postern-ca", Request: "R-1", Session: "S-1", Bastion: "bastion-1", Target: target, Until: until, Seconds: 900, Seq: 5,
		Certificate: line(host), Address: w.host, HostName: "phi1", Capabilities: []string{"shell", "exec"}, Record: control.Record{Files: "full", Streams: -1, Forwards: -1}}.Text())
	made := control.Made{Terms: terms, Envelope: must(envelope.Seal(w.b.Sheets.Key.Public(), terms, private))}
	cert := w.certificate(func(c *ssh.Certificate) {
		c.ValidBefore = uint64(until.Unix())
		c.CriticalOptions = map[string]string{control.SheetOption: control.SheetDigest(terms, control.EnvelopeSum(made.Envelope))}
	})
	g, err := w.b.certificate(cert, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9})
	if err == nil {
		_, err = w.b.present(g, made)
	}
	if err != nil {
		t.Fatal(err)
	}
	client, said, err := w.dial(target, cert)
	if err != nil {
		t.Fatal(err, said)
	}
	t.Cleanup(func() { client.Close() })
	return w, client
}

// In an emergency that lasts, what began with the CA ends when nobody may be kept any more. What began without it does not, nor when the CA comes and goes.
func TestASealedSessionOutlivesTheLease(t *testing.T) {
	t.Parallel()
	w, client := sealedLogin(t)
	s := must(client.NewSession())
	in, out := must(s.StdinPipe()), must(s.StdoutPipe())
	if err := s.Start("cat"); err != nil {
		t.Fatal(err)
	}
	said := func(text string) {
		t.Helper()
		_, _ = io.WriteString(in, text)
		b := make([]byte, len(text))
		if _, err := io.ReadFull(out, b); err != nil || string(b) != text {
			t.Fatalf("%q, %v; said: %s", b, err, w.log)
		}
	}
	said("before")
	for range 2 {
		w.endsUnnoticed()
		w.b.leaseLost()
		said("and after it")
		w.b.Renew(Uptime(), time.Hour, time.Hour)
		said("and with the CA")
	}
	w.b.Revoke(control.Revocation{Seq: 6, Kind: "person", Value: "alice"}) // but what its approvers decide, it hears
	if p := w.ending(); p.End != "revoked" {
		t.Errorf("ended as %q", p.End)
	}
}

// A disk that hangs holds up neither a revocation nor a lease, and no sheet opens that a revocation forbids which is not on disk yet. When the disk goes
// on, all of it is there.
func TestADiskThatHangsHoldsUpNoRevocation(t *testing.T) {
	d := newDrawer(t)
	made, cert := d.sealed()
	g, err := d.b.certificate(cert, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9})
	if err != nil {
		t.Fatal(err)
	}
	stuck, writing := make(chan struct{}), make(chan struct{}, 100)
	resume := sync.OnceFunc(func() { close(stuck) })
	t.Cleanup(resume) // before the one that waits for the disk
	d.b.Sheets.write = func(path string, data []byte) error {
		writing <- struct{}{}
		<-stuck
		return durable.Replace(path, data)
	}
	told := make(chan struct{})
	go func() {
		defer close(told)
		d.b.Revoke(control.Revocation{Seq: 6, Kind: "person", Value: "eve", Until: d.terms.Until})
		<-writing
		d.b.Revoke(control.Revocation{Seq: 7, Kind: "host", Value: "phi2", Until: d.terms.Until})
		d.b.Renew(Uptime(), time.Minute, time.Minute)
		d.b.Renew(Uptime(), 0, time.Minute)
	}()
	if !wait(told, 20*time.Second) {
		t.Fatal("a revocation waits for the disk")
	}
	if _, err := d.b.present(g, made); err != nil {
		t.Errorf("a moment is not long: %v", err)
	}
	d.b.Revoke(control.Revocation{Seq: 8, Kind: "person", Value: "adam", Until: d.terms.Until})
	if _, err := d.b.present(g, made); err == nil || !strings.Contains(err.Error(), "revoked") {
		t.Errorf("known, and not on disk yet: %v", err)
	}
	d.b.Sheets.mu.Lock()
	d.b.Sheets.unkept -= 2 * saveTime
	d.b.Sheets.mu.Unlock()
	if _, err := d.b.present(g, made); err == nil || !strings.Contains(err.Error(), "does not take") {
		t.Errorf("the disk is stuck: %v", err)
	}
	resume()
	d.b = d.bastion()
	if list := d.b.revoked.known(); len(list) != 3 {
		t.Errorf("on disk are %d revocations", len(list))
	}
}

// A bastion that is stopped has on disk what it heard last.
func TestWhatWasHeardLastIsKept(t *testing.T) {
	d := newDrawer(t)
	for seq := range uint64(3) { // the first is saved at once, and the others a moment later
		d.b.Revoke(control.Revocation{Seq: seq + 6, Kind: "host", Value: "phi2", Until: d.terms.Until})
	}
	if err := d.b.Close(20 * time.Second); err != nil {
		t.Fatal(err)
	}
	d.b.Sheets = &Sheets{hurry: make(chan struct{})} // it ends here
	if list := d.bastion().revoked.known(); len(list) != 3 {
		t.Errorf("on disk are %d revocations", len(list))
	}
}

// A connection that was made while the sheet was good is no way to present it later, when everything else would let it pass.
func TestASheetThatExpiredMeanwhile(t *testing.T) {
	d := newDrawer(t)
	made, cert := d.sealed()
	g, err := d.b.certificate(cert, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9})
	if err != nil {
		t.Fatal(err)
	}
	d.now = d.terms.Until
	d.b.Sheets.heard(d.now)
	if _, err := d.b.present(g, made); err == nil || !strings.Contains(err.Error(), "was good until") {
		t.Error(err)
	}
}
