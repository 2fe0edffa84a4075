package bastion

import (
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/internal/control"
	"postern/recorder"
)

// everywhere tries to log in with a certificate in both ways and returns what the admin reads.
func (w *world) everywhere(cert *ssh.Certificate) (texts []string, in bool) {
	w.t.Helper()
	for _, user := range []string{w.account + "@phi1", "jump"} {
		client, banner, err := w.dial(user, cert)
		if err == nil {
			client.Close()
			in = true
		}
		texts = append(texts, banner)
	}
	return texts, in
}

func TestCertificatesThatOpenNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	minutes := func(n int) uint64 { return uint64(time.Now().Add(time.Duration(n) * time.Minute).Unix()) }
	stranger := newSigner()
	for _, c := range []struct {
		name  string
		spoil func(*ssh.Certificate)
		says  string
	}{
		{"a host certificate", func(c *ssh.Certificate) { c.CertType = ssh.HostCert }, "host certificate"},
		{"another CA", func(c *ssh.Certificate) { _ = c.SignCert(rand.Reader, stranger) }, "CA that this bastion does not know"},
		{"the session CA", func(c *ssh.Certificate) { _ = c.SignCert(rand.Reader, w.sessionCA) }, "CA that this bastion does not know"},
		{"an altered certificate", func(c *ssh.Certificate) {
			_ = c.SignCert(rand.Reader, w.userCA)
			c.ValidBefore += 60
		}, "does not verify"},
		{"expired", func(c *ssh.Certificate) { c.ValidAfter, c.ValidBefore = minutes(-9), minutes(-1) }, "expired"},
		{"not yet valid", func(c *ssh.Certificate) { c.ValidAfter = minutes(5) }, "not valid before"},
		{"for hours", func(c *ssh.Certificate) { c.ValidBefore = minutes(120) }, "valid for longer"},
		{"for ever", func(c *ssh.Certificate) { c.ValidAfter, c.ValidBefore = 0, ssh.CertTimeInfinity }, "valid for longer"},
		{"backwards", func(c *ssh.Certificate) { c.ValidAfter, c.ValidBefore = minutes(1), minutes(-1) }, "valid for longer"},
		{"no principals", func(c *ssh.Certificate) { c.ValidPrincipals = nil }, "no principal"},
		{"no serial", func(c *ssh.Certificate) { c.Serial = 0 }, "no serial"},
		{"a forced command", func(c *ssh.Certificate) { c.CriticalOptions = map[string]string{"force-command": "true"} }, "critical option"},
		{"an unknown critical option", func(c *ssh.Certificate) { c.CriticalOptions = map[string]string{"x@y": ""} }, "critical option"},
		{"another address", func(c *ssh.Certificate) { c.CriticalOptions = map[string]string{"source-address": "192.0.2.0/24"} }, "this address"},
		{"no address", func(c *ssh.Certificate) { c.CriticalOptions = map[string]string{"source-address": ""} }, "this address"},
		{"a broken address", func(c *ssh.Certificate) { c.CriticalOptions = map[string]string{"source-address": "127.0.0.1/99"} }, "this address"},
		{"no touch", func(c *ssh.Certificate) { c.Extensions["no-touch-required"] = "" }, "touch"},
		{"no request", func(c *ssh.Certificate) { delete(c.Extensions, requestExtension) }, "names no request"},
		{"an auditor's", func(c *ssh.Certificate) {
			delete(c.Extensions, requestExtension)
			c.Extensions[auditExtension] = "S-1"
		}, "recordings are fetched"},
		{"both", func(c *ssh.Certificate) { c.Extensions[auditExtension] = "S-1" }, "recordings are fetched"},
	} {
		texts, in := w.everywhere(w.certificate(c.spoil))
		if in {
			t.Errorf("%s: got in", c.name)
		}
		for _, text := range texts {
			if !strings.HasPrefix(text, "postern: ") || !strings.Contains(text, c.says) || strings.Count(text, "\n") != 1 {
				t.Errorf("%s: the admin reads %q, not one line with %q", c.name, text, c.says)
			}
		}
	}
	if n := w.asked(); n != 0 {
		t.Errorf("the CA was asked %d times about certificates that the bastion must refuse itself", n)
	}
	if texts, in := w.everywhere(nil); in || !strings.Contains(texts[0], "postern request") {
		t.Errorf("a plain key: %q", texts)
	}
}

