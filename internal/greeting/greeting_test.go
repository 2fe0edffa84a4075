package greeting

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/ssh"
)

// pipe is a connection that hears what is in r and keeps what is said.
type pipe struct {
	net.Conn
	r    io.Reader
	said bytes.Buffer
}

func (p *pipe) Read(b []byte) (int, error)  { return p.r.Read(b) }
func (p *pipe) Write(b []byte) (int, error) { return p.said.Write(b) }

func TestTheLibraryHearsEverythingAndSaysItOnce(t *testing.T) {
	const heard = "SSH-2.0-OpenSSH_9.2p1 Debian\r\n\x00\x00\x01\x02binary\nand more"
	for name, r := range map[string]io.Reader{
		"at once": strings.NewReader(heard), "byte by byte": iotest.OneByteReader(strings.NewReader(heard)), "with its end": iotest.DataErrReader(strings.NewReader(heard)),
	} {
		p := &pipe{r: r}
		client, after, err := Exchange(p, "SSH-2.0-postern")
		if err != nil || client != "SSH-2.0-OpenSSH_9.2p1 Debian" {
			t.Fatalf("%s: %q, %v", name, client, err)
		}
		if n, err := after.Write([]byte("SSH-2.0-postern\r\n")); n != 17 || err != nil {
			t.Errorf("%s: the library's line: %d, %v", name, n, err)
		}
		_, _ = after.Write([]byte("packet"))
		if said := p.said.String(); said != "SSH-2.0-postern\r\npacket" {
			t.Errorf("%s: said %q", name, said)
		}
		if again, err := io.ReadAll(after); string(again) != heard || err != nil {
			t.Errorf("%s: heard again %q, %v", name, again, err)
		}
	}
}

func TestAnotherFirstLineIsNotSwallowed(t *testing.T) {
	_, after, err := Exchange(&pipe{r: strings.NewReader("SSH-2.0-x\n")}, "SSH-2.0-postern")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := after.Write([]byte("SSH-2.0-Go\r\n")); err == nil {
		t.Error("the client would have heard two lines")
	}
}

func TestWhatIsNoClient(t *testing.T) {
	long := "SSH-2.0-" + strings.Repeat("x", 255)
	for _, first := range []string{
		"", "SSH-2.0-cut", "GET / HTTP/1.1\r\n", "\r\n", "\n", "SSH-1.5-old\n", "ssh-2.0-x\n", long, long + "\n", long[:254] + "\r\n" + "x",
		"SSH-2.0-\x1b[2J\r\n", "SSH-2.0-\x00\n", "SSH-2.0-\xff\n", "hello\r\nSSH-2.0-x\r\n", "SSH-2.0-x\r\r\n",
	} {
		if client, _, err := Exchange(&pipe{r: strings.NewReader(first)}, "SSH-2.0-postern"); err == nil {
			t.Errorf("%q is a client: %q", first, client)
		}
	}
	for _, first := range []string{"SSH-2.0-\n", "SSH-1.99-both\r\n", long[:253] + "\r\n", "SSH-2.0-a b c\n"} {
		if _, _, err := Exchange(&pipe{r: strings.NewReader(first)}, "SSH-2.0-postern"); err != nil {
			t.Errorf("%q: %v", first, err)
		}
	}
}

