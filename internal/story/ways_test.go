package story

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/internal/lab"
)

// rules let alice do everything but forward, and set some variables.
const rules = `@id("dba")
@approve("1 of privacy")
@max("30m")
@environment("LANG, LC_*")
permit (
    principal in Group::"dba",
    action in [Action::"shell", Action::"exec", Action::"sftp-read", Action::"sftp-write", Action::"scp-read", Action::"scp-write"],
    resource
);

@id("auditors")
permit (principal in Group::"auditors", action in [Action::"audit", Action::"recording-key"], resource == System::"postern");

@id("operators")
permit (principal in Group::"operators", action in [Action::"revoke"], resource == System::"postern");
`

// place is a lab in which alice may log in to both hosts.
type place struct {
	*lab.Lab
	t    *testing.T
	key  ssh.Signer            // alice's
	cert map[string]ssh.Signer // by host
}

func newPlace(t *testing.T) *place { return newPlaceIn(t, lab.Config{}) }

func newPlaceIn(t *testing.T, cfg lab.Config) *place {
	t.Helper()
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "policy"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "policy", "rules.cedar"), []byte(rules), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg.Dir, cfg.Bin = dir, programs(t)
	l, err := lab.Up(cfg)
	if err != nil {
		t.Fatal(err)
	}
	p := &place{Lab: l, t: t, cert: map[string]ssh.Signer{}}
	t.Cleanup(func() {
		if err := l.Down(); err != nil {
			t.Error(err)
		}
	})
	private, err := os.ReadFile(filepath.Join(dir, "alice", "id_ed25519"))
	if err != nil {
		t.Fatal(err)
	}
	if p.key, err = ssh.ParsePrivateKey(private); err != nil {
		t.Fatal(err)
	}
	for _, host := range lab.Hosts {
		p.grant(host)
	}
	return p
}

// grant asks as alice, approves as bob, and takes the certificate.
func (p *place) grant(host string) {
	p.t.Helper()
	asked := p.as("alice", "request", p.Account+"@"+host, "--for", "20m", "--reason", "a test")
	id, _, _ := strings.Cut(asked, " ")
	p.as("bob", "approve", id, "--yes")
	p.as("alice", "certificate", id)
	line, err := os.ReadFile(filepath.Join(p.Dir, "alice", "postern", "certs", p.Account+"@"+host+"-cert.pub"))
	if err != nil {
		p.t.Fatal(err)
	}
	cert, _, _, _, err := ssh.ParseAuthorizedKey(line)
	if err != nil {
		p.t.Fatal(err)
	}
	if p.cert[host], err = ssh.NewCertSigner(cert.(*ssh.Certificate), p.key); err != nil {
		p.t.Fatal(err)
	}
}

func (p *place) as(person string, words ...string) string {
	p.t.Helper()
	cmd := exec.Command(filepath.Join(p.Dir, "bin", "postern"), words...)
	cmd.Env = append(os.Environ(), p.Env(person)...)
	var out, diagnostics bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &diagnostics
	if err := cmd.Run(); err != nil {
		p.t.Fatalf("%s: postern %s: %v\n%s%s", person, strings.Join(words, " "), err, out.String(), diagnostics.String())
	}
	return out.String()
}

// way is one way to a host. Everything must be the same on all of them.
type way struct {
	name string
	dial func(...func(*ssh.ClientConfig)) *ssh.Client
}

// ways are directly to an sshd that is host without a bastion, through a jump, and by -l.
func (p *place) ways(host, direct string) []way {
	pinned := filepath.Join(host, "ssh_host_ed25519_key.pub")
	return []way{
		{"direct", func(change ...func(*ssh.ClientConfig)) *ssh.Client {
			return p.connect(p.dial(direct), direct, p.config(p.Account, host, ssh.FixedHostKey(p.publicKey(pinned)), change))
		}},
		{"jump", func(change ...func(*ssh.ClientConfig)) *ssh.Client {
			address := p.Addresses["bastion"]
			outer := p.connect(p.dial(address), address, p.config("alice", host, p.gateway("bastion-1"), nil))
			inside, err := outer.Dial("tcp", host+":22")
			if err != nil {
				p.t.Fatal(err)
			}
			return p.connect(inside, host+":22", p.config(p.Account, host, p.gateway(host), change))
		}},
		{"by name", func(change ...func(*ssh.ClientConfig)) *ssh.Client {
			address := p.Addresses["bastion"]
			return p.connect(p.dial(address), address, p.config(p.Account+"@"+host, host, p.gateway("bastion-1"), change))
		}},
	}
}

func (p *place) config(user, host string, check ssh.HostKeyCallback, change []func(*ssh.ClientConfig)) *ssh.ClientConfig {
	c := &ssh.ClientConfig{User: user, Auth: []ssh.AuthMethod{ssh.PublicKeys(p.cert[host])}, HostKeyCallback: check}
	for _, f := range change {
		f(c)
	}
	return c
}

