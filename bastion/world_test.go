package bastion

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/internal/control"
	"postern/internal/door"
	"postern/internal/sshsig"
	"postern/recorder"
)

// world is a bastion with a real sshd behind it and a CA made of functions.
type world struct {
	t       testing.TB
	dir     string
	account string

	userCA, sessionCA, hostCA, gatewayCA ssh.Signer
	alice, auditor, identity             ssh.Signer
	private, typedPrivate                recorder.PrivateKey
	typedKey                             control.RecordingKey
	signing                              ed25519.PrivateKey

	b       *Bastion
	door    *door.Door
	memory  uint64 // of the door's limits
	address string // of the bastion
	host    string // of sshd
	log     *syncBuffer

	mu       sync.Mutex
	serial   uint64
	sessions int
	progress []control.Progress
	fault    error                    // what the CA answers instead
	adjust   func(*control.OpenReply) // of every answer of the CA
	opened   chan control.OpenReply
	ended    chan control.Progress
}

// patience is how long a test waits for what must happen: longer than the busiest machine takes, so that who waits in vain has found something.
const patience = 2 * time.Minute

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func newSigner() ssh.Signer {
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		panic(err)
	}
	return must(ssh.NewSignerFromKey(private))
}

// configure changes a world before it starts.
type configure func(*world, *recorder.Config)

func newWorld(t testing.TB, changes ...configure) *world {
	t.Helper()
	w := &world{
		t: t, dir: t.TempDir(), account: must(user.Current()).Username, log: &syncBuffer{},
		userCA: newSigner(), sessionCA: newSigner(), hostCA: newSigner(), gatewayCA: newSigner(),
		alice: newSigner(), auditor: newSigner(), identity: newSigner(),
		opened: make(chan control.OpenReply, 4096), ended: make(chan control.Progress, 4096),
	}
	var public recorder.PublicKey
	w.private, public = recorder.NewKey()
	key := w.signedKey(public, "")
	w.typedPrivate, public = recorder.NewKey()
	w.typedKey = w.signedKey(public, control.Keystrokes)
	w.startHost()
	_, w.signing, _ = ed25519.GenerateKey(nil)
	cfg := recorder.Config{Dir: filepath.Join(w.dir, "recordings"), Signer: w.signing, FileSize: 4 << 20, LowSpace: -1}
	gateway := w.hostCertificate(w.gatewayCA, w.identity, "phi1", "phi1.example")
	w.b = &Bastion{
		Name: "bastion-1", UserCA: w.userCA.PublicKey(), HostCA: w.hostCA.PublicKey(), Auditors: func() []ssh.PublicKey { return []ssh.PublicKey{w.auditor.PublicKey()} },
		Log: slog.New(slog.NewTextHandler(w.log, nil)),
		// A disk or a host that is slow because many tests run has its time; the tests of time set their own.
		Limits: Limits{LoginGrace: patience, OpenTime: patience, DialTime: patience, FreezeTime: patience},
		Gateway: func(name string) (Gateway, bool) {
			return Gateway{Name: "phi1", Signer: gateway}, name == "phi1" || name == "phi1.example"
		},
		Progress: func(p control.Progress) {
			w.mu.Lock()
			w.progress = append(w.progress, p)
			w.mu.Unlock()
			if p.End != "" {
				w.ended <- p
			}
		},
		Open: func(_ context.Context, r control.OpenRequest) (*control.OpenReply, error) { return w.open(r, key) },
	}
	for _, change := range changes {
		change(w, &cfg)
	}
	store, err := recorder.OpenStore(cfg)
	if err != nil {
		t.Fatal(err)
	}
	w.b.Recorder = store
	w.b.Renew(Uptime(), time.Hour, time.Hour)
	w.serve()
	t.Cleanup(func() {
		w.door.Stop()
		if err := w.b.Close(patience); err != nil {
			t.Error(err)
		}
		w.door.Close()
		store.Close()
		if t.Failed() {
			t.Log(w.log.String())
		}
	})
	w.clientFiles()
	return w
}