// TestFewPacketsAhead: what follows the client's keys is held back until authentication begins, but for what has to come before.
func TestFewPacketsAhead(t *testing.T) {
	clear := func(message byte, size int) []byte {
		return append([]byte{0, 0, 0, byte(2 + size), 4, message}, make([]byte, size)...)
	}
	before := slices.Concat([]byte("SSH-2.0-x\r\n"), clear(20, 200), clear(30, 32), clear(msgNewKeys, 10))
	follows := bytes.Repeat([]byte("sealed"), 1000)
	for name, r := range map[string]io.Reader{
		"at once": bytes.NewReader(append(bytes.Clone(before), follows...)), "byte by byte": iotest.OneByteReader(bytes.NewReader(append(bytes.Clone(before), follows...))),
	} {
		_, after, err := Exchange(&pipe{r: r}, "SSH-2.0-postern")
		if err != nil {
			t.Fatal(err)
		}
		first := make([]byte, len(before)+ahead)
		if _, err := io.ReadFull(after, first); err != nil || !bytes.Equal(first, append(bytes.Clone(before), follows[:ahead]...)) {
			t.Fatalf("%s: %v", name, err)
		}
		more := make(chan error)
		go func() {
			rest, err := io.ReadAll(after)
			if err == nil && !bytes.Equal(rest, follows[ahead:]) {
				err = errors.New("other bytes")
			}
			more <- err
		}()
		select {
		case err := <-more:
			t.Errorf("%s: more was read: %v", name, err)
		case <-time.After(20 * time.Millisecond):
		}
		after.Begun()
		after.Begun()
		if err := <-more; err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWhoNeverBeginsIsNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := slices.Concat([]byte("SSH-2.0-x\r\n\x00\x00\x00\x0c\x0a\x15"), make([]byte, 10), make([]byte, 2*ahead))
		_, after, err := Exchange(&pipe{r: bytes.NewReader(first)}, "SSH-2.0-postern")
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if _, err := io.ReadAll(after); err == nil || time.Since(began) != patience {
			t.Errorf("%v after %s", err, time.Since(began))
		}
	})
}

// TestTheLibraryIsAsItWas: Farewell reads a field of its. Should that go, there is nothing to do here, or something else.
func TestTheLibraryIsAsItWas(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, private, _ := ed25519.GenerateKey(nil)
	key, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	config := &ssh.ServerConfig{NoClientAuth: true}
	config.AddHostKey(key)
	client := make(chan ssh.Conn)
	go func() {
		defer close(client)
		c, err := ssh.Dial("tcp", l.Addr().String(), &ssh.ClientConfig{HostKeyCallback: ssh.InsecureIgnoreHostKey()})
		if err != nil {
			t.Error(err)
			return
		}
		client <- c.Conn
	}()
	there, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	server, _, _, err := ssh.NewServerConn(there, config)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]ssh.ConnMetadata{"server": server, "client": <-client} {
		if cap(unread(c)) != 16 {
			t.Errorf("%s: a queue of %d packets, not 16", name, cap(unread(c)))
		}
	}
	server.Close()
	Farewell(server)
}

// TestAClientThatWaits speaks only when spoken to.
func TestAClientThatWaits(t *testing.T) {
	here, there := net.Pipe()
	defer here.Close()
	go func() {
		line := make([]byte, len("SSH-2.0-postern\r\n"))
		if _, err := io.ReadFull(there, line); err == nil {
			_, _ = there.Write([]byte("SSH-2.0-patient\r\n"))
		}
	}()
	if client, _, err := Exchange(here, "SSH-2.0-postern"); client != "SSH-2.0-patient" || err != nil {
		t.Errorf("%q, %v", client, err)
	}
}

func FuzzNothingIsLost(f *testing.F) {
	for _, seed := range []string{"SSH-2.0-x\r\n", "SSH-2.0-\n\n", "SSH-1.99-a\r\nrest", "\nSSH-2.0-x\n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, first []byte) {
		client, after, err := Exchange(&pipe{r: bytes.NewReader(first)}, "SSH-2.0-postern")
		if err != nil {
			return
		}
		if heard, err := io.ReadAll(after); err != nil || !bytes.Equal(heard, first) {
			t.Fatalf("%q came, the library hears %q: %v", first, heard, err)
		}
		if line, _, ok := strings.Cut(string(first), "\n"); !ok || strings.TrimSuffix(line, "\r") != client || len(client) > 253 {
			t.Fatalf("%q is taken for the client %q", first, client)
		}
	})
}
