package bastion

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/internal/sshaudit"
	"postern/recorder"
)

// TestClientsWithAndWithoutCertificates: whoever trusts the gateway CA sees a certificate, whoever pinned the bastion's key sees that, on the
// outer connection and in the name of a host.
func TestClientsWithAndWithoutCertificates(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	authority := "@cert-authority * " + line(w.gatewayCA.PublicKey()) + "\n"
	pin := func(key ssh.PublicKey) string { return "bastion-1,phi1 " + line(key) + "\n" }
	for name, c := range map[string]struct {
		known, option string
		in            bool
		says          string
	}{
		"the CA":                        {authority, "", true, "Server host certificate: ssh-ed25519-cert-v01@openssh.com"},
		"the CA, and no plain keys":     {authority, "HostKeyAlgorithms=ssh-ed25519-cert-v01@openssh.com", true, "Server host certificate: ssh-ed25519-cert-v01@openssh.com"},
		"the CA and the key":            {authority + pin(w.identity.PublicKey()), "", true, "Server host certificate: ssh-ed25519-cert-v01@openssh.com"},
		"the key":                       {pin(w.identity.PublicKey()), "", true, ""},
		"the key, without certificates": {pin(w.identity.PublicKey()), "HostKeyAlgorithms=ssh-ed25519", true, "Server host key: ssh-ed25519 "},
		"another key":                   {pin(newSigner().PublicKey()), "", false, "verification failed"},
		"another CA":                    {"@cert-authority * " + line(newSigner().PublicKey()) + "\n", "", false, "verification failed"},
		"the CA, for plain keys only":   {authority, "HostKeyAlgorithms=ssh-ed25519", false, "verification failed"},
	} {
		w.write("known_hosts", c.known)
		for _, way := range ways {
			args := []string{"-v", way, "true"}
			if c.option != "" {
				// Options of the command line do not reach the connection around a jump.
				args = append([]string{"-o", c.option, "-o", "ProxyCommand=ssh -v -F " + w.file("ssh_config") + " -o " + c.option + " -W %h:%p bastion"}, args...)
				if way == "direct" {
					args = slices.Delete(args, 2, 4)
				}
			}
			got := w.run("", "ssh", args...)
			if in := got.status == 0; in != c.in || !strings.Contains(got.err, c.says) {
				t.Errorf("%s, %s: in %v, want %v and %q: %s", name, way, in, c.in, c.says, got.err)
			}
		}
	}
}

// TestOpenSSHEndsOnAESGCM, which it would not choose.
func TestOpenSSHEndsOnAESGCM(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for way, connections := range map[string]int{"direct": 1, "phi1": 2} {
		got := w.run("", "ssh", "-vvv", way, "true")
		if got.status != 0 {
			t.Fatalf("%s: %+v", way, got)
		}
		for _, line := range []string{"kex: server->client cipher: aes128-gcm@openssh.com", "kex: client->server cipher: aes128-gcm@openssh.com", "kex: algorithm: curve25519-sha256", "will use strict KEX ordering"} {
			if n := strings.Count(got.err, line); n != connections {
				t.Errorf("%s: %q stands there %d times, want %d", way, line, n, connections)
			}
		}
	}
	for _, way := range ways {
		if got := w.run("", "ssh", "-o", "Ciphers=chacha20-poly1305@openssh.com", way, "true"); way == "direct" && got.status == 0 {
			t.Error("chacha20 is offered")
		}
	}
}

// insideJump listens for connections and leads each into a jump of its own.
func (w *world) insideJump(host string) string {
	w.t.Helper()
	outer, _, err := w.dial("jump", w.certificate(nil))
	if err != nil {
		w.t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { l.Close(); outer.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			jump, err := outer.Dial("tcp", host+":22")
			if err != nil {
				c.Close()
				continue
			}
			splice(c, jump)
		}
	}()
	return l.Addr().String()
}

func TestSSHAuditFailsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, address := range map[string]string{"outside": w.address, "inside a jump": w.insideJump("phi1")} {
		r, err := sshaudit.Run(t.Context(), address)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, failure := range r.Failures {
			t.Errorf("%s: %s", name, failure)
		}
		if want := []string{"ssh-ed25519-cert-v01@openssh.com", "ssh-ed25519"}; !slices.Equal(r.HostKeys, want) {
			t.Errorf("%s: host keys %q, want %q", name, r.HostKeys, want)
		}
	}
}

