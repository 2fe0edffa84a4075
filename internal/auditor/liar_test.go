package auditor

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"

	"postern/ca/auditlog"
	"postern/ca/statement"
	"postern/internal/control"
	"postern/internal/sshsig"
)

// liar is an SSH server that an auditor takes for the CA, or for a bastion: its host certificate is good, and it answers what a test wants.
type liar struct {
	t       *testing.T
	address string
	config  *ssh.ServerConfig
	answer  func(command string, stdin []byte) (string, error)

	mu    sync.Mutex
	conns []net.Conn
	seen  int // connections
}

// gateway is the CA of host certificates, and the file that says so.
type gateway struct {
	ssh.Signer
	file string
}

func newGateway(t *testing.T) gateway {
	t.Helper()
	g := gateway{newSigner(t), filepath.Join(t.TempDir(), "known_hosts")}
	if err := os.WriteFile(g.file, []byte("@cert-authority * "+line(g.PublicKey())+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return g
}

func (g gateway) liar(t *testing.T, name string, answer func(string, []byte) (string, error)) *liar {
	t.Helper()
	key := newSigner(t)
	cert := &ssh.Certificate{Key: key.PublicKey(), CertType: ssh.HostCert, Serial: 1, ValidPrincipals: []string{name}, ValidBefore: ssh.CertTimeInfinity}
	if err := cert.SignCert(rand.Reader, g); err != nil {
		t.Fatal(err)
	}
	host, err := ssh.NewCertSigner(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	l := &liar{t: t, answer: answer, config: &ssh.ServerConfig{
		PublicKeyCallback: func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) { return nil, nil },
	}}
	l.config.AddHostKey(host)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.address = listener.Addr().String()
	t.Cleanup(func() { listener.Close(); l.hangUp() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go l.serve(conn)
		}
	}()
	return l
}

// hangUp ends every connection there is.
func (l *liar) hangUp() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.conns {
		c.Close()
	}
	l.conns = nil
}

func (l *liar) serve(conn net.Conn) {
	l.mu.Lock()
	l.conns, l.seen = append(l.conns, conn), l.seen+1
	l.mu.Unlock()
	_, channels, requests, err := ssh.NewServerConn(conn, l.config)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(requests)
	for ch := range channels {
		c, reqs, err := ch.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			req := <-reqs
			req.Reply(true, nil)
			go ssh.DiscardRequests(reqs)
			in, _ := io.ReadAll(c)
			out, err := l.answer(string(req.Payload[4:]), in)
			status := uint32(0)
			if err != nil {
				status = 1
				fmt.Fprintln(c.Stderr(), err)
			}
			io.WriteString(c, out)
			c.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{status}))
		}()
	}
}

// authority answers as an honest CA would, except for what a test makes it say.
type authority struct {
	t       *testing.T
	log     *auditlog.Signer
	leaves  [][]byte
	carol   ssh.Signer
	bastion *liar

	mu        sync.Mutex
	sequence  uint64
	signed    int                                       // signatures that came
	statement func(statement.View) string               // nil: an honest one
	audit     func(*control.Audit)                      // nil: an honest one
	vote      func(signature []byte, want string) error // nil: verifies
	views     []statement.View                          // that were let in
}

func (a *authority) answer(command string, stdin []byte) (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if strings.HasPrefix(command, "whoami") {
		b, err := json.Marshal(control.Identity{Kind: "person", Name: "carol", Key: ssh.FingerprintSHA256(a.carol.PublicKey()), CA: "postern-ca"})
		return string(b), err
	}
	v := a.parse(command)
	v.Sequence = a.sequence
	if strings.HasSuffix(command, "--statement") {
		if a.statement != nil {
			return a.statement(v), nil
		}
		return v.Text(), nil
	}
	a.signed++
	if a.vote != nil {
		if err := a.vote(stdin, v.Text()); err != nil {
			return "", err
		}
	} else if _, err := sshsig.Verify(stdin, control.ViewNamespace, []byte(v.Text())); err != nil {
		return "", err
	}
	a.sequence++
	a.views = append(a.views, v)
	var out control.Audit
	pass := control.Pass{Bastion: control.Place{Name: "bastion-1", Address: a.bastion.address, Key: line(a.carol.PublicKey())}, Sessions: v.Sessions}
	for _, id := range v.Sessions {
		out.Sessions = append(out.Sessions, control.Session{ID: id, Bastion: "bastion-1"})
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(strings.Trim(between(command, "--key ", " --kind"), "'")))
	if err != nil {
		return "", err
	}
	cert := &ssh.Certificate{Key: key, CertType: ssh.UserCert, ValidPrincipals: []string{"recordings@bastion-1"}, ValidBefore: ssh.CertTimeInfinity}
	if err := cert.SignCert(rand.Reader, a.carol); err != nil {
		return "", err
	}
	pass.Certificate = line(cert)
	out.Passes = []control.Pass{pass}
	out.Logged = a.logged(auditlog.View{Statement: v.Text(), Signature: string(stdin)})
	if a.audit != nil {
		a.audit(&out)
	}
	b, err := json.Marshal(out)
	return string(b), err
}

// logged writes a view into the log.
func (a *authority) logged(v auditlog.View) control.Logged {
	leaf, err := json.Marshal(auditlog.Entry{Type: auditlog.TypeView, Actor: "carol", View: &v})
	if err != nil {
		a.t.Error(err)
	}
	a.leaves = append(a.leaves, leaf)
	return a.proven(leaf)
}

// proven shows that the last leaf is leaf.
func (a *authority) proven(leaf []byte) control.Logged {
	n := int64(len(a.leaves))
	book, err := auditlog.NewBook(a.leaves)
	if err != nil {
		a.t.Error(err)
		return control.Logged{}
	}
	tree, err1 := book.Tree(n)
	proof, err2 := book.Inclusion(n, n-1)
	checkpoint, err3 := a.log.Checkpoint(tree)
	if err := errors.Join(err1, err2, err3); err != nil {
		a.t.Error(err)
	}
	return control.Logged{Index: n - 1, Leaf: leaf, Proof: proof.String(), Checkpoint: string(checkpoint)}
}

func between(text, from, to string) string {
	_, text, _ = strings.Cut(text, from)
	text, _, _ = strings.Cut(text, to)
	return text
}

// parse reads the words that a desk writes.
func (a *authority) parse(command string) statement.View {
	v := statement.View{CA: "postern-ca", Person: "carol", Kind: between(command, "--kind ", " "), Keystrokes: strings.Contains(command, " --keystrokes")}
	v.Sessions = strings.Fields(between(command, "audit ", " --key "))
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(strings.Trim(between(command, "--key ", " --kind"), "'")))
	if err == nil {
		v.Key = ssh.FingerprintSHA256(key)
	}
	v.Reason = between(command, "--reason=", "'")
	return v
}
