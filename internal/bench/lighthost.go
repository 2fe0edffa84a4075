package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"
)

// hostKind is what stands behind the bastions. A thousand sshd processes that end cost a second of processor time, which elsewhere are other
// machines'; here they share two processors with what is measured. So there are two kinds, and what is printed says which.
type hostKind struct {
	name  string
	says  string
	light bool
	cmd   *exec.Cmd
	in    io.WriteCloser
	out   *json.Decoder
}

func hostsOf(names string) (list []*hostKind) {
	for _, k := range []*hostKind{
		{name: "light", light: true, says: "one light SSH server in Go, a process of its own (nice 19): no sshd processes that end beside what is measured"},
		{name: "sshd", says: "OpenSSH's sshd on this machine (nice 19): each session's processes end beside what is measured"},
	} {
		if strings.Contains(","+names+",", ","+k.name+",") {
			list = append(list, k)
		}
	}
	return list
}

const lowest = 19

func (h *hostKind) begin(r *rig) error {
	for _, name := range []string{"phi1", "phi2", "host-phi1", "host-phi2"} {
		if err := niced(r.lab.PIDs[name]); err != nil {
			return fmt.Errorf("nice %s: %w", name, err)
		}
	}
	if !h.light {
		return nil
	}
	if err := r.lab.Kill("phi1"); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	h.cmd = exec.Command(self, "-light-host", r.lab.Addresses["phi1"], "-lab", r.lab.Dir, "-account", r.lab.Account)
	h.cmd.Stderr = os.Stderr
	if h.in, err = h.cmd.StdinPipe(); err != nil {
		return err
	}
	out, err := h.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	h.out = json.NewDecoder(out)
	if err := h.cmd.Start(); err != nil {
		return err
	}
	_, err = h.ask()
	return err
}

// niced puts a process and its threads last in the queue for the processors; what it starts inherits that.
func niced(pid int) error {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
	for _, t := range threads {
		id, _ := strconv.Atoi(filepath.Base(t))
		err = errors.Join(err, syscall.Setpriority(syscall.PRIO_PROCESS, id, lowest))
	}
	return err
}

func (h *hostKind) end(r *rig) error {
	if !h.light {
		return nil
	}
	h.in.Close()
	return errors.Join(h.cmd.Wait(), r.lab.Start("phi1"))
}

// ask takes what the light host saw since it was asked last: when each program was told to end.
func (h *hostKind) ask() (kills []time.Time, err error) {
	if _, err := fmt.Fprintln(h.in); err != nil {
		return nil, err
	}
	return kills, h.out.Decode(&kills)
}

func (h *hostKind) forget() {
	if h.light {
		_, _ = h.ask()
	}
}

// kills waits until n programs were told to end. With sshd the receipts have to do.
func (h *hostKind) kills(began time.Time, n int) (took []time.Duration, err error) {
	if !h.light {
		return nil, nil
	}
	for end := time.Now().Add(cutTime); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		kills, err := h.ask()
		if err != nil {
			return nil, err
		}
		for _, at := range kills {
			took = append(took, at.Sub(began))
		}
		if len(took) >= n {
			return took, nil
		}
	}
	return nil, fmt.Errorf("%d of %d programs were told to end", len(took), n)
}

// lightHost is phi1 without processes: it has its key and its certificate, takes the session CA's certificates for the account, and what runs there
// waits for its signal.
type lightHost struct {
	config *ssh.ServerConfig
	mu     sync.Mutex
	kills  []time.Time
}

func serveLightHost(address, dir, account string) error {
	if err := niced(os.Getpid()); err != nil {
		return err
	}
	h := &lightHost{}
	if err := h.configure(dir, account); err != nil {
		return err
	}
	// The address is free again in a moment: the sshd that had it was killed.
	var l net.Listener
	var err error
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if l, err = net.Listen("tcp", address); err == nil {
			break
		}
	}
	if err != nil {
		return err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go h.serve(c)
		}
	}()
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		h.mu.Lock()
		kills := append([]time.Time{}, h.kills...)
		h.kills = nil
		h.mu.Unlock()
		if err := json.NewEncoder(os.Stdout).Encode(kills); err != nil {
			return err
		}
	}
	return nil
}

func (h *lightHost) configure(dir, account string) error {
	key, err := readSigner(filepath.Join(dir, "phi1", "ssh_host_ed25519_key"))
	if err != nil {
		return err
	}
	cert, err := readCertificate(filepath.Join(dir, "phi1", "ssh_host_ed25519_key-cert.pub"))
	if err != nil {
		return err
	}
	signer, err := ssh.NewCertSigner(cert, key)
	if err != nil {
		return err
	}
	b, err := os.ReadFile(filepath.Join(dir, "trust", "session_ca.pub"))
	if err != nil {
		return err
	}
	authority, _, _, _, err := ssh.ParseAuthorizedKey(b)
	if err != nil {
		return err
	}
	checker := &ssh.CertChecker{SupportedCriticalOptions: []string{"source-address"}, IsUserAuthority: func(k ssh.PublicKey) bool { return string(k.Marshal()) == string(authority.Marshal()) }}
	h.config = &ssh.ServerConfig{PublicKeyCallback: func(conn ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		cert, ok := key.(*ssh.Certificate)
		if !ok || conn.User() != account || cert.CertType != ssh.UserCert || !checker.IsUserAuthority(cert.SignatureKey) {
			return nil, errors.New("only certificates of the session CA")
		}
		return &cert.Permissions, checker.CheckCert(account+"@phi1", cert)
	}}
	h.config.AddHostKey(signer)
	return nil
}

func (h *lightHost) serve(c net.Conn) {
	defer c.Close()
	_, chans, reqs, err := ssh.NewServerConn(c, h.config)
	if err != nil {
		fmt.Fprintln(os.Stderr, "light host:", err)
		return
	}
	go ssh.DiscardRequests(reqs)
	for ch := range chans {
		channel, reqs, err := ch.Accept()
		if err != nil {
			return
		}
		go h.program(channel, reqs)
	}
}

func (h *lightHost) program(ch ssh.Channel, reqs <-chan *ssh.Request) {
	defer ch.Close()
	for req := range reqs {
		_ = req.Reply(req.Type == "exec", nil)
		switch req.Type {
		case "exec":
			_, _ = io.WriteString(ch, "live\n")
		case "signal":
			h.mu.Lock()
			h.kills = append(h.kills, time.Now())
			h.mu.Unlock()
			return
		}
	}
}
