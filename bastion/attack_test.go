package bastion

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/internal/control"
	"postern/recorder"
)

// vitals are what an attack must leave as it was.
type vitals struct {
	goroutines int
	heap       uint64
}

// vitals waits until nothing is going on any more, and looks.
func (w *world) vitals() (v vitals) {
	w.t.Helper()
	for end := time.Now().Add(patience); len(w.b.revoked.sessions()) > 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("%d sessions never ended", len(w.b.revoked.sessions()))
		}
	}
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return vitals{runtime.NumGoroutine(), m.HeapAlloc}
}

const (
	moreGoroutines = 40 // what the test's own clients and the recorder leave for a moment
	moreHeap       = 32 << 20
)

// examine says what an attack did to the bastion: it serves the next honest client, holds nothing of the attack, and its log has no secret.
func (w *world) examine(t *testing.T, before vitals, secrets ...string) {
	t.Helper()
	w.answer(nil)
	w.forget()
	client, banner, err := w.dial(w.account+"@phi1", w.certificate(nil))
	if err != nil {
		t.Fatalf("the next honest client: %v %s", err, banner)
	}
	s := must(client.NewSession())
	out, err := s.Output("echo served")
	client.Close()
	if err != nil || string(out) != "served\n" {
		t.Errorf("the next honest client gets %q, %v", out, err)
	}
	after := w.vitals()
	for end := time.Now().Add(patience); after.goroutines > before.goroutines+moreGoroutines || after.heap > before.heap+moreHeap; after = w.vitals() {
		if time.Now().After(end) {
			t.Errorf("%d goroutines and %d KiB of heap, before %d and %d", after.goroutines, after.heap>>10, before.goroutines, before.heap>>10)
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	log := w.log.String()
	for _, secret := range append(secrets, "PRIVATE KEY", base64.StdEncoding.EncodeToString(w.alice.PublicKey().Marshal())) {
		if strings.Contains(log, secret) {
			t.Errorf("the log holds %.40q", secret)
		}
	}
	if strings.Contains(log, "internal error") {
		t.Error("something panicked")
	}
}

// attack runs one story against a world that others attacked before.
func (w *world) attack(t *testing.T, name string, story func(t *testing.T)) {
	t.Run(name, func(t *testing.T) {
		before := w.vitals()
		story(t)
		w.examine(t, before)
	})
}

// Every way to come with a certificate that opens nothing.
func TestAttacksWithCertificates(t *testing.T) {
	w := newWorld(t)
	minutes := func(n int) uint64 { return uint64(time.Now().Add(time.Duration(n) * time.Minute).Unix()) }
	refused := func(cert *ssh.Certificate, says string) func(*testing.T) {
		return func(t *testing.T) {
			texts, in := w.everywhere(cert)
			if in || !strings.Contains(strings.Join(texts, ""), says) {
				t.Errorf("in: %v, told %q", in, texts)
			}
		}
	}
	spoilt := func(spoil func(*ssh.Certificate)) *ssh.Certificate { return w.certificate(spoil) }
	stranger := newSigner()
	w.attack(t, "of the wrong CA", refused(spoilt(func(c *ssh.Certificate) { _ = c.SignCert(rand.Reader, stranger) }), "does not know"))
	w.attack(t, "of a host", refused(spoilt(func(c *ssh.Certificate) { c.CertType = ssh.HostCert }), "host certificate"))
	w.attack(t, "expired", refused(spoilt(func(c *ssh.Certificate) { c.ValidAfter, c.ValidBefore = minutes(-9), minutes(-1) }), "expired"))
	w.attack(t, "not yet valid", refused(spoilt(func(c *ssh.Certificate) { c.ValidAfter = minutes(5) }), "not valid before"))
	w.attack(t, "without principals", refused(spoilt(func(c *ssh.Certificate) { c.ValidPrincipals = nil }), "no principal"))
	w.attack(t, "with an unknown critical option", refused(spoilt(func(c *ssh.Certificate) { c.CriticalOptions = map[string]string{"x@y": ""} }), "critical option"))
	w.attack(t, "from another address", refused(spoilt(func(c *ssh.Certificate) { c.CriticalOptions = map[string]string{"source-address": "192.0.2.0/24"} }), "this address"))
	w.attack(t, "that waives the touch", refused(spoilt(func(c *ssh.Certificate) { c.Extensions["no-touch-required"] = "" }), "touch"))
	w.attack(t, "self-made with the CA's key, without a grant", func(t *testing.T) {
		w.fail(&control.Refused{Status: 1, Message: "certificate 7 carries our signature but was never issued; it is forged"})
		defer w.fail(nil)
		for _, way := range ways {
			if got := w.run("", "ssh", way, "true"); got.status != 255 || !strings.Contains(got.err, "forged") {
				t.Errorf("%s: %+v", way, got)
			}
		}
	})
	w.attack(t, "for another account", func(t *testing.T) {
		cert := spoilt(func(c *ssh.Certificate) { c.ValidPrincipals = []string{"nobody@phi1"} })
		if _, banner, err := w.dial(w.account+"@phi1", cert); err == nil || !strings.Contains(banner, "not for") {
			t.Errorf("%v, told %q", err, banner)
		}
	})
	w.attack(t, "revoked", func(t *testing.T) {
		cert := w.certificate(nil)
		w.revoke(control.Revocation{Kind: "serial", Value: fmt.Sprint(cert.Serial)})
		refused(cert, "revoked")(t)
	})
}

func TestAttackWithASHA1Signature(t *testing.T) {
	key := must(rsa.GenerateKey(rand.Reader, 2048))
	ca := must(ssh.NewSignerFromKey(key)).(ssh.AlgorithmSigner)
	w := newWorld(t)
	w.userCA, w.b.UserCA = ca, ca.PublicKey()
	w.attack(t, "of the CA", func(t *testing.T) {
		weak := w.certificate(func(c *ssh.Certificate) { _ = c.SignCert(rand.Reader, sha1Signer{ca}) })
		if texts, in := w.everywhere(weak); in || !strings.Contains(texts[0], "too weak") {
			t.Errorf("in: %v, told %q", in, texts)
		}
	})
}

// Every place to which a jump leads nobody, each told the same.
func TestAttacksByJumping(t *testing.T) {
	w := newWorld(t)
	for name, to := range map[string]struct {
		host string
		port uint32
	}{
		"to a host that was not granted": {"phi2", 22}, "to localhost": {"localhost", 22}, "to loopback": {"127.0.0.1", 22}, "to IPv6 loopback": {"::1", 22},
		"to link-local": {"fe80::1%lo", 22}, "to the metadata address": {"169.254.169.254", 80}, "to an IPv4-mapped address": {"::ffff:127.0.0.1", 22},
		"to an address in decimal": {"2130706433", 22}, "to another port": {"phi1", 2222}, "to a port over all ports": {"phi1", 65536 + 22},
		"to a name with a NUL": {"phi1\x00.example", 22}, "to a name in capitals and dots": {"PHI1.", 22},
	} {
		w.attack(t, name, func(t *testing.T) {
			client, _, err := w.dial("jump", w.certificate(nil))
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			_, _, err = client.OpenChannel("direct-tcpip", ssh.Marshal(struct {
				Host string
				Port uint32
				From string
				Old  uint32
			}{to.host, to.port, "127.0.0.1", 65535}))
			var no *ssh.OpenChannelError
			if !errors.As(err, &no) || no.Reason != ssh.Prohibited {
				t.Errorf("%v", err)
			}
		})
	}
}

// What a session that was granted a shell tries beyond it.
func TestAttacksFromInside(t *testing.T) {
	var later atomic.Int64 // than now, the bastion's clock says
	w := newWorld(t, func(w *world, _ *recorder.Config) {
		w.b.Now = func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
	})
	tcp := ssh.Marshal(struct {
		Host string
		Port uint32
		From string
		Old  uint32
	}{"127.0.0.1", 22, "127.0.0.1", 1})
	name := func(s string) []byte { return ssh.Marshal(struct{ S string }{s}) }
	inside := func(f func(t *testing.T, c *ssh.Client)) func(*testing.T) {
		return func(t *testing.T) {
			client, _, err := w.dial(w.account+"@phi1", w.certificate(nil))
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			f(t, client)
		}
	}
	channel := func(kind string, payload []byte) func(*testing.T) {
		return inside(func(t *testing.T, c *ssh.Client) {
			if _, _, err := c.OpenChannel(kind, payload); err == nil || !strings.Contains(err.Error(), "does not include") {
				t.Errorf("%v", err)
			}
		})
	}
	global := func(kind string, payload []byte) func(*testing.T) {
		return inside(func(t *testing.T, c *ssh.Client) {
			if ok, _, err := c.SendRequest(kind, true, payload); ok || err != nil {
				t.Errorf("%v, %v", ok, err)
			}
		})
	}
	w.attack(t, "direct-tcpip", channel("direct-tcpip", tcp))
	w.attack(t, "direct-streamlocal", channel("direct-streamlocal@openssh.com", append(name("/run/docker.sock"), make([]byte, 8)...)))
	w.attack(t, "tun", channel("tun@openssh.com", make([]byte, 8)))
	w.attack(t, "an agent's channel, the wrong way round", channel("auth-agent@openssh.com", nil))
	w.attack(t, "tcpip-forward", global("tcpip-forward", append(name("localhost"), 0, 0, 0, 0)))
	w.attack(t, "streamlocal-forward", global("streamlocal-forward@openssh.com", name("/tmp/x")))
	w.attack(t, "LD_PRELOAD and friends", inside(func(t *testing.T, c *ssh.Client) {
		w.answer(func(r *control.OpenReply) { r.Environment = []string{"*", "LD_*", "BASH_ENV", "LANG"} })
		client, _, err := w.dial(w.account+"@phi1", w.certificate(nil))
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		s := must(client.NewSession())
		for _, variable := range []string{"LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT", "BASH_ENV", "ENV", "PATH", "IFS", "PYTHONPATH", "PERL5OPT", "GCONV_PATH", "BASH_FUNC_ls%%", "GIT_SSH_COMMAND"} {
			if s.Setenv(variable, "/tmp/x") == nil {
				t.Errorf("%s passes", variable)
			}
		}
	}))
	w.attack(t, "a second channel after the certificate expired, through a live connection", func(t *testing.T) {
		outer, _, err := w.dial("jump", w.certificate(nil))
		if err != nil {
			t.Fatal(err)
		}
		defer outer.Close()
		later.Store(int64(time.Hour))
		defer later.Store(0)
		if _, err := outer.Dial("tcp", "phi1:22"); err == nil || !strings.Contains(err.Error(), "expired") {
			t.Errorf("%v", err)
		}
	})
	w.attack(t, "a second channel after a revocation, through a live connection", func(t *testing.T) {
		outer, _, err := w.dial("jump", w.certificate(nil))
		if err != nil {
			t.Fatal(err)
		}
		defer outer.Close()
		w.revoke(control.Revocation{Kind: "request", Value: "R-1"})
		if _, err := outer.Dial("tcp", "phi1:22"); err == nil || !strings.Contains(err.Error(), "revoked") {
			t.Errorf("%v", err)
		}
	})
	w.attack(t, "a second channel after the session was cut", inside(func(t *testing.T, c *ssh.Client) {
		s := must(c.NewSession())
		out, _ := s.StdoutPipe()
		if err := s.Start("echo up; sleep 600"); err != nil {
			t.Fatal(err)
		}
		_, _ = io.ReadFull(out, make([]byte, 3))
		w.revoke(control.Revocation{Kind: "request", Value: "R-1"})
		for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
			if _, err := c.NewSession(); err != nil {
				break
			}
			if time.Now().After(end) {
				t.Fatal("it still opens channels")
			}
		}
	}))
	// sshd ends a connection on a request that it cannot read, so each has a session of its own.
	w.attack(t, "huge and broken strings in requests", func(t *testing.T) {
		for _, kind := range []string{"env", "exec", "pty-req", "signal", strings.Repeat("k", 30_000), "\x1b[2J\n"} {
			for _, payload := range [][]byte{{0xff, 0xff, 0xff, 0xff}, {0, 0, 0, 9, 'x'}, append(name(strings.Repeat("v", 14_000)), name(strings.Repeat("w", 14_000))...)} {
				c, _, err := w.dial(w.account+"@phi1", w.certificate(nil))
				if err != nil {
					t.Fatal(err)
				}
				ch, reqs, err := c.OpenChannel("session", nil)
				if err != nil {
					t.Fatal(err)
				}
				go ssh.DiscardRequests(reqs)
				_, _ = ch.SendRequest(kind, true, payload)
				c.Close()
			}
		}
		if strings.Contains(w.log.String(), "\x1b[2J") || strings.Contains(w.log.String(), strings.Repeat("k", 1000)) {
			t.Error("the log shows what was sent as it was")
		}
	})
}
