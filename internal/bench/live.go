package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"
)

const (
	opening      = 8    // sessions at once
	mostOfAGrant = 1000 // sessions
)

// live are the sessions that a revocation is to end.
type live struct {
	sessions []*liveSession
}

// liveSession is an SSH client's connection with a command that runs.
type liveSession struct {
	gauge  *gauge
	client *ssh.Client
	errs   *lockedBuffer
}

// openSessions opens n connections with a running command each, on the bastions in turn.
func (r *rig) openSessions(addresses []string, n int) (*live, error) {
	l := &live{sessions: make([]*liveSession, n)}
	errs := make(chan error, n)
	var wg sync.WaitGroup
	slots := make(chan struct{}, opening)
	for first := 0; first < n; first += mostOfAGrant {
		if _, err := r.grant(30 * time.Minute); err != nil {
			return l, err
		}
		config, err := r.clientConfig()
		if err != nil {
			return l, err
		}
		for i := first; i < min(n, first+mostOfAGrant); i++ {
			slots <- struct{}{}
			wg.Go(func() {
				defer func() { <-slots }()
				var err error
				if l.sessions[i], err = openSession(addresses[i%len(addresses)], config); err != nil {
					errs <- err
				}
			})
		}
		wg.Wait()
	}
	select {
	case err := <-errs:
		return l, err
	default:
		return l, nil
	}
}

func openSession(address string, config *ssh.ClientConfig) (*liveSession, error) {
	var banner strings.Builder
	own := *config
	own.BannerCallback = func(message string) error { banner.WriteString(message); return nil }
	tcp, err := net.DialTimeout("tcp", address, config.Timeout)
	if err != nil {
		return nil, err
	}
	l := &liveSession{gauge: &gauge{Conn: tcp, done: make(chan struct{}), look: make(chan struct{})}, errs: &lockedBuffer{}}
	conn, chans, reqs, err := ssh.NewClientConn(l.gauge, address, &own)
	if err != nil {
		tcp.Close()
		return nil, fmt.Errorf("%w: %s", err, banner.String())
	}
	l.client = ssh.NewClient(conn, chans, reqs)
	if err := l.run(); err != nil {
		l.client.Close()
		return nil, fmt.Errorf("session: %w: %s", err, l.errs)
	}
	return l, nil
}

func (l *liveSession) run() error {
	s, err := l.client.NewSession()
	if err != nil {
		return err
	}
	s.Stderr = l.errs
	out, err := s.StdoutPipe()
	if err == nil {
		err = s.Start("echo live; exec sleep 3000")
	}
	if err == nil {
		_, err = out.Read(make([]byte, len("live\n")))
	}
	return err
}

func (l *live) each(f func(*liveSession)) {
	for _, s := range l.sessions {
		if s != nil {
			f(s)
		}
	}
}

func (l *live) close() {
	l.each(func(s *liveSession) {
		s.gauge.release()
		s.client.Close()
	})
}

func (l *live) arm() { l.each(func(s *liveSession) { s.gauge.armed.Store(true) }) }

// ends waits for every connection to be closed by its bastion.
func (l *live) ends(began time.Time) ([]time.Duration, error) {
	late := time.After(cutTime)
	var took []time.Duration
	for _, s := range l.sessions {
		select {
		case <-s.gauge.done:
			took = append(took, s.gauge.ended.Sub(began))
		case <-late:
			return nil, fmt.Errorf("%d of %d sessions live on %s after the revocation", len(l.sessions)-len(took), len(l.sessions), cutTime)
		}
	}
	return took, nil
}

// reasons lets the SSH clients go on where they were, and checks that each reads why it was cut.
func (l *live) reasons(why string) error {
	silent := 0
	for _, s := range l.sessions {
		s.gauge.release()
		_ = s.client.Wait()
		end := time.Now().Add(time.Second) // the last of its output is being copied
		for !strings.Contains(s.errs.String(), why) && time.Now().Before(end) {
			time.Sleep(time.Millisecond)
		}
		if !strings.Contains(s.errs.String(), why) {
			silent++
		}
	}
	if silent > 0 {
		return fmt.Errorf("%d of %d sessions ended without a word", silent, len(l.sessions))
	}
	return nil
}

// gauge is a client's TCP connection. Once armed it keeps what comes, notes when the other side closed it, and only then shows the SSH client what
// came: a thousand clients that decrypt, end their sessions and clean up would be measured instead of the cut.
type gauge struct {
	net.Conn
	armed atomic.Bool
	ended time.Time     // set before done is closed
	done  chan struct{} // closed when the other side closed
	look  chan struct{} // closed when the client may see it
	once  sync.Once
	held  bytes.Buffer
	err   error
}

func (g *gauge) Read(p []byte) (int, error) {
	if g.err == nil {
		n, err := g.Conn.Read(p)
		if !g.armed.Load() {
			return n, err
		}
		g.held.Write(p[:n])
		var b [1 << 10]byte
		for err == nil {
			n, err = g.Conn.Read(b[:])
			g.held.Write(b[:n])
		}
		g.ended, g.err = time.Now(), err
		close(g.done)
		<-g.look
	}
	if g.held.Len() > 0 {
		return g.held.Read(p)
	}
	return 0, g.err
}

func (g *gauge) release() { g.once.Do(func() { close(g.look) }) }

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (r *rig) clientConfig() (*ssh.ClientConfig, error) {
	target := r.lab.Account + "@phi1"
	key, err := readSigner(filepath.Join(r.lab.Dir, "alice", "id_ed25519"))
	if err != nil {
		return nil, err
	}
	cert, err := readCertificate(filepath.Join(r.lab.Dir, "alice", "postern", "certs", target+"-cert.pub"))
	if err != nil {
		return nil, err
	}
	signer, err := ssh.NewCertSigner(cert, key)
	if err != nil {
		return nil, err
	}
	return &ssh.ClientConfig{
		User: target,
		Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)},
		// ssh itself checks the bastion's certificate in the other measurements; here the clients are only a load.
		HostKeyCallback: ssh.InsecureIgnoreHostKey(),
		Timeout:         30 * time.Second,
	}, nil
}

func readSigner(file string) (ssh.Signer, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return ssh.ParsePrivateKey(b)
}

func readCertificate(file string) (*ssh.Certificate, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	public, _, _, _, err := ssh.ParseAuthorizedKey(b)
	if err != nil {
		return nil, err
	}
	cert, ok := public.(*ssh.Certificate)
	if !ok {
		return nil, fmt.Errorf("%s holds no certificate", file)
	}
	return cert, nil
}