// gateway checks a certificate of the gateway CA for that name, whatever address was dialled.
func (p *place) gateway(name string) ssh.HostKeyCallback {
	ca := p.publicKey("trust/gateway_ca.pub")
	checker := &ssh.CertChecker{IsHostAuthority: func(k ssh.PublicKey, _ string) bool { return bytes.Equal(k.Marshal(), ca.Marshal()) }}
	return func(_ string, remote net.Addr, key ssh.PublicKey) error {
		return checker.CheckHostKey(name+":22", remote, key)
	}
}

func (p *place) publicKey(file string) ssh.PublicKey {
	p.t.Helper()
	line, err := os.ReadFile(filepath.Join(p.Dir, file))
	if err != nil {
		p.t.Fatal(err)
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey(line)
	if err != nil {
		p.t.Fatal(err)
	}
	return key
}

func (p *place) dial(address string) net.Conn {
	p.t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		p.t.Fatal(err)
	}
	return c
}

func (p *place) connect(c net.Conn, address string, config *ssh.ClientConfig) *ssh.Client {
	p.t.Helper()
	conn, chans, reqs, err := ssh.NewClientConn(c, address, config)
	if err != nil {
		p.t.Fatal(err)
	}
	client := ssh.NewClient(conn, chans, reqs)
	p.t.Cleanup(func() { client.Close() })
	return client
}

// request is one channel request.
type request struct {
	name    string
	payload []byte
}

func command(line string) request { return request{"exec", ssh.Marshal(struct{ S string }{line})} }

func variable(name, value string) request {
	return request{"env", ssh.Marshal(struct{ Name, Value string }{name, value})}
}

// script is a session channel and what is heard on it.
type script struct {
	ssh.Channel
	mu    sync.Mutex
	told  bytes.Buffer // answers to our requests
	heard bytes.Buffer // the peer's requests
	out   bytes.Buffer
	errs  bytes.Buffer
	news  chan struct{} // something came
	ended chan struct{} // everything has

	outEnded bool // standard output has ended
}

// open opens a session channel and makes requests on it.
func open(c *ssh.Client, requests ...request) (*script, error) {
	ch, reqs, err := c.OpenChannel("session", nil)
	if err != nil {
		return nil, err
	}
	s := &script{Channel: ch, news: make(chan struct{}, 1), ended: make(chan struct{})}
	var parts sync.WaitGroup
	parts.Go(func() {
		io.Copy(locked{s, &s.out}, ch)
		s.change(func() { s.outEnded = true })
	})
	parts.Go(func() { io.Copy(locked{s, &s.errs}, ch.Stderr()) })
	parts.Go(func() {
		for req := range reqs {
			if req.Type != "eow@openssh.com" { // whether it comes is a matter of microseconds
				s.note(&s.heard, "%s %v %x\n", req.Type, req.WantReply, req.Payload)
			}
			req.Reply(req.Type == "known@example", nil)
		}
	})
	go func() { parts.Wait(); close(s.ended) }()
	for _, r := range requests {
		s.ask(r)
	}
	return s, nil
}

func (s *script) ask(r request) {
	ok, err := s.SendRequest(r.name, true, r.payload)
	if errors.Is(err, io.EOF) {
		ok, err = false, nil // the channel was closed, which is an answer too
	}
	s.note(&s.told, "%s: %v %v\n", r.name, ok, err)
}

func (s *script) note(b *bytes.Buffer, format string, args ...any) {
	s.change(func() { fmt.Fprintf(b, format, args...) })
}

// change changes what is known, and tells who waits.
func (s *script) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	select {
	case s.news <- struct{}{}:
	default:
	}
}

// wait waits until something is true of what is known.
func (s *script) wait(is func() bool) error {
	late := time.After(patience)
	for {
		s.mu.Lock()
		done := is()
		s.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-s.news:
		case <-s.ended:
			if s.mu.Lock(); !is() {
				defer s.mu.Unlock()
				return errors.New("it ended before; " + s.all())
			}
			s.mu.Unlock()
			return nil
		case <-late:
			s.mu.Lock()
			defer s.mu.Unlock()
			return fmt.Errorf("not in %s; %s", patience, s.all())
		}
	}
}

// locked is a buffer of a script.
type locked struct {
	s *script
	b *bytes.Buffer
}

func (l locked) Write(b []byte) (int, error) {
	l.s.change(func() { l.b.Write(b) })
	return len(b), nil
}

// finish waits for the end and tells everything that was heard.
func (s *script) finish() string {
	select {
	case <-s.ended:
	case <-time.After(patience):
		s.note(&s.heard, "and no end after %s\n", patience)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all()
}

func (s *script) all() string {
	return fmt.Sprintf("%s%sstdout %s\nstderr %s", s.told.String(), s.heard.String(), short(s.out.Bytes()), short(s.errs.Bytes()))
}

// short is a text, or a checksum of a long one.
func short(b []byte) string {
	if len(b) < 4000 {
		return fmt.Sprintf("%q", b)
	}
	return fmt.Sprintf("%d bytes %x", len(b), sha256.Sum256(b))
}

// run runs a command with an input and tells everything that was heard.
func run(c *ssh.Client, stdin string, requests ...request) (string, error) {
	s, err := open(c, requests...)
	if err != nil {
		return "", err
	}
	// A program that ended already is no reason to fail here.
	_, _ = io.WriteString(s, stdin)
	_ = s.CloseWrite()
	return s.finish(), nil
}
