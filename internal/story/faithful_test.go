package story

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"
)

// TestAsAtTheHost does the same with a real sshd, directly and through the bastion. What a client sees must be equal.
func TestAsAtTheHost(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	if err := p.Start("direct"); err != nil {
		t.Fatal(err)
	}
	ways := p.ways("phi1", p.Addresses["direct"])
	clients := map[string]*ssh.Client{}
	for _, w := range ways {
		clients[w.name] = w.dial()
	}
	for _, o := range observations {
		t.Run(strings.ReplaceAll(o.name, " ", "-"), func(t *testing.T) {
			compare(t, ways, func(w way) (string, error) { return o.observe(clients[w.name]) })
		})
	}
}

// compare makes the same observation on every way at once.
func compare(t *testing.T, ways []way, observe func(way) (string, error)) {
	t.Helper()
	saw := make([]string, len(ways))
	var all sync.WaitGroup
	for i, w := range ways {
		all.Go(func() {
			var err error
			if saw[i], err = observe(w); err != nil {
				t.Errorf("%s: %v", w.name, err)
			}
		})
	}
	all.Wait()
	t.Logf("%s", saw[0])
	for i, w := range ways[1:] {
		if saw[i+1] != saw[0] {
			t.Errorf("%s:\n%s\ndirect:\n%s", w.name, saw[i+1], saw[0])
		}
	}
}

type observation struct {
	name    string
	observe func(*ssh.Client) (string, error)
}

// says is an observation of one command.
func says(name, stdin string, requests ...request) observation {
	return observation{name, func(c *ssh.Client) (string, error) { return run(c, stdin, requests...) }}
}

var signals = []string{"ABRT", "ALRM", "FPE", "HUP", "ILL", "INT", "KILL", "PIPE", "QUIT", "SEGV", "TERM", "USR1", "USR2", "BUS", "FOO", "INFO@openssh.com"}

var observations = []observation{
	{"every exit status", everyStatus},
	{"killed by every signal", killed},
	{"every signal sent", signalled},

	says("streams apart", "", command(`for i in $(seq 2000); do echo out $i; echo err $i >&2; done; exit 4`)),
	says("input to its end", strings.Repeat("line\n", 50000), command("cat; echo after; wc -c; exit 5")),
	says("input that nobody reads", strings.Repeat("line\n", 1000), command("exec <&-; echo done")),
	says("thousands of small writes", "", command(`i=0; while [ $i -lt 5000 ]; do printf .; i=$((i+1)); done | dd bs=1 status=none`)),
	{"thousands of small writes to the host", smallWrites},
	{"the end of output before the end of input", endOfOutput},

	says("terminal modes", "", pty(33, 77, 0, 0, ""), command("stty -a")),
	says("odd terminal modes", "", pty(33, 77, 0, 0, oddModes), command("stty -a")),
	says("unknown terminal modes", "", pty(33, 77, 0, 0, "\x9f\x00\x00\x00\x01\x35\x00\x00\x00\x00\x00"), command("stty -a")),
	says("a terminal's kind", "", pty(33, 77, 0, 0, ""), command("echo $TERM; tty | tr -d 0-9")),
	says("a terminal's end of file", "typed\n\x04", pty(33, 77, 0, 0, ""), command("cat; exit 3")),
	{"a terminal's interrupt", interrupt},
	says("an absurd terminal", "", pty(0, 0xffffffff, 0xffffffff, 1, ""), command("stty size")),
	{"windows that change", windows},

	says("break without a terminal", "", request{"break", number(500)}, command("echo broken")),
	{"break", breaks},

	says("variables", "", variable("LC_POSTERN", "carried"), variable("LANG", "C"), variable("LD_PRELOAD", "/evil.so"), variable("PATH", "/evil"),
		variable("POSTERN", "no"), variable("LC_EMPTY", ""), command("echo [$LC_POSTERN] [$LANG] [$LD_PRELOAD] [$POSTERN] [${LC_EMPTY-unset}] $PATH")),
	says("agent", "", request{"auth-agent-req@openssh.com", nil}, command("echo [$SSH_AUTH_SOCK]")),
	says("display", "", request{"x11-req", ssh.Marshal(struct {
		Single        bool
		Protocol, Key string
		Screen        uint32
	}{false, "MIT-MAGIC-COOKIE-1", "00112233445566778899aabbccddeeff", 0})}, command("echo [$DISPLAY]")),
	says("unknown requests", "", request{"foo@example", []byte("payload")}, request{"", nil}, command("echo still here")),
	says("two commands", "", command("cat"), command("echo second"), request{"shell", nil}),
	says("sftp that ends at once", "", request{"subsystem", ssh.Marshal(struct{ S string }{"sftp"})}),
	{"no command", func(c *ssh.Client) (string, error) {
		s, err := open(c, variable("LC_POSTERN", "in vain"))
		if err != nil {
			return "", err
		}
		s.Close()
		return s.finish(), nil
	}},
	{"global requests", globals},
	{"unknown channels", unknownChannels},
	{"many channels", manyChannels},

	// The last one, because it ends the connection.
	says("a malformed terminal", "", request{"pty-req", []byte("\xff\xff\xff\xff")}, command("tty")),
}

