package algo

import (
	"io"
	"net"
	"slices"
	"testing"

	"golang.org/x/crypto/ssh"
)

// kexInit is RFC 4253, section 7.1.
type kexInit struct {
	Cookie                                                 [16]byte `sshtype:"20"`
	KeyExchanges, HostKeys                                 []string
	CiphersIn, CiphersOut, MACsIn, MACsOut                 []string
	CompressionIn, CompressionOut, LanguageIn, LanguageOut []string
	Follows                                                bool
	Reserved                                               uint32
}

// offer is what a server with that configuration puts on the wire for a client.
func offer(t *testing.T, c *ssh.ServerConfig) kexInit {
	t.Helper()
	here, there := net.Pipe()
	defer here.Close()
	go ssh.NewServerConn(there, c)
	go io.WriteString(here, "SSH-2.0-test\r\n")
	line := make([]byte, 0, 255)
	for b := make([]byte, 1); len(line) == 0 || line[len(line)-1] != '\n'; {
		if _, err := io.ReadFull(here, b); err != nil {
			t.Fatal(err)
		}
		line = append(line, b...)
	}
	head := make([]byte, 5)
	if _, err := io.ReadFull(here, head); err != nil {
		t.Fatal(err)
	}
	packet := make([]byte, int(head[2])<<8+int(head[3])-1)
	if _, err := io.ReadFull(here, packet); err != nil {
		t.Fatal(err)
	}
	var k kexInit
	if err := ssh.Unmarshal(packet[:len(packet)-int(head[4])], &k); err != nil {
		t.Fatal(err)
	}
	return k
}

func hostKeys(t *testing.T, keys ...ssh.Signer) []string {
	t.Helper()
	c := &ssh.ServerConfig{NoClientAuth: true}
	HardenFor(&c.Config, "")
	HostKeys(c, keys...)
	return offer(t, c).HostKeys
}

// TestOnTheWire looks at what the library makes of our lists: strict key exchange, and nothing that nobody put in.
func TestOnTheWire(t *testing.T) {
	for _, client := range []string{"SSH-2.0-OpenSSH_9.2", "SSH-2.0-PuTTY_Release_0.78"} {
		c := &ssh.ServerConfig{NoClientAuth: true}
		HardenFor(&c.Config, client)
		HostKeys(c, newSigner(t))
		k := offer(t, c)
		if !slices.Contains(k.KeyExchanges, "kex-strict-s-v00@openssh.com") {
			t.Errorf("%s: no strict key exchange in %q", client, k.KeyExchanges)
		}
		allowed := append(slices.Clone(sound), "kex-strict-s-v00@openssh.com", "none", ssh.KeyAlgoED25519)
		for _, a := range slices.Concat(k.KeyExchanges, k.HostKeys, k.CiphersIn, k.CiphersOut, k.MACsIn, k.MACsOut, k.CompressionIn) {
			if !slices.Contains(allowed, a) || a == "none" && !slices.Contains(k.CompressionIn, a) {
				t.Errorf("%s is offered %s", client, a)
			}
		}
		if !slices.Equal(k.CiphersIn, k.CiphersOut) || !slices.Equal(k.MACsIn, k.MACsOut) || slices.Contains(k.CiphersIn, "none") || slices.Contains(k.MACsIn, "none") {
			t.Errorf("%s: %+v", client, k)
		}
	}
}