// signedKey is a recording key as an auditor makes it.
func (w *world) signedKey(public recorder.PublicKey, purpose string) control.RecordingKey {
	key := control.RecordingKey{ID: public.ID(), Purpose: purpose, Month: "2026-11", Public: public.Marshal(), Auditor: "carol", AuditKey: line(w.auditor.PublicKey()), BoxSum: control.BoxSum([]byte("box"))}
	key.Signature = string(must(sshsig.Sign(w.auditor, control.RecordingKeyNamespace, []byte(key.Statement()))))
	return key
}

func (w *world) serve() {
	self := w.hostCertificate(w.gatewayCA, w.identity, "bastion-1")
	w.door = &door.Door{
		Version: Version, HostKeys: func() []ssh.Signer { return []ssh.Signer{self, w.identity} },
		Lookup: w.b.Lookup, Authorise: w.b.Authorise, Channel: w.b.Channel, Request: w.b.Request, Log: w.b.Log,
		Limits: door.Limits{LoginGrace: patience, RekeyBytes: w.b.Limits.RekeyBytes, Memory: w.memory},
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	w.address = l.Addr().String()
	go w.door.Serve(l)
}

// open is the CA.
func (w *world) open(r control.OpenRequest, key control.RecordingKey) (*control.OpenReply, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fault != nil {
		return nil, w.fault
	}
	parsed, _, _, _, err := ssh.ParseAuthorizedKey([]byte(r.SessionKey))
	if err != nil {
		return nil, err
	}
	w.sessions++
	w.serial++
	target := strings.Replace(r.Target, "phi1.example", "phi1", 1)
	cert := &ssh.Certificate{
		Key: parsed, CertType: ssh.UserCert, Serial: w.serial, KeyId: "alice R-1", ValidPrincipals: []string{target},
		ValidAfter: uint64(time.Now().Add(-time.Minute).Unix()), ValidBefore: uint64(time.Now().Add(2 * time.Minute).Unix()),
		Permissions: ssh.Permissions{
			CriticalOptions: map[string]string{"source-address": "127.0.0.1"},
			Extensions:      map[string]string{"permit-pty": "", "permit-port-forwarding": "", "permit-agent-forwarding": ""},
		},
	}
	if err := cert.SignCert(rand.Reader, w.sessionCA); err != nil {
		return nil, err
	}
	reply := &control.OpenReply{
		Session: control.Session{
			ID: fmt.Sprintf("S-%06d", w.sessions), Request: "R-1", Person: "alice", Target: target, Bastion: "bastion-1",
			Started: time.Now(), Deadline: time.Now().Add(20 * time.Minute),
		},
		Seq:         w.b.Seq(),
		Certificate: line(cert), Address: w.host, HostName: "phi1", RecordingKey: key,
		Capabilities: []string{"shell", "exec", "sftp-read", "sftp-write"}, Environment: []string{"LANG", "LC_*"},
	}
	if w.adjust != nil {
		w.adjust(reply)
	}
	w.opened <- *reply
	return reply, nil
}

func (w *world) hostCertificate(ca, key ssh.Signer, principals ...string) ssh.Signer {
	cert := &ssh.Certificate{
		Key: key.PublicKey(), CertType: ssh.HostCert, Serial: 1, KeyId: principals[0], ValidPrincipals: principals,
		ValidAfter: uint64(time.Now().Add(-time.Hour).Unix()), ValidBefore: uint64(time.Now().Add(time.Hour).Unix()),
	}
	if err := cert.SignCert(rand.Reader, ca); err != nil {
		w.t.Fatal(err)
	}
	return must(ssh.NewCertSigner(cert, key))
}

// answer changes what the CA answers from now on.
func (w *world) answer(adjust func(*control.OpenReply)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.adjust = adjust
}

func (w *world) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fault = err
}

// asked is how many sessions were opened at the CA.
func (w *world) asked() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.sessions
}

func (w *world) hostAt(address string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.host = address
}

