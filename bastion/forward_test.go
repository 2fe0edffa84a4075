package bastion

import (
	"bytes"
	"encoding/json"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/internal/control"
	"postern/recorder"
)

// events are those of one name, by channel.
func events[T any](t *testing.T, frames []recorder.Frame, name string) (list []T) {
	t.Helper()
	for _, f := range frames {
		e, err := f.Event()
		if err != nil || e.Name != name {
			continue
		}
		var v T
		if err := json.Unmarshal(e.JSON, &v); err != nil {
			t.Fatal(err)
		}
		list = append(list, v)
	}
	return list
}

// echo is a service that sends back what it gets, in capitals.
func echo(t *testing.T, network, address string) net.Listener {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				b, _ := io.ReadAll(c)
				_, _ = c.Write(bytes.ToUpper(b))
			}()
		}
	}()
	return l
}

func grantForwards(w *world, destinations ...string) {
	w.answer(func(r *control.OpenReply) {
		r.Capabilities = []string{"exec", "shell", "forward-local", "forward-remote", "x11", "agent"}
		r.Destinations = destinations
		r.Record = control.Record{Files: "head", Streams: -1, Forwards: 1000}
	})
}

func TestForwardsLeadWhereTheGrantSays(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	service, other := echo(t, "tcp", "127.0.0.1:0"), echo(t, "tcp", "127.0.0.1:0")
	socket := echo(t, "unix", w.file("service.sock"))
	_, port, _ := net.SplitHostPort(service.Addr().String())
	grantForwards(w, service.Addr().String(), socket.Addr().String())
	for _, way := range ways {
		got := w.run(strings.Repeat("x", 5000), "ssh", "-W", service.Addr().String(), way)
		if got.out != strings.Repeat("X", 5000) {
			t.Errorf("%s: %d bytes came back, %s", way, len(got.out), got.err)
		}
		frames := w.recording(w.ending().Session)
		told := events[recorder.Forward](t, frames, recorder.EventForward)
		if len(told) != 2 || told[0].Ended || !told[1].Ended || told[1].To != service.Addr().String() || told[1].Sent != 5000 || told[1].Received != 5000 || told[1].Seconds <= 0 {
			t.Errorf("%s: told %+v", way, told)
		}
		if kept := stream(frames, recorder.Stdin); len(kept) != 1000 {
			t.Errorf("%s: %d bytes are kept", way, len(kept))
		}
		streams := events[recorder.Stream](t, frames, recorder.EventStream)
		if len(streams) != 2 || streams[0].Bytes != 5000 || streams[0].Kept != 1000 || streams[0].SHA256 == "" {
			t.Errorf("%s: %+v", way, streams)
		}
	}
	client, _, err := w.dial(w.account+"@phi1", w.certificate(nil))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	// The addresses of the service, written as a resolver would take them.
	for _, where := range []string{other.Addr().String(), "localhost:" + port, "127.1:" + port, "2130706433:" + port, "0x7f000001:" + port, "0:" + port, "[::ffff:127.0.0.1]:22",
		"169.254.169.254:80", "[fe80::1]:" + port, "[::]:" + port, "127.0.0.1:22", "example.org:443"} {
		if _, err := client.Dial("tcp", where); err == nil || !strings.Contains(err.Error(), "does not include forward-local") {
			t.Errorf("%s: %v", where, err)
		}
	}
	if c, err := client.Dial("unix", w.file("service.sock")); err != nil {
		t.Errorf("the socket: %v", err)
	} else {
		c.Close()
	}
	for _, where := range []string{w.file("other.sock"), w.dir + "/x/../service.sock", "/run/docker.sock", "service.sock"} {
		if _, err := client.Dial("unix", where); err == nil {
			t.Errorf("socket %s", where)
		}
	}
	for _, malformed := range [][]byte{nil, {0}, ssh.Marshal(struct {
		H string
		P uint32
		F string
		O uint32
	}{"127.0.0.1", 65536 + 22, "", 0})} {
		if _, _, err := client.OpenChannel("direct-tcpip", malformed); err == nil {
			t.Errorf("payload %x", malformed)
		}
	}
	client.Close()
	told := events[recorder.Forward](t, w.recording(w.ending().Session), recorder.EventForward)
	denied := 0
	for _, f := range told {
		if f.Denied && f.Why != "" {
			denied++
		}
	}
	if denied != 12+4+3 {
		t.Errorf("%d refusals are recorded: %+v", denied, told)
	}
}

// Both directions end on their own, and neither takes the other with it.
func TestAForwardHalfCloses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	grantForwards(w, l.Addr().String())
	client, _, err := w.dial(w.account+"@phi1", w.certificate(nil))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	c, err := client.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	served, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	_ = served.(*net.TCPConn).CloseWrite()
	if _, err := c.Read(make([]byte, 1)); err != io.EOF {
		t.Fatalf("the service's end came as %v", err)
	}
	big := bytes.Repeat([]byte("late"), 1<<18)
	go func() {
		_, _ = c.Write(big)
		_ = c.(interface{ CloseWrite() error }).CloseWrite()
	}()
	got, err := io.ReadAll(served)
	if err != nil || !bytes.Equal(got, big) {
		t.Errorf("%d bytes after the other direction ended, %v", len(got), err)
	}
}

func TestNoMoreSessions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	client, _, err := w.dial(w.account+"@phi1", w.certificate(nil))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, _, err := client.SendRequest("no-more-sessions@openssh.com", false, nil); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		ch, _, err := client.OpenChannel("session", nil)
		if err != nil && strings.Contains(err.Error(), "no more sessions") {
			return
		}
		if err == nil {
			ch.Close()
		}
	}
	t.Error("there are more")
}

// agentOf starts a real ssh-agent that holds one new key.
func agentOf(t *testing.T) (socket, fingerprint string) {
	t.Helper()
	dir := t.TempDir()
	socket = filepath.Join(dir, "agent")
	cmd := exec.Command("ssh-agent", "-D", "-a", socket)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	key := keptSigner(t, filepath.Join(dir, "key"))
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		add := exec.Command("ssh-add", "-q", filepath.Join(dir, "key"))
		add.Env = append(os.Environ(), "SSH_AUTH_SOCK="+socket)
		if add.Run() == nil {
			return socket, ssh.FingerprintSHA256(key.PublicKey())
		}
		if time.Now().After(end) {
			t.Fatal("ssh-agent does not answer")
		}
	}
}

// The agent lists its keys and signs for the host, and nothing the host says changes it.
func TestAForwardedAgentIsGuarded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	grantForwards(w)
	socket, key := agentOf(t)
	for _, way := range ways {
		got := w.run("", "ssh", "-o", "IdentityAgent="+socket, "-o", "ForwardAgent="+socket, way, "ssh-add -l; ssh-add -D; ssh-add -l; ssh-add -x </dev/null")
		if strings.Count(got.out, key) != 2 {
			t.Errorf("%s: %+v", way, got)
		}
		frames := w.recording(w.ending().Session)
		var lists, denied int
		for _, e := range events[recorder.AgentUse](t, frames, recorder.EventAgent) {
			if e.Request == "list" && e.OK {
				lists++
			}
			if e.Denied {
				denied++
			}
		}
		if lists != 2 || denied == 0 {
			t.Errorf("%s: %d lists, %d refusals are recorded", way, lists, denied)
		}
	}
	grantOnly(w, "exec")
	if got := w.run("", "ssh", "-o", "ForwardAgent="+socket, "direct", "ssh-add -l"); strings.Contains(got.out, key) {
		t.Errorf("without a grant: %+v", got)
	}
}
