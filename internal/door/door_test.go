package door

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/internal/algo"
)

func newSigner(t *testing.T) ssh.Signer {
	t.Helper()
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// journal is a log that a test can read while it is written.
type journal struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.String()
}

// open serves d for the length of the test.
func open(t *testing.T, d *Door) (addr string, log *journal) {
	t.Helper()
	log = &journal{}
	d.Log = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	if d.HostKeys == nil {
		key := newSigner(t)
		d.HostKeys = func() []ssh.Signer { return []ssh.Signer{key} }
	}
	if d.Authorise == nil {
		d.Authorise = func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) { return &ssh.Permissions{}, nil }
	}
	if d.Channel == nil {
		d.Channel = func(_ *ssh.ServerConn, ch ssh.NewChannel) {
			c, reqs, err := ch.Accept()
			if err != nil {
				return
			}
			go ssh.DiscardRequests(reqs)
			_, _ = io.Copy(c, c)
			c.Close()
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go d.Serve(l)
	t.Cleanup(func() { d.Close() })
	return l.Addr().String(), log
}

func dial(addr string, auth ...ssh.AuthMethod) (*ssh.Client, string, error) {
	var banner strings.Builder
	c := &ssh.ClientConfig{
		User: "alice", Auth: auth, HostKeyCallback: ssh.InsecureIgnoreHostKey(), Timeout: 10 * time.Second,
		BannerCallback: func(m string) error { banner.WriteString(m); return nil },
	}
	algo.Harden(&c.Config)
	client, err := ssh.Dial("tcp", addr, c)
	return client, banner.String(), err
}

func TestAClientWithAKeyGetsItsChannel(t *testing.T) {
	addr, _ := open(t, &Door{})
	client, _, err := dial(addr, ssh.PublicKeys(newSigner(t)))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ch, reqs, err := client.OpenChannel("anything", nil)
	if err != nil {
		t.Fatal(err)
	}
	go ssh.DiscardRequests(reqs)
	sent := bytes.Repeat([]byte("postern "), 1<<18)
	go func() { _, _ = ch.Write(sent); _ = ch.CloseWrite() }()
	got, err := io.ReadAll(ch)
	if err != nil || !bytes.Equal(got, sent) {
		t.Fatalf("%d bytes came back of %d, error %v", len(got), len(sent), err)
	}
	if ok, _, err := client.SendRequest("keepalive@openssh.com", true, nil); ok || err != nil {
		t.Fatalf("keepalive was answered %v, %v; a server that does not know it says no", ok, err)
	}
}

func TestNobodyEntersWithoutAKey(t *testing.T) {
	addr, _ := open(t, &Door{})
	for name, auth := range map[string][]ssh.AuthMethod{
		"none":     nil,
		"password": {ssh.Password("root")},
		"keyboard": {ssh.KeyboardInteractive(func(string, string, []string, []bool) ([]string, error) { return nil, nil })},
	} {
		if c, _, err := dial(addr, auth...); err == nil {
			c.Close()
			t.Errorf("%s let somebody in", name)
		}
	}
}

func TestARefusalSaysWhy(t *testing.T) {
	no := &ssh.BannerError{Err: errors.New("expired"), Message: "your certificate expired\n"}
	addr, _ := open(t, &Door{Authorise: func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) { return nil, no }})
	_, banner, err := dial(addr, ssh.PublicKeys(newSigner(t)))
	if err == nil || banner != no.Message {
		t.Fatalf("error %v, banner %q", err, banner)
	}
	addr, _ = open(t, &Door{Lookup: func(ssh.ConnMetadata, ssh.PublicKey) error { return no }})
	_, banner, err = dial(addr, ssh.PublicKeys(newSigner(t), newSigner(t)))
	if err == nil || banner != no.Message {
		t.Fatalf("lookup: error %v, banner %q; it must come once", err, banner)
	}
}

func TestAPanicEndsOneConnection(t *testing.T) {
	d := &Door{}
	d.Channel = func(_ *ssh.ServerConn, ch ssh.NewChannel) {
		if ch.ChannelType() == "bomb" {
			panic("boom")
		}
		_ = ch.Reject(ssh.Prohibited, "no")
	}
	addr, log := open(t, d)
	victim, _, err := dial(addr, ssh.PublicKeys(newSigner(t)))
	if err != nil {
		t.Fatal(err)
	}
	other, _, err := dial(addr, ssh.PublicKeys(newSigner(t)))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	_, _, _ = victim.OpenChannel("bomb", nil)
	_ = victim.Wait()
	var refused *ssh.OpenChannelError
	if _, _, err := other.OpenChannel("x", nil); !errors.As(err, &refused) {
		t.Fatalf("the other connection answered %v", err)
	}
	if !strings.Contains(log.String(), "internal error") || !strings.Contains(log.String(), "boom") {
		t.Fatalf("log: %s", log)
	}
}