// TestAJumpTellsNobodyWhichHostsThereAre: of what a certificate is not for, there are and are not hosts, and the answers are the same.
func TestAJumpTellsNobodyWhichHostsThereAre(t *testing.T) {
	w := newWorld(t, func(w *world, _ *recorder.Config) {
		signer := w.hostCertificate(w.gatewayCA, w.identity, "phi1", "phi2")
		w.b.Gateway = func(name string) (Gateway, bool) {
			switch name {
			case "phi1", "phi2":
				return Gateway{Name: name, Signer: signer}, true
			case "alias2":
				return Gateway{Name: "phi2", Signer: signer}, true
			}
			return Gateway{}, false
		}
	})
	client, _, err := w.dial("jump", w.certificate(nil))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	jump := func(host string, port uint32) string {
		_, _, err := client.OpenChannel("direct-tcpip", ssh.Marshal(struct {
			Host string
			Port uint32
			From string
			Old  uint32
		}{host, port, "127.0.0.1", 65535}))
		var no *ssh.OpenChannelError
		if !errors.As(err, &no) {
			t.Fatalf("%s: %v", host, err)
		}
		return fmt.Sprint(no.Reason, strings.ReplaceAll(no.Message, host, "HOST"))
	}
	outside := func(host string) string {
		_, banner, err := w.dial(w.account+"@"+host, w.certificate(nil))
		if err == nil {
			t.Fatalf("%s: got in", host)
		}
		return strings.ReplaceAll(banner, host, "HOST")
	}
	for _, port := range []uint32{22, 2222} {
		want := jump("phi9", port)
		for _, host := range []string{"phi2", "PHI2", "alias2", "nowhere.example", "127.0.0.1"} {
			if got := jump(host, port); got != want {
				t.Errorf("%s port %d: %q, a host that is not there: %q", host, port, got, want)
			}
		}
	}
	want := outside("phi9")
	for _, host := range []string{"phi2", "alias2", "nowhere.example"} {
		if got := outside(host); got != want {
			t.Errorf("%s: %q, a host that is not there: %q", host, got, want)
		}
	}
	// A busy machine may make one of them look slower for once. What the bastion does makes it slower each time.
	for round := 1; ; round++ {
		there, not := make([]time.Duration, 300), make([]time.Duration, 300)
		for i := range there {
			began := time.Now()
			jump("phi2", 22)
			middle := time.Now()
			jump("phi9", 22)
			there[i], not[i] = middle.Sub(began), time.Since(middle)
		}
		slices.Sort(there)
		slices.Sort(not)
		a, b := there[len(there)/2], not[len(not)/2]
		if max(a, b) <= 2*min(a, b)+100*time.Microsecond {
			return
		}
		if round == 5 {
			t.Fatalf("a host that is there is refused in %s, another in %s", a, b)
		}
	}
}

// TestRekeying in the middle of transfers, by the client's will and by the bastion's.
func TestRekeying(t *testing.T) {
	t.Parallel()
	const size = 6 << 20
	data := make([]byte, size)
	_, _ = rand.Read(data)
	sum := func(b []byte) string { s := sha256.Sum256(b); return hex.EncodeToString(s[:]) }
	for name, c := range map[string]struct {
		option    []string
		threshold uint64
	}{
		"by the client":  {[]string{"-o", "RekeyLimit=1M"}, 0},
		"by the bastion": {nil, 1 << 20},
	} {
		w := newWorld(t, func(w *world, _ *recorder.Config) { w.b.Limits.RekeyBytes = c.threshold })
		if err := os.WriteFile(w.file("data"), data, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, way := range ways {
			args := append(slices.Clone(c.option), "-v", way)
			got := w.run("", "ssh", append(args, "cat "+w.file("data"))...)
			if got.status != 0 || sum([]byte(got.out)) != sum(data) {
				t.Errorf("%s, %s: %d of %d bytes came, status %d: %s", name, way, len(got.out), size, got.status, last(got.err))
			}
			// The first keys are one exchange on the connection whose debugging this is.
			if n := strings.Count(got.err, "SSH2_MSG_NEWKEYS received"); n < 3 {
				t.Errorf("%s, %s: %d key exchanges on the way down", name, way, n)
			}
			cmd := w.command("ssh", append(args, "sha256sum")...)
			up := w.finish(cmd, bytes.NewReader(data))
			if up.status != 0 || !strings.HasPrefix(up.out, sum(data)) {
				t.Errorf("%s, %s: up: %q, status %d: %s", name, way, up.out, up.status, last(up.err))
			}
			if n := strings.Count(up.err, "SSH2_MSG_NEWKEYS received"); n < 3 {
				t.Errorf("%s, %s: %d key exchanges on the way up", name, way, n)
			}
		}
	}
}

func last(text string) string { return text[max(0, len(text)-500):] }

// splice joins two connections until one ends.
func splice(a, b net.Conn) {
	for _, pair := range [][2]net.Conn{{a, b}, {b, a}} {
		go func() {
			_, _ = io.Copy(pair[0], pair[1])
			pair[0].Close()
		}()
	}
}
