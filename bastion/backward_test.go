package bastion

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"postern/recorder"
)

// A client that asks for a remote forward and runs a command that uses it must find it there.
func TestTheHostReachesBackWhereItWasAskedTo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	service := echo(t, "tcp", "127.0.0.1:0")
	grantForwards(w)
	for _, way := range ways {
		port := freePort(t)
		command := fmt.Sprintf("exec 3<>/dev/tcp/127.0.0.1/%d; printf hello >&3; exec 3>&-; sleep 2", port)
		// A client whose command is done leaves, and would not be there any more when the connection comes.
		got := w.run("", "ssh", "-o", "ExitOnForwardFailure=yes", "-R", fmt.Sprintf("%d:%s", port, service.Addr()), way, "bash", "-c", "'"+command+"'")
		if got.status != 0 {
			t.Errorf("%s: %+v", way, got)
		}
		frames := w.recording(w.ending().Session)
		told := events[recorder.Forward](t, frames, recorder.EventForward)
		listens := events[recorder.Listen](t, frames, recorder.EventListen)
		if len(listens) == 0 || !listens[0].OK || listens[0].Address != fmt.Sprintf("localhost:%d", port) {
			t.Errorf("%s: listening %+v", way, listens)
		}
		if len(told) != 2 || told[1].Kind != "forwarded-tcpip" || told[1].Received != 5 || told[1].Sent != 5 {
			t.Errorf("%s: told %+v", way, told)
		}
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func TestTheHostListensOnItsLoopbackOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	grantForwards(w)
	client, _, err := w.dial(w.account+"@phi1", w.certificate(nil))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	listen := func(address string, port uint32) bool {
		ok, _, err := client.SendRequest("tcpip-forward", true, ssh.Marshal(struct {
			A string
			P uint32
		}{address, port}))
		return ok && err == nil
	}
	for _, address := range []string{"", "0.0.0.0", "::", "*", "192.0.2.1", "127.1", "::ffff:0.0.0.0"} {
		if listen(address, 0) {
			t.Errorf("it listens on %q", address)
		}
	}
	for _, address := range []string{"localhost", "127.0.0.1"} {
		if !listen(address, 0) {
			t.Errorf("it does not listen on %q", address)
		}
	}
	if listen("localhost", 65536+22) {
		t.Error("it listens on port 65558")
	}
	if ok, _, _ := client.SendRequest("streamlocal-forward@openssh.com", true, ssh.Marshal(struct{ P string }{"relative"})); ok {
		t.Error("it listens on a relative path")
	}
	for range 2 * mostListening {
		if !listen("localhost", 0) {
			return
		}
	}
	t.Error("there is no bound")
}

// What the client did not ask for, or has taken back, the host cannot open.
func TestTheHostReachesBackNowhereElse(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	grantForwards(w)
	tries := make(chan string)
	answers := make(chan error)
	reachingHost(w, tries, answers)
	client, _, err := w.dial(w.account+"@phi1", w.certificate(nil))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	got := client.HandleChannelOpen("forwarded-tcpip")
	try := func(kind string) error { tries <- kind; return <-answers }
	go func() {
		for ch := range got {
			c, reqs, _ := ch.Accept()
			go ssh.DiscardRequests(reqs)
			c.Close()
		}
	}()
	payload := ssh.Marshal(struct {
		A string
		P uint32
	}{"localhost", 4711})
	for _, kind := range []string{"forwarded-tcpip", "x11", "auth-agent@openssh.com", "forwarded-streamlocal@openssh.com", "session", "direct-tcpip"} {
		if err := try(kind); err == nil || !strings.Contains(err.Error(), "not granted") {
			t.Errorf("%s before it was asked: %v", kind, err)
		}
	}
	if ok, _, err := client.SendRequest("tcpip-forward", true, payload); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if err := try("forwarded-tcpip"); err != nil {
		t.Errorf("as asked: %v", err)
	}
	if ok, _, err := client.SendRequest("cancel-tcpip-forward", true, payload); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if err := try("forwarded-tcpip"); err == nil {
		t.Error("after it was taken back")
	}
	if err := try("x11"); err == nil {
		t.Error("x11 after a forward")
	}
}

// reachingHost is a host that opens channels on demand, as if it listened on localhost:4711.
func reachingHost(w *world, tries <-chan string, answers chan<- error) {
	config := &ssh.ServerConfig{PublicKeyCallback: func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) { return nil, nil }}
	config.AddHostKey(w.hostCertificate(w.hostCA, newSigner(), "phi1"))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { l.Close() })
	w.hostAt(l.Addr().String())
	payload := ssh.Marshal(struct {
		A string
		P uint32
		O string
		Q uint32
	}{"localhost", 4711, "127.0.0.1", 5})
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		conn, chans, reqs, err := ssh.NewServerConn(c, config)
		if err != nil {
			return
		}
		go func() {
			for r := range reqs {
				_ = r.Reply(true, nil)
			}
		}()
		go func() {
			for ch := range chans {
				_ = ch.Reject(ssh.Prohibited, "")
			}
		}()
		for kind := range tries {
			ch, reqs, err := conn.OpenChannel(kind, payload)
			if err == nil {
				go ssh.DiscardRequests(reqs)
				ch.Close()
			}
			answers <- err
		}
	}()
}

// A display's payload is keystrokes and screens: counted and hashed, not kept.
func TestADisplayIsCounted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	grantForwards(w)
	config := &ssh.ServerConfig{PublicKeyCallback: func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) { return nil, nil }}
	config.AddHostKey(w.hostCertificate(w.hostCA, newSigner(), "phi1"))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	w.hostAt(l.Addr().String())
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		conn, chans, reqs, err := ssh.NewServerConn(c, config)
		if err != nil {
			return
		}
		go ssh.DiscardRequests(reqs)
		for ch := range chans {
			_, reqs, _ := ch.Accept()
			for r := range reqs {
				_ = r.Reply(true, nil)
				display, reqs, err := conn.OpenChannel("x11", ssh.Marshal(struct {
					From string
					Port uint32
				}{"127.0.0.1", 6010}))
				if err == nil {
					go ssh.DiscardRequests(reqs)
					_, _ = display.Write([]byte("a screen"))
					_ = display.CloseWrite()
				}
			}
		}
	}()
	client, ch, _ := w.session(t)
	displays := client.HandleChannelOpen("x11")
	if ok, err := ch.SendRequest("x11-req", true, nil); !ok || err != nil {
		t.Fatal(ok, err)
	}
	display, reqs, err := (<-displays).Accept()
	if err != nil {
		t.Fatal(err)
	}
	go ssh.DiscardRequests(reqs)
	_, _ = display.Write([]byte("keys"))
	if b, err := io.ReadAll(display); err != nil || string(b) != "a screen" {
		t.Errorf("%q, %v", b, err)
	}
	display.Close()
	client.Close()
	frames := w.recording(w.ending().Session)
	told := events[recorder.Forward](t, frames, recorder.EventForward)
	if len(told) != 2 || told[1].Kind != "x11" || told[1].Received != 8 {
		t.Errorf("%+v", told)
	}
	for _, f := range frames {
		if f.Type == recorder.TypeData && len(f.Data) > 0 {
			t.Errorf("kept %q", f.Data)
		}
	}
}