// size prints the window's size, pixels included, and again at each change, until it is interrupted.
const size = `exec /usr/bin/python3 -uc '
import fcntl, signal, struct, sys, termios
awaited = {signal.SIGWINCH, signal.SIGINT}
signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
while True:
    print(*struct.unpack("4H", fcntl.ioctl(0, termios.TIOCGWINSZ, b"\0" * 8)))
    if signal.sigwait(awaited) == signal.SIGINT:
        sys.exit("interrupted")'`

// oddModes is what no terminal would have: no echo, no signals, another interrupt character, seven bits with parity, 9600 baud.
var oddModes = modes(map[uint8]uint32{
	ssh.ECHO: 0, ssh.ECHOE: 0, ssh.ICANON: 0, ssh.ISIG: 0, ssh.VINTR: 5, ssh.VERASE: 8, ssh.VEOF: 26, ssh.VSUSP: 255, ssh.OPOST: 1, ssh.ONLCR: 0,
	ssh.OCRNL: 1, ssh.IXON: 0, ssh.IXANY: 1, ssh.ISTRIP: 1, ssh.IGNCR: 1, ssh.CS7: 1, ssh.CS8: 0, ssh.PARENB: 1, ssh.PARODD: 1,
	ssh.TTY_OP_ISPEED: 9600, ssh.TTY_OP_OSPEED: 9600, ssh.TOSTOP: 1, ssh.NOFLSH: 1, 42: 1, // IUTF8
})

func modes(m map[uint8]uint32) string {
	var b strings.Builder
	for op := range 160 {
		if v, ok := m[uint8(op)]; ok {
			b.WriteByte(byte(op))
			b.Write(number(v))
		}
	}
	return b.String() + "\x00"
}

func number(n uint32) []byte { return ssh.Marshal(struct{ N uint32 }{n}) }

func pty(rows, columns, width, height uint32, modes string) request {
	return request{"pty-req", ssh.Marshal(struct {
		Term                         string
		Columns, Rows, Width, Height uint32
		Modes                        string
	}{"vt220", columns, rows, width, height, modes})}
}

func resize(rows, columns, width, height uint32) request {
	return request{"window-change", ssh.Marshal(struct{ Columns, Rows, Width, Height uint32 }{columns, rows, width, height})}
}

func everyStatus(c *ssh.Client) (string, error) {
	told := make([]string, 256)
	errs := make([]error, 8)
	var workers sync.WaitGroup
	for w := range errs {
		workers.Go(func() {
			for status := w; status < len(told) && errs[w] == nil; status += len(errs) {
				told[status], errs[w] = run(c, "", command(fmt.Sprintf("exit %d", status)))
			}
		})
	}
	workers.Wait()
	return strings.Join(told, "\n"), errors.Join(errs...)
}

// killed has a program die of each signal, with its core where it has one.
func killed(c *ssh.Client) (string, error) {
	var all strings.Builder
	for _, signal := range signals[:14] {
		told, err := run(c, "", command("ulimit -c 0; kill -"+signal+" $$; exit 1"))
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&all, "%s: %s\n", signal, told)
	}
	return all.String(), nil
}

// signalled sends each signal to a program that says which it got. sshd hands them on to a user it is not itself, and refuses root's.
func signalled(c *ssh.Client) (string, error) {
	var all strings.Builder
	for _, signal := range signals {
		s, err := open(c, command(`for s in HUP INT QUIT ALRM TERM USR1 USR2; do trap "echo got $s" $s; done; echo ready; read line; echo $line`))
		if err != nil {
			return "", err
		}
		if err := shows(s, "ready"); err != nil {
			return "", err
		}
		s.ask(request{"signal", ssh.Marshal(struct{ S string }{signal})})
		io.WriteString(s, "goodbye\n")
		fmt.Fprintf(&all, "%s: %s\n", signal, s.finish())
	}
	return all.String(), nil
}

func smallWrites(c *ssh.Client) (string, error) {
	s, err := open(c, command("cat"))
	if err != nil {
		return "", err
	}
	for i := range 5000 {
		if _, err := s.Write([]byte{byte('a' + i%26)}); err != nil {
			return "", err
		}
	}
	s.CloseWrite()
	return s.finish(), nil
}

