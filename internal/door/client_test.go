package door

import (
	"bytes"
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/internal/algo"
	"postern/internal/rawssh"
)

// TestAFloodOfKeyExchanges: new keys may be asked for at any time, by who is logged in too.
func TestAFloodOfKeyExchanges(t *testing.T) {
	addr, _ := open(t, &Door{})
	key := newSigner(t)
	c, err := from("127.0.0.2", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	raw := rawssh.New(c)
	if err := raw.Login("alice", key); err != nil {
		t.Fatal(err)
	}
	began, exchanges := time.Now(), 1
	for time.Since(began) < 2*time.Second {
		if err := raw.Exchange(); err != nil {
			t.Fatal(err)
		}
		exchanges++
	}
	due := algo.ExchangeBurst + algo.ExchangesPerSecond*time.Since(began).Seconds()
	if float64(exchanges) > due+1 {
		t.Errorf("%d key exchanges, %.0f are due", exchanges, due)
	}
	honest(t, addr, key)
}

func TestTenThousandOpensAndRequests(t *testing.T) {
	d := &Door{}
	d.Channel = func(_ *ssh.ServerConn, ch ssh.NewChannel) { _ = ch.Reject(ssh.Prohibited, "no") }
	addr, _ := open(t, d)
	key := newSigner(t)
	elsewhere := newQuiet(t, key)
	honest(t, addr, key)
	base := measure()
	opening := rawssh.Packet(90, struct {
		Type                  string
		Channel, Window, Most uint32
	}{"session", 1, 1 << 20, 1 << 15})
	request := rawssh.Packet(80, struct {
		Type  string
		Reply bool
	}{"keepalive@openssh.com", true})
	for name, flood := range map[string]struct {
		packet []byte
		answer byte
	}{"opens": {opening, 92}, "requests": {request, 82}} {
		c, err := from("127.0.0.2", addr)
		if err != nil {
			t.Fatal(err)
		}
		raw := rawssh.New(c)
		if err := raw.Login("alice", key); err != nil {
			t.Fatal(err)
		}
		began, most := time.Now(), 0
		go func() {
			for range 10_000 {
				if raw.Send(flood.packet) != nil {
					return
				}
			}
		}()
		const burst, perSecond = 2000, 200
		answers := 0
		for answers < burst || time.Since(began) < time.Second {
			if _, err := raw.Expect(flood.answer); err != nil {
				t.Fatal(err)
			}
			answers++
			most = max(most, runtime.NumGoroutine())
		}
		t.Logf("%s: %d answered in %s, %d goroutines at most", name, answers, time.Since(began).Round(time.Millisecond), most-base.goroutines)
		if due := burst + perSecond*(time.Since(began).Seconds()+1); float64(answers) > due {
			t.Errorf("%s: %d are answered, %.0f are due", name, answers, due)
		}
		if most > base.goroutines+128+slack+300 {
			t.Errorf("%s: %d goroutines", name, most)
		}
		took := honest(t, addr, key)
		if most, ok := elsewhere.hardlyFelt(t, took); !ok {
			t.Errorf("%s: an honest login takes %s, and may take %s", name, took, most)
		}
		c.Close()
	}
	base.returned(t)
}

// TestOpensOfAClientThatTakesNoAnswers: its refusals cannot be sent, so they must not pile up.
func TestOpensOfAClientThatTakesNoAnswers(t *testing.T) {
	d := &Door{Limits: Limits{Stall: time.Second, RequestsPerSecond: 1e6, RequestBurst: 1e6}}
	d.Channel = func(_ *ssh.ServerConn, ch ssh.NewChannel) { _ = ch.Reject(ssh.Prohibited, strings.Repeat("no ", 1000)) }
	addr, log := open(t, d)
	key := newSigner(t)
	honest(t, addr, key)
	base := measure()
	c, err := from("127.0.0.2", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.(*net.TCPConn).SetReadBuffer(4096)
	raw := rawssh.New(c)
	if err := raw.Login("alice", key); err != nil {
		t.Fatal(err)
	}
	opening := rawssh.Packet(90, struct {
		Type                  string
		Channel, Window, Most uint32
	}{"session", 1, 1 << 20, 1 << 15})
	most := 0
	began := time.Now()
	for err == nil && time.Since(began) < patience { // ends when the door gives up
		err = raw.Send(opening)
		most = max(most, runtime.NumGoroutine()-base.goroutines)
	}
	if err == nil {
		t.Error("it is still there")
	}
	t.Logf("given up after %s, %d goroutines at most", time.Since(began).Round(time.Millisecond), most)
	if most > 128+slack+300 { // those of a read or two, and what a connection has anyway
		t.Errorf("%d goroutines for one connection", most)
	}
	honest(t, addr, key)
	c.Close()
	base.returned(t)
	if strings.Contains(log.String(), "internal error") {
		t.Error(log.String())
	}
}

// TestNothingIsLeft of a client at whose message the library stops while it has many more: it leaves its reader waiting for ever, with
// seventeen packets. Before authentication too, where it is anybody's.
func TestNothingIsLeft(t *testing.T) {
	addr, _ := open(t, &Door{Limits: Limits{WorkPerAddress: 1e6}})
	key := newSigner(t)
	honest(t, addr, key)
	for name, c := range map[string]struct {
		enter func(*rawssh.Client) error
		stops []byte
	}{
		"before authentication": {func(c *rawssh.Client) error { return errors.Join(c.Hello(), c.Exchange()) }, rawssh.Packet(5, struct{ Service string }{"none"})},
		"in authentication":     {func(c *rawssh.Client) error { return errors.Join(c.Hello(), c.Exchange(), c.Service()) }, []byte{50}},
		"logged in":             {func(c *rawssh.Client) error { return c.Login("alice", key) }, []byte{94, 0, 0, 0, 77}},
	} {
		for _, size := range []int{1, 30_000} {
			base := measure()
			for range 30 {
				conn, err := from("127.0.0.2", addr)
				if err != nil {
					t.Fatal(err)
				}
				raw := rawssh.New(conn)
				if err := c.enter(raw); err != nil {
					t.Fatal(name, err)
				}
				packets := raw.Seal(c.stops)
				for range 40 {
					packets = append(packets, raw.Seal(append(bytes.Clone(c.stops), make([]byte, size)...))...)
				}
				_, _ = conn.Write(packets)
				_, _ = io.Copy(io.Discard, conn)
				conn.Close()
			}
			base.returned(t)
		}
	}
}

// TestPacketsOfAnySize: more than 256 KiB is no packet, before authentication and after.
func TestPacketsOfAnySize(t *testing.T) {
	addr, _ := open(t, &Door{})
	key := newSigner(t)
	honest(t, addr, key)
	base := measure()
	for _, length := range []uint32{0, 1, 4, 5, 7, 256<<10 + 1, 1 << 20, 1<<31 - 1, 1 << 31, 1<<32 - 1} {
		for _, in := range []bool{false, true} {
			c, err := from("127.0.0.2", addr)
			if err != nil {
				t.Fatal(err)
			}
			raw := rawssh.New(c)
			if in {
				err = raw.Login("alice", key)
			} else {
				err = raw.Hello()
			}
			if err != nil {
				t.Fatal(err)
			}
			_, _ = c.Write([]byte{byte(length >> 24), byte(length >> 16), byte(length >> 8), byte(length), 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24})
			_ = c.SetReadDeadline(time.Now().Add(patience))
			if _, err := io.Copy(io.Discard, c); err != nil && !strings.Contains(err.Error(), "reset") {
				t.Errorf("a packet of %d bytes, logged in %v: %v", length, in, err)
			}
			c.Close()
		}
	}
	base.returned(t)
	honest(t, addr, key)
}

// TestAVersionThatLies gets nothing worse than a client that says nothing about itself.
func TestAVersionThatLies(t *testing.T) {
	addr, log := open(t, &Door{})
	key := newSigner(t)
	for version, cipher := range map[string]string{
		"SSH-2.0-Go":                     ssh.CipherAES128GCM,
		"SSH-2.0-OpenSSH_9.2p1 Debian-2": ssh.CipherAES128GCM,
		"SSH-2.0-paramiko_2.12.0":        ssh.CipherAES256CTR,
		"SSH-2.0-PuTTY_Release_0.78":     ssh.CipherAES256CTR,
	} {
		config := &ssh.ClientConfig{User: "alice", Auth: []ssh.AuthMethod{ssh.PublicKeys(key)}, HostKeyCallback: ssh.InsecureIgnoreHostKey(), ClientVersion: version}
		// The order of a client that likes everything but AES-GCM.
		config.Ciphers = []string{ssh.CipherChaCha20Poly1305, ssh.CipherAES256CTR, ssh.CipherAES128CTR, ssh.InsecureCipherAES128CBC, ssh.CipherAES256GCM, ssh.CipherAES128GCM}
		if cipher == ssh.CipherAES128GCM {
			config.Ciphers = append([]string{ssh.CipherChaCha20Poly1305, ssh.CipherAES256CTR}, ssh.CipherAES128GCM)
		}
		client, err := ssh.Dial("tcp", addr, config)
		if err != nil {
			t.Fatalf("%s: %v", version, err)
		}
		got := client.Conn.(ssh.AlgorithmsConnMetadata).Algorithms()
		client.Close()
		if got.Read.Cipher != cipher || got.Write.Cipher != cipher {
			t.Errorf("%s: %+v", version, got)
		}
	}
	var weak ssh.ClientConfig
	algo.Harden(&weak.Config)
	weak.Ciphers = []string{ssh.CipherChaCha20Poly1305, ssh.InsecureCipherAES128CBC, ssh.InsecureCipherTripleDESCBC}
	weak.User, weak.HostKeyCallback = "alice", ssh.InsecureIgnoreHostKey()
	for _, version := range []string{"SSH-2.0-Go", "SSH-2.0-x"} {
		weak.ClientVersion = version
		if c, err := ssh.Dial("tcp", addr, &weak); err == nil || !strings.Contains(err.Error(), "no common algorithm") {
			t.Errorf("%s: %v, %v", version, c, err)
		}
	}
	if !strings.Contains(log.String(), "cipher="+ssh.CipherAES256CTR) {
		t.Error("the log does not say which cipher it came to")
	}
}