func TestAPanicLetsNobodyIn(t *testing.T) {
	bomb := func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) { panic("boom") }
	for name, d := range map[string]*Door{
		"authorise": {Authorise: bomb},
		"lookup":    {Lookup: func(ssh.ConnMetadata, ssh.PublicKey) error { panic("boom") }},
	} {
		addr, log := open(t, d)
		for range 3 {
			if c, _, err := dial(addr, ssh.PublicKeys(newSigner(t))); err == nil {
				c.Close()
				t.Errorf("%s: got in", name)
			}
		}
		if n := strings.Count(log.String(), "internal error"); n < 3 {
			t.Errorf("%s: the log has it %d times of 3: %s", name, n, log)
		}
	}
}

func TestTheGraceEndsASilentConnection(t *testing.T) {
	addr, _ := open(t, &Door{Limits: Limits{LoginGrace: 50 * time.Millisecond}})
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.Copy(io.Discard, c); err != nil && !strings.Contains(err.Error(), "reset") {
		t.Fatal(err)
	}
}

func TestStrangersAreCountedUntilTheyLogIn(t *testing.T) {
	addr, _ := open(t, &Door{Limits: Limits{MaxPerAddress: 2}})
	for range 3 {
		c, _, err := dial(addr, ssh.PublicKeys(newSigner(t)))
		if err != nil {
			t.Fatalf("a client that logs in is no stranger: %v", err)
		}
		defer c.Close()
	}
	strangers := make([]net.Conn, 3)
	for i := range strangers {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		strangers[i] = c
		if n, _ := c.Read(make([]byte, 4)); (n == 4) != (i < 2) {
			t.Fatalf("stranger %d read %d bytes", i, n)
		}
	}
	strangers[0].Close()
	deadline := time.Now().Add(patience)
	for {
		c, _, err := dial(addr, ssh.PublicKeys(newSigner(t)))
		if err == nil {
			c.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("a stranger that left still counts")
		}
	}
}

// Nobody who may log in takes the places of all others, by however many keys.
func TestConnectionsOfAPersonAreBounded(t *testing.T) {
	addr, _ := open(t, &Door{Limits: Limits{MaxConnections: 8}, Authorise: func(conn ssh.ConnMetadata, _ ssh.PublicKey) (*ssh.Permissions, error) {
		v := conn.(*Visitor)
		if err := v.BelongsTo(conn.User()); err != nil {
			return nil, &ssh.BannerError{Err: err, Message: err.Error()}
		}
		return nil, v.BelongsTo(conn.User()) // counts once
	}})
	as := func(person string) (*ssh.Client, string) {
		t.Helper()
		var said string
		c, err := ssh.Dial("tcp", addr, &ssh.ClientConfig{
			User: person, Auth: []ssh.AuthMethod{ssh.PublicKeys(newSigner(t))}, HostKeyCallback: ssh.InsecureIgnoreHostKey(), Timeout: patience,
			BannerCallback: func(text string) error { said = text; return nil },
		})
		if err != nil {
			return nil, said
		}
		t.Cleanup(func() { c.Close() })
		return c, said
	}
	first, _ := as("alice")
	if second, _ := as("alice"); first == nil || second == nil {
		t.Fatal("a person may have a quarter of all connections")
	}
	if third, said := as("alice"); third != nil || !strings.Contains(said, "alice has 2 connections here") {
		t.Fatalf("one more than that: %v, told %q", third, said)
	}
	if other, said := as("bob"); other == nil {
		t.Fatalf("another person is refused for it: %q", said)
	}
	if nobody, _ := as(""); nobody != nil {
		t.Fatal("a login of nobody was let in")
	}
	first.Close()
	for deadline := time.Now().Add(patience); ; {
		if again, said := as("alice"); again != nil {
			return
		} else if time.Now().After(deadline) {
			t.Fatalf("a connection that is gone still counts: %q", said)
		}
	}
}

func TestChannelsOfAConnectionAreBounded(t *testing.T) {
	addr, _ := open(t, &Door{Limits: Limits{MaxChannels: 2}})
	client, _, err := dial(addr, ssh.PublicKeys(newSigner(t)))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for i := range 5 {
		_, _, err := client.OpenChannel("x", nil)
		if (err == nil) != (i < 2) {
			t.Fatalf("channel %d: %v", i, err)
		}
	}
}