// endOfOutput is a client that waits for the end of output before it ends its input, while the program goes on.
func endOfOutput(c *ssh.Client) (string, error) {
	s, err := open(c, command("echo out; exec >&- 2>&-; cat > /dev/null; exit 6"))
	if err != nil {
		return "", err
	}
	if err := s.wait(func() bool { return s.outEnded }); err != nil {
		return "", err
	}
	io.WriteString(s, "more input")
	s.CloseWrite()
	return s.finish(), nil
}

func windows(c *ssh.Client) (string, error) {
	s, err := open(c, pty(33, 77, 616, 429, ""), resize(34, 78, 701, 503), command(size))
	if err != nil {
		return "", err
	}
	for _, step := range []struct {
		shows string
		next  request
	}{
		{"34 78 701 503", resize(50, 132, 1000, 900)},
		{"50 132 1000 900", resize(1, 1, 1, 1)},
		{"1 1 1 1", resize(65535, 65535, 65535, 65535)},
	} {
		if err := shows(s, step.shows+"\r\n"); err != nil {
			return "", err
		}
		s.ask(step.next)
	}
	if err := shows(s, "65535 65535 65535 65535\r\n"); err != nil {
		return "", err
	}
	io.WriteString(s, "\x03")
	return s.finish(), nil
}

func interrupt(c *ssh.Client) (string, error) {
	s, err := open(c, pty(33, 77, 0, 0, ""), command("stty -echo; echo ready; exec cat"))
	if err != nil {
		return "", err
	}
	if err := shows(s, "ready"); err != nil {
		return "", err
	}
	io.WriteString(s, "\x03")
	return s.finish(), nil
}

func breaks(c *ssh.Client) (string, error) {
	s, err := open(c, pty(33, 77, 0, 0, ""), command(size))
	if err != nil {
		return "", err
	}
	if err := shows(s, "33 77 0 0\r\n"); err != nil {
		return "", err
	}
	s.ask(request{"break", number(500)})
	io.WriteString(s, "\x03")
	return s.finish(), nil
}

func globals(c *ssh.Client) (string, error) {
	var all strings.Builder
	for _, r := range []request{
		{"keepalive@openssh.com", nil}, {"foo@example", []byte("payload")}, {"", nil},
		{"tcpip-forward", ssh.Marshal(struct {
			Address string
			Port    uint32
		}{"127.0.0.1", 0})},
		{"cancel-tcpip-forward", ssh.Marshal(struct {
			Address string
			Port    uint32
		}{"127.0.0.1", 1})},
	} {
		ok, payload, err := c.SendRequest(r.name, true, r.payload)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&all, "%s: %v %x\n", r.name, ok, payload)
	}
	told, err := run(c, "", command("echo still here"))
	return all.String() + told, err
}

// unknownChannels compares that they are refused. The reasons differ: the bastion says what is not granted.
func unknownChannels(c *ssh.Client) (string, error) {
	var all strings.Builder
	for _, r := range []request{
		{"foo@example", nil}, {"", nil}, {"x11", []byte("x")}, {"forwarded-tcpip", nil}, {"auth-agent@openssh.com", nil},
		{"direct-tcpip", ssh.Marshal(struct {
			To       string
			Port     uint32
			From     string
			FromPort uint32
		}{"127.0.0.1", 22, "127.0.0.1", 1})},
	} {
		_, _, err := c.OpenChannel(r.name, r.payload)
		var no *ssh.OpenChannelError
		if !errors.As(err, &no) {
			return "", fmt.Errorf("channel %q: %v", r.name, err)
		}
		fmt.Fprintf(&all, "%s refused\n", r.name)
	}
	told, err := run(c, "", command("echo still here"))
	return all.String() + told, err
}

func manyChannels(c *ssh.Client) (string, error) {
	var scripts [20]*script
	var all strings.Builder
	for i := range scripts {
		var err error
		if scripts[i], err = open(c, command(fmt.Sprintf("cat; exit %d", i))); err != nil {
			return "", err
		}
	}
	for i, s := range scripts {
		fmt.Fprintf(s, "%d\n", i)
		if err := shows(s, fmt.Sprintf("%d\n", i)); err != nil {
			return "", err
		}
	}
	for _, s := range scripts {
		s.CloseWrite()
		fmt.Fprintln(&all, s.finish())
	}
	return all.String(), nil
}

// shows waits until the program has said something.
func shows(s *script, text string) error {
	if err := s.wait(func() bool { return strings.Contains(s.out.String(), text) }); err != nil {
		return fmt.Errorf("%q: %w", text, err)
	}
	return nil
}
