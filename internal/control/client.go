package control

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"postern/internal/algo"
)

// DefaultName is the name the CA's host certificate stands for, whatever address one dials.
const DefaultName = "postern-ca"

const (
	handshakeTime = 10 * time.Second
	maxLine       = 16 << 20
	maxError      = 64 << 10
)

// Config says how to reach a CA.
type Config struct {
	Address    string       // host:port
	Name       string       // of the CA; empty: [NameIn] the directory of KnownHosts
	User       string       // empty: "postern"; the CA goes by the key
	Signers    []ssh.Signer // tried in order
	KnownHosts string       // file with the gateway CA's @cert-authority line

	Patience time.Duration // for connecting and for logging in, each; 0: 10 s
}

// Client is one connection to the control plane. Its methods may be called from many goroutines.
type Client struct {
	ssh *ssh.Client
}

// Refused is the CA's no: its one-line message and the exit status (1 refused, 2 misuse, 3 internal error).
type Refused struct {
	Status  int
	Message string
}

func (r *Refused) Error() string { return r.Message }

// Dial connects, checks the CA's host certificate and logs in.
func Dial(ctx context.Context, cfg Config) (*Client, error) {
	check, err := knownhosts.New(cfg.KnownHosts)
	if err != nil {
		return nil, fmt.Errorf("known hosts: %w", err)
	}
	name := cfg.Name
	if name == "" {
		name = NameIn(filepath.Dir(cfg.KnownHosts))
	}
	user := cfg.User
	if user == "" {
		user = "postern"
	}
	var banner string
	met := false // the CA has shown its key
	ssc := &ssh.ClientConfig{
		User:              user,
		Auth:              []ssh.AuthMethod{ssh.PublicKeys(cfg.Signers...)},
		HostKeyAlgorithms: algo.HostCertificateAlgorithms,
		HostKeyCallback: func(_ string, remote net.Addr, key ssh.PublicKey) error {
			// The certificate must be for the CA's name: the address is only the way there.
			err := check(net.JoinHostPort(name, "22"), remote, key)
			met = err == nil
			return err
		},
		BannerCallback: func(m string) error { banner = strings.TrimSpace(m); return nil },
	}
	algo.Harden(&ssc.Config)
	patience := cmp.Or(cfg.Patience, handshakeTime)
	conn, err := (&net.Dialer{Timeout: patience}).DialContext(ctx, "tcp", cfg.Address)
	if op := new(net.OpError); errors.As(err, &op) { // which would say the address again
		return nil, fmt.Errorf("CA %s cannot be reached: %w; is this its HOST:PORT, and does postern-ca run there?", cfg.Address, op.Err)
	}
	if err != nil {
		return nil, fmt.Errorf("CA %s: %w", cfg.Address, err)
	}
	// ClientConfig.Timeout does not cover the handshake.
	conn.SetDeadline(time.Now().Add(patience))
	c, chans, reqs, err := ssh.NewClientConn(conn, net.JoinHostPort(name, "22"), ssc)
	if err != nil {
		conn.Close()
		if banner != "" {
			return nil, fmt.Errorf("CA %s: %s", cfg.Address, banner)
		}
		broke := new(net.Error)
		if met && !errors.As(err, broke) && !errors.Is(err, io.EOF) { // it tells no stranger why; nearly always it does not know the key
			return nil, fmt.Errorf("CA %s lets nobody in with %s: is the public half in its policy? (%w)", cfg.Address, offered(cfg.Signers), err)
		}
		return nil, fmt.Errorf("CA %s: %w", cfg.Address, err)
	}
	conn.SetDeadline(time.Time{})
	return &Client{ssh: ssh.NewClient(c, chans, reqs)}, nil
}

// offered names keys.
func offered(signers []ssh.Signer) string {
	var names []string
	for _, s := range signers {
		names = append(names, ssh.FingerprintSHA256(s.PublicKey()))
	}
	return cmp.Or(strings.Join(names, ", "), "no key")
}

// Close ends the connection and every stream on it.
func (c *Client) Close() error { return c.ssh.Close() }

// Wait blocks until the connection is lost.
func (c *Client) Wait() error { return c.ssh.Wait() }

