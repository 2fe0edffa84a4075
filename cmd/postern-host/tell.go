package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"
)

const (
	// tellTime bounds how long a login waits for this program to remember it. It goes on without: what it leaves running is not ended then.
	tellTime = time.Second
	maxTold  = 4 << 10
	// atOnce is how many tell at one time; others wait in the kernel's queue.
	atOnce = 64
)

// toldLogin is what "postern-host principals" says of a login.
type toldLogin struct {
	Serial uint64 `json:"serial"`
	Signer string `json:"signer"` // fingerprint of the CA
	Opened bool   `json:"opened"` // the session is open; the others say nothing
}

// tell is the half of sshd's AuthorizedPrincipalsCommand. The other half is in the agent, which sees by itself which process of sshd started
// us, and answers when it remembers the login.
func tell(socket string, login toldLogin) error {
	deadline := time.Now().Add(tellTime)
	conn, err := net.DialTimeout("unix", socket, tellTime)
	for starting(err) && time.Now().Before(deadline) {
		time.Sleep(20 * time.Millisecond)
		conn, err = net.DialTimeout("unix", socket, tellTime)
	}
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(deadline)
	// Who is not believed may have been answered before they had said it.
	said := json.NewEncoder(conn).Encode(login)
	var answer string
	if err := json.NewDecoder(conn).Decode(&answer); err != nil {
		return errors.Join(said, err)
	}
	if answer != "" {
		return errors.New(answer)
	}
	return nil
}

// starting says whether nobody listens, because the agent is being started anew perhaps, or so many wait already that the kernel takes no more.
func starting(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.EAGAIN)
}

// listener takes what sshd's processes tell of logins.
type listener struct {
	*net.UnixListener
	logins *logins
	signer string // fingerprint of the session CA
	limit  chan struct{}
}

func (l *logins) listen(path string, signer ssh.PublicKey) (*listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	// Made under another name, so that nobody connects before its mode is right. Its way is through a directory of ours.
	temporary := filepath.Join(filepath.Dir(path), "."+filepath.Base(path))
	os.Remove(temporary)
	socket, err := net.ListenUnix("unix", &net.UnixAddr{Name: temporary})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	socket.SetUnlinkOnClose(false)
	if err := errors.Join(os.Chmod(temporary, 0o600), os.Rename(temporary, path)); err != nil {
		socket.Close()
		return nil, err
	}
	return &listener{socket, l, ssh.FingerprintSHA256(signer), make(chan struct{}, atOnce)}, nil
}

// serve answers until the listener is closed.
func (l *listener) serve() {
	for {
		conn, err := l.AcceptUnix()
		if err != nil {
			return
		}
		l.limit <- struct{}{}
		go func() {
			defer func() { <-l.limit }()
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(2 * tellTime))
			answer := ""
			if err := l.take(conn); err != nil {
				l.logins.log.Error("a login cannot be followed; what it leaves running is not ended when it is revoked", "error", err)
				answer = err.Error()
			}
			json.NewEncoder(conn).Encode(answer)
		}()
	}
}

// take believes sshd, which is root's, and this program's own user, as whom sshd runs the command: nobody else may connect. Which login it is
// nobody says: it is that of the sshd which started who speaks.
func (l *listener) take(conn *net.UnixConn) error {
	peer, err := credentials(conn)
	if err != nil {
		return err
	}
	var told toldLogin
	if err := json.NewDecoder(io.LimitReader(conn, maxTold)).Decode(&told); err != nil {
		return err
	}
	if peer.Uid != 0 && int(peer.Uid) != os.Getuid() {
		return fmt.Errorf("user %d is neither root nor ours; sshd_config must say: AuthorizedPrincipalsCommandUser postern-host", peer.Uid)
	}
	if told.Opened {
		return l.opened(int(peer.Pid))
	}
	if told.Signer != l.signer {
		return fmt.Errorf("the certificate is signed by %.60q and not by the session CA", told.Signer)
	}
	speaker, err := l.logins.proc.Look(int(peer.Pid))
	if err != nil {
		return err
	}
	return l.logins.told(speaker.Parent, told.Serial)
}

// opened looks at once at a login whose session sshd has just opened.
func (l *listener) opened(speaker int) error {
	process, err := l.logins.proc.Look(speaker)
	if err != nil {
		return err
	}
	sshd, err := l.logins.proc.Look(process.Parent)
	if err != nil {
		return err
	}
	l.logins.mu.Lock()
	defer l.logins.mu.Unlock()
	if known := l.logins.known[sshd.ID]; known != nil {
		l.logins.look(known)
	}
	return nil
}

func credentials(conn *net.UnixConn) (peer *unix.Ucred, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	var inner error
	err = raw.Control(func(fd uintptr) { peer, inner = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	return peer, errors.Join(err, inner)
}
