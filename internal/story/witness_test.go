package story

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"
)

// TestWhatTheHostHears puts a host in place of a real one that does what sshd rarely does, and writes down all that it is asked:
// directly and through the bastion it must hear the same, and the client must hear the same of it.
func TestWhatTheHostHears(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.replace()
	ways := p.ways("phi2", p.Addresses["phi2"])
	clients := map[string]*ssh.Client{}
	for _, way := range ways {
		clients[way.name] = way.dial()
	}
	for _, o := range performances {
		t.Run(strings.ReplaceAll(o.name, " ", "-"), func(t *testing.T) {
			compare(t, ways, func(w way) (string, error) { return o.observe(clients[w.name]) })
		})
	}
}

// performances are named after commands that the witness knows. It says at the end what it heard.
var performances = []observation{
	says("all kinds of requests", "input", variable("LC_ONE", "1"), variable("LC_TWO", "\x00\xff"), pty(1, 2, 3, 4, oddModes), resize(5, 6, 7, 8), command("tell")),
	says("a shell", "input", variable("LC_ONE", "1"), request{"shell", nil}),
	{"requests while it runs", func(c *ssh.Client) (string, error) {
		s, err := open(c, command("tell"))
		if err != nil {
			return "", err
		}
		for _, signal := range signals {
			// Clients ask for no answer to these, and they must come in their order all the same.
			s.SendRequest("signal", false, ssh.Marshal(struct{ S string }{signal}))
			s.SendRequest("window-change", false, resize(uint32(len(signal)), 0xffffffff, 0, 1).payload)
		}
		s.ask(request{"break", number(500)})
		s.ask(request{"break", number(0)})
		s.ask(request{"xon-xoff", []byte{1}})
		s.ask(request{"signal", []byte("malformed")})
		s.ask(variable("LC_LATE", "after the start"))
		s.ask(pty(1, 1, 1, 1, ""))
		s.CloseWrite()
		return s.finish(), nil
	}},
	says("refused and asked again", "input", command("refuse"), command("tell")),
	says("killed with a core", "", command("die")),
	says("no status", "", command("vanish")),
	says("a status before the output", "", command("late")),
	{"a status while the channel stays open", func(c *ssh.Client) (string, error) {
		s, err := open(c, command("linger"))
		if err != nil {
			return "", err
		}
		if err := s.wait(func() bool { return strings.Contains(s.heard.String(), "exit-status") }); err != nil {
			return "", err
		}
		io.WriteString(s, "input after the status")
		s.CloseWrite()
		return s.finish(), nil
	}},
	says("questions of the host", "input", command("ask")),
	says("streams that take turns", "", command("turns")),
}

// witness is a server that takes everybody, and says what it was asked.
type witness struct{ config *ssh.ServerConfig }

// replace puts a witness in the place of phi2.
func (p *place) replace() {
	p.t.Helper()
	if err := p.Kill("phi2"); err != nil {
		p.t.Fatal(err)
	}
	private, err := os.ReadFile(filepath.Join(p.Dir, "phi2", "ssh_host_ed25519_key"))
	if err != nil {
		p.t.Fatal(err)
	}
	key, err := ssh.ParsePrivateKey(private)
	if err != nil {
		p.t.Fatal(err)
	}
	l, err := net.Listen("tcp", p.Addresses["phi2"])
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { l.Close() })
	w := witness{&ssh.ServerConfig{PublicKeyCallback: func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) { return nil, nil }}}
	w.config.AddHostKey(key)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go w.serve(c)
		}
	}()
}

func (w witness) serve(c net.Conn) {
	conn, chans, reqs, err := ssh.NewServerConn(c, w.config)
	if err != nil {
		return
	}
	defer conn.Close()
	go ssh.DiscardRequests(reqs)
	for ch := range chans {
		channel, reqs, err := ch.Accept()
		if err != nil {
			return
		}
		go (&performance{Channel: channel}).attend(reqs)
	}
}

// performance is one channel of the witness.
type performance struct {
	ssh.Channel
	mu    sync.Mutex
	heard strings.Builder
}

func (p *performance) attend(reqs <-chan *ssh.Request) {
	for req := range reqs {
		p.note("%s %x", req.Type, req.Payload)
		begins := req.Type == "exec" || req.Type == "shell"
		name := "tell"
		if req.Type == "exec" {
			name = string(req.Payload[4:])
		}
		req.Reply(name != "refuse" && len(req.Payload) < 500, nil)
		if begins && name != "refuse" {
			go p.perform(name)
		}
	}
}

func (p *performance) note(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(&p.heard, format+"\n", args...)
}

func (p *performance) perform(name string) {
	switch name {
	case "ask":
		for _, r := range []request{{"known@example", []byte("payload")}, {"unknown@example", nil}, {"keepalive@openssh.com", nil}} {
			ok, err := p.SendRequest(r.name, true, r.payload)
			p.note("%s: %v %v", r.name, ok, err)
		}
		p.SendRequest("xon-xoff", false, []byte{1})
		p.tell()
	case "die":
		io.WriteString(p, "last words")
		p.exit("exit-signal", struct {
			Name    string
			Core    bool
			Message string
			Lang    string
		}{"SEGV", true, "übel", "de"})
	case "vanish":
		io.WriteString(p, "gone")
		p.Close()
	case "late":
		p.SendRequest("exit-status", false, number(3))
		io.WriteString(p, strings.Repeat("output after the status\n", 20000))
		p.Close()
	case "linger":
		p.SendRequest("exit-status", false, number(4))
		input, _ := io.ReadAll(p)
		p.Write(input)
		p.Close()
	case "turns":
		for i := range 1000 {
			fmt.Fprintf(p, "out %d\n", i)
			fmt.Fprintf(p.Stderr(), "err %d\n", i)
		}
		p.exit("exit-status", struct{ N uint32 }{5})
	default:
		p.tell()
	}
}

// tell reads to the end and says all that was heard.
func (p *performance) tell() {
	input, err := io.ReadAll(p)
	p.mu.Lock()
	fmt.Fprintf(p, "%sinput %q %v\n", p.heard.String(), input, err)
	p.mu.Unlock()
	p.exit("exit-status", struct{ N uint32 }{0})
}

func (p *performance) exit(kind string, how any) {
	p.SendRequest(kind, false, ssh.Marshal(how))
	p.CloseWrite()
	p.Close()
}
