package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"postern/internal/control"
	"postern/internal/lab"
)

// rig is a lab, two plain sshd beside it, and a client configuration that reaches them.
type rig struct {
	dir    string
	lab    *lab.Lab
	plain  []*exec.Cmd
	config string // ssh_config of alice, with one cipher for all and the plain sshd
}

// path is one way to the same account: options that ssh and scp both take, and the host.
type path struct {
	name    string
	options []string
	host    string
}

func (r *rig) paths() []path {
	f := []string{"-F", r.config}
	return []path{
		{"direct", f, "direct"},
		{"ssh -J sshd", append(f, "-J", "jump"), "direct"},
		{"postern -l", append(f, "-o", "User="+r.lab.Account+"@phi1"), "bastion-1"},
		{"postern -J", append(f, "-o", "User="+r.lab.Account), "phi1"},
	}
}

func newRig(dir string) (*rig, error) {
	l, err := lab.Up(labConfig(filepath.Join(dir, "lab")))
	if err != nil {
		return nil, err
	}
	r := &rig{dir: dir, lab: l, config: filepath.Join(dir, "ssh_config")}
	if err := r.startPlain(); err != nil {
		return r, err
	}
	if err := r.keepStreams(); err != nil {
		return r, err
	}
	if _, err := r.grant(30 * time.Minute); err != nil {
		return r, err
	}
	return r, r.warmUp()
}

// keepStreams has every byte of a command recorded. By default what comes after the first 16 MiB is hashed, which costs less, and a gigabyte
// would not be a gigabyte.
func (r *rig) keepStreams() error {
	file := filepath.Join(r.lab.Dir, "policy", "rules.cedar")
	rules, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	rules = bytes.ReplaceAll(rules, []byte("@max("), []byte("@streams(\"full\")\n@max("))
	if err := os.WriteFile(file, rules, 0o600); err != nil {
		return err
	}
	return r.lab.Reload()
}

// startPlain starts the sshd that is the direct target and the one that is a plain jump host.
func (r *rig) startPlain() error {
	var blocks strings.Builder
	blocks.WriteString("Ciphers aes128-gcm@openssh.com\nLogLevel ERROR\n")
	for _, name := range []string{"direct", "jump"} {
		address, err := r.startSSHD(name)
		if err != nil {
			return err
		}
		_, port, _ := net.SplitHostPort(address)
		fmt.Fprintf(&blocks, "Host %s\n    HostName 127.0.0.1\n    Port %s\n    User %s\n    IdentityFile %s\n    IdentitiesOnly yes\n    StrictHostKeyChecking no\n    UserKnownHostsFile /dev/null\n",
			name, port, r.lab.Account, filepath.Join(r.lab.Dir, "alice", "id_ed25519"))
	}
	theirs, err := os.ReadFile(filepath.Join(r.lab.Dir, "alice", "ssh_config"))
	if err != nil {
		return err
	}
	// What stands above the first Host of alice's file must stay there.
	head, rest, _ := strings.Cut(string(theirs), "Host ")
	return os.WriteFile(r.config, []byte(head+blocks.String()+"Host "+rest), 0o600)
}

func (r *rig) startSSHD(name string) (string, error) {
	key := filepath.Join(r.dir, name+"_key")
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key).CombinedOutput(); err != nil {
		return "", fmt.Errorf("ssh-keygen: %w: %s", err, out)
	}
	config := filepath.Join(r.dir, name+"_config")
	if err := lab.WriteSSHDConfig(config, "HostKey "+key, "AuthorizedKeysFile "+filepath.Join(r.lab.Dir, "alice", "id_ed25519.pub")); err != nil {
		return "", err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	address := ln.Addr().String()
	ln.Close()
	argv, err := lab.SSHD(config, ln.Addr().(*net.TCPAddr).Port)
	if err != nil {
		return "", err
	}
	log, err := os.Create(filepath.Join(r.dir, name+".log"))
	if err != nil {
		return "", err
	}
	defer log.Close()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return "", err
	}
	r.plain = append(r.plain, cmd)
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if conn, err := net.Dial("tcp", address); err == nil {
			return address, conn.Close()
		}
	}
	return "", fmt.Errorf("sshd %s did not come up; see %s", name, log.Name())
}

func (r *rig) close() {
	for _, cmd := range r.plain {
		cmd.Process.Kill()
		cmd.Wait()
	}
	if err := r.lab.Down(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
	}
}

// as runs a program of the lab as one of its people.
func (r *rig) as(person string, argv ...string) ([]byte, error) {
	cmd := exec.Command(filepath.Join(r.lab.Dir, "bin", argv[0]), argv[1:]...)
	cmd.Env = append(os.Environ(), r.lab.Env(person)...)
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = fmt.Errorf("%s as %s: %w: %s", strings.Join(argv, " "), person, err, exit.Stderr)
	}
	return out, err
}

// grant asks as alice for phi1, approves as bob and takes the certificate.
func (r *rig) grant(forTime time.Duration) (control.Request, error) {
	var request control.Request
	out, err := r.as("alice", "postern", "request", r.lab.Account+"@phi1", "--for", forTime.String(), "--reason", "measuring", "--json")
	if err == nil {
		err = json.Unmarshal(out, &request)
	}
	if err == nil {
		_, err = r.as("bob", "postern", "approve", request.ID, "--yes")
	}
	if err == nil {
		_, err = r.as("alice", "postern", "certificate", request.ID)
	}
	return request, err
}

const (
	settlePoll = 200 * time.Millisecond
	settleTime = 5 * time.Minute
)

// settle waits until every recording is sealed, and says how long that took.
func (r *rig) settle() (time.Duration, error) {
	began := time.Now()
	for time.Since(began) < settleTime {
		out, err := r.as("carol", "postern", "sessions", "--json")
		if err != nil {
			return 0, err
		}
		open := false
		for d := json.NewDecoder(bytes.NewReader(out)); !open; {
			var s control.Session
			if err := d.Decode(&s); errors.Is(err, io.EOF) {
				return time.Since(began), nil
			} else if err != nil {
				return 0, err
			}
			open = !s.Sealed
		}
		time.Sleep(settlePoll)
	}
	return 0, fmt.Errorf("recordings were not sealed in %s", settleTime)
}

// ssh is one ssh process of alice.
func (r *rig) ssh(ctx context.Context, p path, words ...string) *exec.Cmd {
	return r.client(ctx, "ssh", append(append(slices.Clone(p.options), p.host), words...)...)
}

func (r *rig) client(ctx context.Context, program string, argv ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, argv...)
	cmd.Env = append(os.Environ(), r.lab.Env("alice")...)
	cmd.Stderr = os.Stderr
	return cmd
}

func (r *rig) warmUp() error {
	for _, p := range r.paths() {
		if err := r.ssh(context.Background(), p, "true").Run(); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return nil
}
