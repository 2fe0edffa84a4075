package sftp

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"postern/bastion/meter"
	"postern/recorder"
)

// relayVariable makes this test binary a program that real clients start in place of sftp-server: it relays to the real one through a
// decoder and leaves a trace.
const relayVariable = "POSTERN_TEST_SFTP_RELAY"

func TestMain(m *testing.M) {
	if config := os.Getenv(relayVariable); config != "" {
		if err := relay(config); err != nil {
			fmt.Fprintln(os.Stderr, "relay:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

type relayConfig struct {
	Config
	Chunk  int    // bytes read at a time
	Trace  string // file
	Server string
}

// trace is a conversation and what the decoder made of it.
type trace struct {
	User, Host     []byte // what the two said
	ToHost, ToUser []byte // what reached them
	Order          []turn
	Frames         []recorder.Frame
	Err            string
}

// turn is how many bytes of which side came next.
type turn struct {
	Host bool
	N    int
}

// relayed is a relay of one conversation. The lock covers the decoder and the order in which the client reads.
type relayed struct {
	sync.Mutex
	d     *Decoder
	log   meter.Log
	trace trace
	user  io.Writer
	host  io.WriteCloser
}

func relay(text string) error {
	var c relayConfig
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return err
	}
	server := exec.Command(c.Server)
	in, err := server.StdinPipe()
	if err != nil {
		return err
	}
	out, err := server.StdoutPipe()
	if err != nil {
		return err
	}
	if err := server.Start(); err != nil {
		return err
	}
	r := &relayed{user: os.Stdout, host: in}
	r.d = New(c.Config, &r.log)
	go func() {
		defer in.Close()
		r.pump(ahead(os.Stdin), c.Chunk, r.fromUser)
	}()
	r.pump(out, c.Chunk, r.fromHost)
	_ = server.Wait()
	return r.leave(c.Trace)
}

// ahead reads as much as there is, whoever takes it: paramiko reads no answer while it waits to be rid of a request.
func ahead(from io.Reader) io.Reader {
	var mu sync.Mutex
	var held bytes.Buffer
	var end error
	more := sync.NewCond(&mu)
	go func() {
		buf := make([]byte, 64<<10)
		for end == nil {
			n, err := from.Read(buf)
			mu.Lock()
			held.Write(buf[:n])
			end = err
			more.Signal()
			mu.Unlock()
		}
	}()
	return reader(func(p []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		for held.Len() == 0 {
			if end != nil {
				return 0, end
			}
			more.Wait()
		}
		return held.Read(p)
	})
}

type reader func([]byte) (int, error)

func (r reader) Read(p []byte) (int, error) { return r(p) }

func (r *relayed) pump(from io.Reader, chunk int, take func([]byte) error) {
	buf := make([]byte, chunk)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			if e := take(buf[:n]); e != nil {
				r.host.Close()
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (r *relayed) fromUser(b []byte) error {
	r.Lock()
	step, err := r.d.Client(nil, b)
	r.trace.User = append(r.trace.User, b...)
	r.trace.ToHost = append(r.trace.ToHost, step.Forward...)
	r.trace.ToUser = append(r.trace.ToUser, step.Answer...)
	r.note(false, len(b), err)
	if len(step.Answer) > 0 {
		_, _ = r.user.Write(step.Answer)
	}
	r.Unlock() // the host may not read before it is read
	if len(step.Forward) > 0 {
		_, werr := r.host.Write(step.Forward)
		err = errors.Join(err, werr)
	}
	return err
}

func (r *relayed) fromHost(b []byte) error {
	r.Lock()
	defer r.Unlock()
	step, err := r.d.Host(nil, b)
	r.trace.Host = append(r.trace.Host, b...)
	r.trace.ToUser = append(r.trace.ToUser, step.Forward...)
	r.note(true, len(b), err)
	_, werr := r.user.Write(step.Forward)
	return errors.Join(err, werr)
}

func (r *relayed) note(host bool, n int, err error) {
	if k := len(r.trace.Order) - 1; k >= 0 && r.trace.Order[k].Host == host {
		r.trace.Order[k].N += n
	} else {
		r.trace.Order = append(r.trace.Order, turn{host, n})
	}
	if err != nil && r.trace.Err == "" {
		r.trace.Err = err.Error()
	}
	for _, f := range r.log.Frames() {
		f.Data = bytes.Clone(f.Data)
		r.trace.Frames = append(r.trace.Frames, f)
	}
	r.log.Reset()
}

func (r *relayed) leave(file string) error {
	r.Lock()
	defer r.Unlock()
	r.d.Close()
	r.note(false, 0, nil)
	var b bytes.Buffer
	if err := gob.NewEncoder(&b).Encode(r.trace); err != nil {
		return err
	}
	return os.WriteFile(file, b.Bytes(), 0o600)
}

// program makes the relay the server of a command: sets its environment and returns the path of the relay.
func program(t testing.TB, cmd *exec.Cmd, c relayConfig) {
	t.Helper()
	c.Server = server(t)
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	cmd.Env = append(os.Environ(), relayVariable+"="+string(text))
}

func self(t testing.TB) string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return exe
}

func server(t testing.TB) string {
	t.Helper()
	for _, file := range []string{"/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server", "/usr/lib/ssh/sftp-server", "/usr/libexec/sftp-server"} {
		if _, err := os.Stat(file); err == nil {
			return file
		}
	}
	t.Fatal("no sftp-server here; install it with: apt-get install openssh-sftp-server")
	return ""
}

// openssh runs the real sftp with commands through a decoder. failed says whether sftp did.
func openssh(t testing.TB, c relayConfig, dir, commands string) (tr trace, output string, failed bool) {
	t.Helper()
	state := t.TempDir()
	batch := filepath.Join(state, "batch")
	if err := os.WriteFile(batch, []byte(commands), 0o600); err != nil {
		t.Fatal(err)
	}
	if c.Chunk == 0 {
		c.Chunk = 32 << 10
	}
	c.Trace = filepath.Join(state, "trace")
	cmd := exec.Command("sftp", "-b", batch, "-D", self(t))
	cmd.Dir = dir
	program(t, cmd, c)
	out, err := cmd.CombinedOutput()
	return readTrace(t, c.Trace), string(out), err != nil
}

func readTrace(t testing.TB, file string) (tr trace) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := gob.NewDecoder(bytes.NewReader(b)).Decode(&tr); err != nil {
		t.Fatal(err)
	}
	return tr
}

// faithful checks that nothing was changed, and that the record holds all of it.
func (tr trace) faithful(t testing.TB) {
	t.Helper()
	if tr.Err != "" {
		t.Fatal(tr.Err)
	}
	if !bytes.Equal(tr.User, tr.ToHost) {
		t.Error("the host got other bytes than the client sent")
	}
	if !bytes.Equal(tr.Host, tr.ToUser) {
		t.Error("the client got other bytes than the host sent")
	}
	tr.recorded(t)
}

// recorded checks that the record, with contents in full, is what the client sent and what it got.
func (tr trace) recorded(t testing.TB) {
	t.Helper()
	user, missing := replayed(t, tr.Frames, recorder.Stdin)
	if missing == 0 && !bytes.Equal(user, tr.User) {
		t.Error("the record of the client is not what it sent")
	}
	host, hidden := replayed(t, tr.Frames, recorder.Stdout)
	if hidden != 0 || !bytes.Equal(host, tr.ToUser) {
		t.Error("the record of the host is not what the client got")
	}
}

func (tr trace) files(t testing.TB) []recorder.File {
	return events[recorder.File](t, tr.Frames, recorder.EventFile)
}

func (tr trace) operations(t testing.TB) []recorder.Operation {
	return events[recorder.Operation](t, tr.Frames, recorder.EventOperation)
}