func TestAForeignPrincipal(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, principal := range []string{"root@phi2", w.account, w.account + "@", "@phi1", w.account + "@PHI1 ", "other@phi1"} {
		cert := w.certificate(func(c *ssh.Certificate) { c.ValidPrincipals = []string{principal} })
		if _, banner, err := w.dial(w.account+"@phi1", cert); err == nil || !strings.Contains(banner, "not for "+w.account+"@phi1") {
			t.Errorf("%q, directly: %v, the admin reads %q", principal, err, banner)
		}
		w.useCertificate(cert)
		if got := w.run("", "ssh", "phi1", "true"); got.status != 255 || !strings.Contains(got.err, "not for ") {
			t.Errorf("%q, through a jump: %+v", principal, got)
		}
	}
	if w.asked() != 0 {
		t.Errorf("the CA was asked %d times", w.asked())
	}
}

func TestASourceAddressHoldsInsideAJump(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.useCertificate(w.certificate(func(c *ssh.Certificate) {
		c.CriticalOptions = map[string]string{"source-address": "192.0.2.1,127.0.0.0/8"}
	}))
	for _, way := range ways {
		if got := w.run("", "ssh", way, "true"); got.status != 0 {
			t.Errorf("%s: %+v", way, got)
		}
	}
}

func TestACASignatureWithSHA1(t *testing.T) {
	t.Parallel()
	key := must(rsa.GenerateKey(rand.Reader, 2048))
	ca := must(ssh.NewSignerFromKey(key)).(ssh.AlgorithmSigner)
	w := newWorld(t, func(w *world, _ *recorder.Config) {
		w.userCA = ca
		w.b.UserCA = ca.PublicKey()
	})
	if _, in := w.everywhere(w.certificate(nil)); !in {
		t.Error("an RSA CA with a modern signature is refused")
	}
	weak := w.certificate(func(c *ssh.Certificate) { _ = c.SignCert(rand.Reader, sha1Signer{ca}) })
	if weak.Signature.Format != ssh.KeyAlgoRSA {
		t.Fatalf("the test signed with %s", weak.Signature.Format)
	}
	if texts, in := w.everywhere(weak); in || !strings.Contains(texts[0], "too weak") {
		t.Errorf("SHA-1: got in %v, reads %q", in, texts)
	}
}

// sha1Signer hides its better algorithms, so that SignCert uses ssh-rsa.
type sha1Signer struct{ s ssh.AlgorithmSigner }

func (s sha1Signer) PublicKey() ssh.PublicKey { return s.s.PublicKey() }
func (s sha1Signer) Sign(r io.Reader, data []byte) (*ssh.Signature, error) {
	return s.s.SignWithAlgorithm(r, data, ssh.KeyAlgoRSA)
}

func TestTheCASaysNo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fail(&control.Refused{Status: 1, Message: "R-1 was withdrawn\x1b[2Jby bob"})
	for _, way := range ways {
		got := w.run("", "ssh", way, "true")
		if got.status != 255 || !strings.Contains(got.err, "postern: R-1 was withdrawn [2Jby bob") {
			t.Errorf("%s: %+v", way, got)
		}
	}
	w.fail(errors.New("secret detail"))
	if got := w.run("", "ssh", "phi1", "true"); !strings.Contains(got.err, "the CA cannot be asked") || strings.Contains(got.err, "secret") {
		t.Errorf("without a CA: %+v", got)
	}
}

func TestAJumpLeadsToHostsOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	client, _, err := w.dial("jump", w.certificate(nil))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for _, to := range []struct {
		host string
		port uint32
	}{
		{"localhost", 22}, {"127.0.0.1", 22}, {"::1", 22}, {"::ffff:127.0.0.1", 22}, {"169.254.169.254", 22}, {"169.254.169.254", 80},
		{"fe80::1%lo", 22}, {"phi2", 22}, {"", 22}, {"phi1", 2222}, {"phi1", 0}, {"phi1", 70000}, {"phi1\x00", 22}, {"phi1.", 22},
	} {
		payload := ssh.Marshal(struct {
			Host string
			Port uint32
			From string
			Old  uint32
		}{to.host, to.port, "127.0.0.1", 65535})
		_, _, err := client.OpenChannel("direct-tcpip", payload)
		var no *ssh.OpenChannelError
		if !errors.As(err, &no) || no.Reason != ssh.Prohibited {
			t.Errorf("%q port %d: %v", to.host, to.port, err)
		}
	}
	for kind, payload := range map[string][]byte{"direct-tcpip": {1, 2, 3}, "session": nil, "direct-streamlocal@openssh.com": nil} {
		if _, _, err := client.OpenChannel(kind, payload); err == nil {
			t.Errorf("%s was opened", kind)
		}
	}
	if got := w.run("", "ssh", "bastion", "true"); got.status != 255 || !strings.Contains(got.err, "ssh -J bastion-1 ACCOUNT@HOST") {
		t.Errorf("ssh to the bastion itself: %+v", got)
	}
}

func TestChannelFloods(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, user := range []string{"jump", w.account + "@phi1"} {
		client, _, err := w.dial(user, w.certificate(nil))
		if err != nil {
			t.Fatal(err)
		}
		refused := 0
		for range 500 {
			if _, _, err := client.OpenChannel("session", nil); err != nil {
				refused++
			}
		}
		if user == "jump" && refused != 500 || refused < 400 {
			t.Errorf("%s: only %d of 500 channels were refused", user, refused)
		}
		client.Close()
	}
	if got := w.run("", "ssh", "phi1", "true"); got.status != 0 {
		t.Errorf("afterwards: %+v", got)
	}
}

func TestHostsThatAreNotWhatTheyShould(t *testing.T) {
	t.Parallel()
	closed, _ := net.Listen("tcp", "127.0.0.1:0")
	closed.Close()
	w := newWorld(t)
	sshd, others := w.host, line(w.certificate(nil))
	for name, c := range map[string]struct {
		change func(*control.OpenReply)
		says   string
	}{
		"nobody there": {func(r *control.OpenReply) { r.Address = closed.Addr().String() }, "connection refused"},
		"another name": {func(r *control.OpenReply) { r.HostName = "phi2" }, "does not answer as it should"},
		"another key":  {func(r *control.OpenReply) { r.HostKey = line(newSigner().PublicKey()) }, "does not answer as it should"},
		"nonsense":     {func(r *control.OpenReply) { r.Certificate = "x" }, "unusable"},
		"other's key":  {func(r *control.OpenReply) { r.Certificate = others }, "unusable"},
	} {
		w.answer(func(r *control.OpenReply) { r.Address = sshd; c.change(r) })
		if got := w.run("", "ssh", "phi1", "true"); got.status != 255 || !strings.Contains(got.err, c.says) {
			t.Errorf("%s: %+v", name, got)
		}
		if p := w.ending(); p.End != "host" {
			t.Errorf("%s: the CA was told the end %q", name, p.End)
		}
	}
}

func TestASilentHost(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	w := newWorld(t, func(w *world, _ *recorder.Config) { w.b.Limits.DialTime = 200 * time.Millisecond })
	w.hostAt(silent.Addr().String())
	if got := w.run("", "ssh", "phi1", "true"); got.status != 255 || !strings.Contains(got.err, "no answer within") {
		t.Errorf("%+v", got)
	}
	if p := w.ending(); p.End != "host" {
		t.Errorf("the CA was told the end %q", p.End)
	}
}

func TestAHostOfAnotherCA(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(w *world, _ *recorder.Config) { w.b.HostCA = newSigner().PublicKey() })
	if got := w.run("", "ssh", "phi1", "true"); got.status != 255 || !strings.Contains(got.err, "does not answer as it should") {
		t.Errorf("%+v", got)
	}
}

func TestAPinnedHostKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	pinned := strings.TrimSpace(string(must(os.ReadFile(w.file("host_key.pub")))))
	w.answer(func(r *control.OpenReply) { r.HostKey = pinned })
	if got := w.run("", "ssh", "phi1", "true"); got.status != 0 {
		t.Errorf("%+v", got)
	}
}

func TestRecordingKeysNobodyVouchesFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, c := range map[string]struct {
		change func(*control.RecordingKey)
		says   string
	}{
		"none":              {func(k *control.RecordingKey) { *k = control.RecordingKey{} }, "postern recording-key new"},
		"another signature": {func(k *control.RecordingKey) { k.Month = "2026-12" }, "postern recording-key new"},
		"another public half": {func(k *control.RecordingKey) {
			_, public := recorder.NewKey()
			k.Public = public.Marshal()
		}, "postern recording-key new"},
	} {
		w.answer(func(r *control.OpenReply) { c.change(&r.RecordingKey) })
		if got := w.run("", "ssh", "direct", "true"); got.status != 255 || !strings.Contains(got.err, c.says) {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestABastionThatKnowsNoAuditors(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(w *world, _ *recorder.Config) { w.b.Auditors = func() []ssh.PublicKey { return nil } })
	if got := w.run("", "ssh", "direct", "true"); got.status != 255 || !strings.Contains(got.err, "--auditors") {
		t.Errorf("%+v", got)
	}
}

func TestAuditorsFetchOneRecording(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if got := w.run("", "ssh", "phi1", "echo evidence"); got.status != 0 {
		t.Fatalf("%+v", got)
	}
	id := w.ending().Session
	w.recording(id) // waits until it is sealed
	cert := w.certificate(func(c *ssh.Certificate) {
		c.KeyId, c.ValidPrincipals = "carol audit "+id, []string{"recordings@bastion-1"}
		c.Extensions = map[string]string{auditExtension: id, viewerExtension: "SHA256:carol 0"}
	})
	client, banner, err := w.dial("recordings", cert)
	if err != nil {
		t.Fatal(err, banner)
	}
	defer client.Close()
	run := func(command string) (string, error) {
		s, err := client.NewSession()
		if err != nil {
			return "", err
		}
		out, err := s.Output(command)
		return string(out), err
	}
	if out, err := run("recording " + id); err != nil || !strings.HasPrefix(out, "postern recording 1\n") || strings.Contains(out, "evidence") {
		t.Errorf("fetched %d bytes: %v", len(out), err)
	}
	for _, command := range []string{"recording S-000002", "recording", "sh", "recording " + id + " ; sh"} {
		if _, err := run(command); err == nil {
			t.Errorf("%q was served", command)
		}
	}
	if _, _, err := client.OpenChannel("direct-tcpip", ssh.Marshal(struct {
		Host string
		Port uint32
		From string
		Old  uint32
	}{"phi1", 22, "", 0})); err == nil {
		t.Error("an auditor's certificate opens jumps")
	}
	for _, user := range []string{w.account + "@phi1", "jump", "recordings@bastion-1"} {
		if c, _, err := w.dial(user, cert); err == nil {
			c.Close()
			t.Errorf("an auditor's certificate logs in as %s", user)
		}
	}
	if c, _, err := w.dial("recordings", w.certificate(nil)); err == nil {
		c.Close()
		t.Error("an admin's certificate fetches recordings")
	}
}

func TestFromListed(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		from, list string
		want       bool
	}{
		{"127.0.0.1", "127.0.0.1", true}, {"::ffff:127.0.0.1", "127.0.0.1", true}, {"127.0.0.1", "::ffff:127.0.0.1", true},
		{"10.1.2.3", "192.0.2.1,10.0.0.0/8", true}, {"10.1.2.3", "!10.1.2.3", false}, {"2001:db8::1", "2001:db8::/32", true},
		{"10.1.2.3", "", false}, {"10.1.2.3", ",", false}, {"10.1.2.3", "*", false}, {"10.1.2.3", "0.0.0.0/0", true}, {"2001:db8::1", "0.0.0.0/0", false},
	} {
		if got := fromListed(&net.TCPAddr{IP: net.ParseIP(c.from), Port: 1}, c.list); got != c.want {
			t.Errorf("%s in %q: %v", c.from, c.list, got)
		}
	}
	if fromListed(&net.UnixAddr{Name: "x"}, "0.0.0.0/0") {
		t.Error("a Unix socket has an address")
	}
}