// forget empties the bastion's revocation set.
func (w *world) forget() {
	w.b.revoked.mu.Lock()
	defer w.b.revoked.mu.Unlock()
	w.b.revoked.set, w.b.revoked.seq = nil, 0
}

// revoke numbers a revocation as the CA does, and tells the bastion.
func (w *world) revoke(r control.Revocation) {
	r.Seq = w.b.Seq() + 1
	w.b.Revoke(r)
}

// lapse takes the bastion's lease away.
func (w *world) lapse() {
	l := &w.b.lease
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent, l.admit, l.keep = 0, 0, 0
}

// certificate makes a good user certificate of alice's, then lets change spoil it, then signs it.
func (w *world) certificate(change func(*ssh.Certificate)) *ssh.Certificate {
	w.mu.Lock()
	w.serial++
	cert := &ssh.Certificate{
		Key: w.alice.PublicKey(), CertType: ssh.UserCert, Serial: w.serial, KeyId: "alice R-1",
		ValidPrincipals: []string{w.account + "@phi1"},
		ValidAfter:      uint64(time.Now().Add(-time.Minute).Unix()), ValidBefore: uint64(time.Now().Add(20 * time.Minute).Unix()),
		Permissions: ssh.Permissions{Extensions: map[string]string{"permit-pty": "", requestExtension: "R-1"}},
	}
	w.mu.Unlock()
	ca := w.userCA
	if change != nil {
		change(cert)
	}
	if cert.SignatureKey == nil {
		if err := cert.SignCert(rand.Reader, ca); err != nil {
			w.t.Fatal(err)
		}
	}
	return cert
}

// The home is the test's own: a shell that sshd starts reads .bashrc, and that of whoever runs the tests may do anything, for a minute.
const sshdConfig = `
HostKey %[1]s/host_key
HostCertificate %[1]s/host_key-cert.pub
TrustedUserCAKeys %[1]s/session_ca.pub
AuthorizedPrincipalsFile %[1]s/principals
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin yes
AcceptEnv LANG LC_* POSTERN_*
SetEnv HOME=%[1]s
Subsystem sftp internal-sftp
MaxSessions 100
LogLevel ERROR
`

// startHost is a real sshd in inetd mode: one process a connection, and the test owns the port.
func (w *world) startHost() {
	t := w.t
	sshd, err := exec.LookPath("/usr/sbin/sshd")
	if err != nil {
		t.Fatal("sshd is missing; install it with: apt-get install openssh-server")
	}
	if os.Getuid() == 0 {
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			t.Fatal(err)
		}
	}
	host := keptSigner(t, w.file("host_key"))
	cert := w.hostCertificate(w.hostCA, host, "phi1").PublicKey()
	w.write("host_key-cert.pub", line(cert)+"\n")
	w.write("session_ca.pub", line(w.sessionCA.PublicKey())+"\n")
	w.write("principals", w.account+"@phi1\n")
	w.write("sshd_config", fmt.Sprintf(sshdConfig, w.dir))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.hostAt(l.Addr().String())
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			f := must(c.(*net.TCPConn).File())
			c.Close()
			cmd := exec.Command(sshd, "-i", "-e", "-f", w.file("sshd_config"))
			cmd.Stdin, cmd.Stdout, cmd.Stderr = f, f, w.log
			if err := cmd.Start(); err != nil {
				fmt.Fprintln(w.log, "sshd:", err)
			}
			f.Close()
			go cmd.Wait()
		}
	}()
}

// keptSigner makes a key that files hold too, as ssh-keygen writes them.
func keptSigner(t testing.TB, path string) ssh.Signer {
	t.Helper()
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	signer := must(ssh.NewSignerFromKey(private))
	for name, text := range map[string][]byte{
		path:          pem.EncodeToMemory(must(ssh.MarshalPrivateKey(private, ""))),
		path + ".pub": []byte(line(signer.PublicKey()) + "\n"),
	} {
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return signer
}

func (w *world) file(name string) string { return filepath.Join(w.dir, name) }

func (w *world) write(name, text string) {
	w.t.Helper()
	if err := os.WriteFile(w.file(name), []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
}