// Run runs one command and returns what it printed. A refusal is a *[Refused].
func (c *Client) Run(ctx context.Context, stdin io.Reader, args ...string) ([]byte, error) {
	s, err := c.ssh.NewSession()
	if err != nil {
		return nil, err
	}
	defer s.Close()
	stop := context.AfterFunc(ctx, func() { s.Close() })
	defer stop()
	var out bytes.Buffer
	said := &capped{left: maxError}
	s.Stdout, s.Stderr = &out, said
	if stdin == nil {
		stdin = strings.NewReader("")
	}
	s.Stdin = stdin
	err = s.Run(Quote(args...))
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return out.Bytes(), refusal(err, said.String())
}

func refusal(err error, said string) error {
	var exit *ssh.ExitError
	if !errors.As(err, &exit) {
		return err
	}
	message := strings.TrimSpace(said)
	if message == "" {
		message = fmt.Sprintf("the CA answered with status %d", exit.ExitStatus())
	}
	return &Refused{Status: exit.ExitStatus(), Message: message}
}

// Call runs a command with --json, in as its JSON input unless nil, and decodes the one object it answers.
func Call[T any](ctx context.Context, c *Client, in any, args ...string) (T, error) {
	var out T
	stdin, err := input(in)
	if err != nil {
		return out, err
	}
	b, err := c.Run(ctx, stdin, append(args, "--json")...)
	if err != nil {
		return out, err
	}
	if err := json.Unmarshal(b, &out); err != nil {
		return out, fmt.Errorf("answer of the CA to %s: %w", args[0], err)
	}
	return out, nil
}

// List runs a command with --json and decodes the objects it answers, one a line.
func List[T any](ctx context.Context, c *Client, args ...string) ([]T, error) {
	b, err := c.Run(ctx, nil, append(args, "--json")...)
	if err != nil {
		return nil, err
	}
	var list []T
	for d := json.NewDecoder(bytes.NewReader(b)); ; {
		var v T
		if err := d.Decode(&v); errors.Is(err, io.EOF) {
			return list, nil
		} else if err != nil {
			return nil, fmt.Errorf("answer of the CA to %s: %w", args[0], err)
		}
		list = append(list, v)
	}
}

// input makes stdin of text or bytes as they are, and of anything else its JSON.
func input(in any) (io.Reader, error) {
	switch v := in.(type) {
	case nil:
		return nil, nil
	case string:
		return strings.NewReader(v), nil
	case []byte:
		return bytes.NewReader(v), nil
	}
	b, err := json.Marshal(in)
	return bytes.NewReader(b), err
}

// Stream is a command that goes on: JSON lines out, and lines in.
type Stream struct {
	session *ssh.Session
	in      io.WriteCloser
	lines   *bufio.Scanner
	said    *capped
	mu      sync.Mutex // one line at a time into in
}

// Stream starts a long-lived command with --json. It ends with ctx.
func (c *Client) Stream(ctx context.Context, args ...string) (*Stream, error) {
	s, err := c.ssh.NewSession()
	if err != nil {
		return nil, err
	}
	st := &Stream{session: s, said: &capped{left: maxError}}
	s.Stderr = st.said
	if st.in, err = s.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := s.StdoutPipe()
	if err != nil {
		return nil, err
	}
	st.lines = bufio.NewScanner(out)
	st.lines.Buffer(make([]byte, 4096), maxLine)
	context.AfterFunc(ctx, func() { s.Close() })
	if err := s.Start(Quote(append(args, "--json")...)); err != nil {
		return nil, err
	}
	return st, nil
}

// Next decodes the next line into v. At the end it returns io.EOF or the CA's refusal.
func (s *Stream) Next(v any) error {
	if s.lines.Scan() {
		return json.Unmarshal(s.lines.Bytes(), v)
	}
	if err := s.lines.Err(); err != nil {
		return err
	}
	if err := refusal(s.session.Wait(), s.said.String()); err != nil {
		return err
	}
	return io.EOF
}

// Send writes v as one line.
func (s *Stream) Send(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err = s.in.Write(append(b, '\n'))
	return err
}

// Close ends the stream.
func (s *Stream) Close() error { return s.session.Close() }

// Quote joins words into a command line that the CA splits into the same words.
func Quote(words ...string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		if w == "" || strings.ContainsAny(w, " \t\n\r'\"\\") {
			w = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
		quoted[i] = w
	}
	return strings.Join(quoted, " ")
}

// capped keeps the beginning of what is written and swallows the rest.
type capped struct {
	buf  bytes.Buffer
	left int
}

func (c *capped) Write(p []byte) (int, error) {
	n := min(len(p), c.left)
	c.buf.Write(p[:n])
	c.left -= n
	return len(p), nil
}

func (c *capped) String() string { return c.buf.String() }
