package web

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/ca/statement"
	"postern/internal/control"
	"postern/internal/sshsig"
	"postern/recorder"
	"postern/recorder/index"
)

// world has recordings of a real store, made in process, and what the CA would say of them.
type world struct {
	store   *recorder.Store
	private recorder.PrivateKey
	public  recorder.PublicKey
	bastion ed25519.PublicKey

	mu       sync.Mutex
	clock    time.Time
	sealed   map[string]recorder.Progress
	told     chan struct{} // closed and made anew when something was sealed
	sessions []control.Session
	requests map[string]control.Request
	views    []string // sessions that were opened, in order
	searched []string // by views of many
	spoilt   map[string]uint64
}

func newWorld(t testing.TB) *world {
	t.Helper()
	public, signer, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{bastion: public, sealed: map[string]recorder.Progress{}, told: make(chan struct{}), requests: map[string]control.Request{}, spoilt: map[string]uint64{}}
	w.private, w.public = recorder.NewKey()
	w.store, err = recorder.OpenStore(recorder.Config{Dir: t.TempDir(), Signer: signer, FileSize: 8 << 20, LowSpace: -1, Sealed: w.progress, Now: w.now,
		Index: indexer})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.store.Close() })
	return w
}

// indexer is that of a bastion, which lies about one session: of that it tells no files.
func indexer(h recorder.Header) func(uint64, []recorder.Frame) []byte {
	x := new(index.Indexer)
	if h.Session != liar {
		return x.Segment
	}
	return func(first uint64, frames []recorder.Frame) []byte {
		return x.Segment(first, slices.DeleteFunc(frames, func(f recorder.Frame) bool { return f.Type == recorder.TypeEvent }))
	}
}

const liar = "S-L1ARL1AR11"

func (w *world) progress(p recorder.Progress) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sealed[p.Session] = p
	close(w.told)
	w.told = make(chan struct{})
}

// now is as late as the recording that is made.
func (w *world) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.clock
}

func (w *world) later(t time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.clock = t
}

// until waits for what was sealed of a session.
func (w *world) until(id string, good func(recorder.Progress) bool) recorder.Progress {
	for {
		w.mu.Lock()
		p, told := w.sealed[id], w.told
		w.mu.Unlock()
		if good(p) {
			return p
		}
		<-told
	}
}

// config serves the world.
func (w *world) config() Config {
	return Config{
		Who: "carol", Reason: "INC-4412: who restored the database, and what left it",
		Sessions: func(context.Context) ([]control.Session, error) { return w.sessions, nil },
		Request: func(_ context.Context, id string) (control.Request, error) {
			r, ok := w.requests[id]
			if !ok {
				return r, fmt.Errorf("there is no request %s", id)
			}
			return r, nil
		},
		Requests: func(context.Context) ([]control.Request, error) { return slices.Collect(maps.Values(w.requests)), nil },
		Open:     w.open,
		Search: func(_ context.Context, ids []string) (Recordings, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.searched = append(w.searched, ids...)
			return Recordings{Close: func() error { return nil }, Open: func(ctx context.Context, id string) (*recorder.Archive, error) {
				return recorder.OpenArchive(ctx, stored{w, id}, w.private, w.bastion)
			}}, nil
		},
	}
}

func (w *world) open(ctx context.Context, id string) (*recorder.Archive, error) {
	w.mu.Lock()
	w.views = append(w.views, id)
	w.mu.Unlock()
	return recorder.OpenArchive(ctx, stored{w, id}, w.private, w.bastion)
}

func (w *world) opened() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string(nil), w.views...)
}

// stored is a recording as the bastion that keeps it gives it away.
type stored struct {
	*world
	id string
}

func (s stored) Outline(context.Context) (io.ReadCloser, error) {
	var out bytes.Buffer
	err := s.store.Outline(s.id, &out)
	return io.NopCloser(&out), err
}

func (s stored) Body(_ context.Context, segment uint64) ([]byte, error) {
	var out bytes.Buffer
	if err := s.store.Bodies(s.id, segment, 1, &out); err != nil {
		return nil, err
	}
	body := out.Bytes()[4:] // a string
	if n, bad := s.spoilt[s.id]; bad && n == segment {
		body[len(body)/2] ^= 1
	}
	return body, nil
}

// take is a session that is being recorded for a test: time passes as it is told to.
type take struct {
	t       testing.TB
	w       *world
	writer  *recorder.Writer
	session control.Session
	at      time.Duration
}

var monday = time.Date(2026, 11, 16, 9, 12, 7, 0, time.UTC)

func (w *world) record(t testing.TB, id, person, target string, started time.Time) *take {
	t.Helper()
	w.later(started)
	account, host, _ := strings.Cut(target, "@")
	writer, err := w.store.Create(recorder.Header{Session: id, Request: "R-" + id[2:], Person: person, Account: account, Host: host, Bastion: "bastion-1",
		Client: "192.0.2.17", Started: started}, w.public)
	if err != nil {
		t.Fatal(err)
	}
	return &take{t: t, w: w, writer: writer, session: control.Session{ID: id, Request: "R-" + id[2:], Person: person, Target: target, Bastion: "bastion-1",
		Client: "192.0.2.17", Started: started, Deadline: started.Add(30 * time.Minute), RecordingKey: w.public.ID()}}
}

func (k *take) add(f recorder.Frame) {
	k.t.Helper()
	f.At = max(k.at, time.Microsecond)
	if _, err := k.writer.Append(f); err != nil {
		k.t.Fatal(err)
	}
}

func (k *take) wait(d time.Duration) *take { k.at += d; return k }

func (k *take) request(channel uint32, name string, payload any) {
	r := recorder.Request{Name: name}
	if payload != nil {
		r.Payload = ssh.Marshal(payload)
	}
	k.add(recorder.Frame{Type: recorder.TypeRequest, Channel: channel, Data: r.Marshal()})
}

func (k *take) channel(number uint32) {
	k.add(recorder.Frame{Type: recorder.TypeOpen, Channel: number, Data: recorder.OpenChannel{Kind: "session"}.Marshal()})
}

// terminal opens a shell.
func (k *take) terminal(channel, columns, rows uint32) {
	k.channel(channel)
	k.request(channel, "pty-req", struct {
		Term                         string
		Columns, Rows, Width, Height uint32
		Modes                        string
	}{"xterm-256color", columns, rows, 0, 0, ""})
	k.request(channel, "shell", nil)
}

func (k *take) exec(channel uint32, command string) {
	k.channel(channel)
	k.request(channel, "exec", struct{ Text string }{command})
}

func (k *take) print(channel uint32, text string) {
	k.add(recorder.Frame{Type: recorder.TypeData, Channel: channel, Stream: recorder.Stdout, Data: []byte(text)})
}

func (k *take) complain(channel uint32, text string) {
	k.add(recorder.Frame{Type: recorder.TypeData, Channel: channel, Stream: recorder.Stderr, Data: []byte(text)})
}

const prompt = "\x1b[?2004h\x1b[1;32mpostgres@ehr-db-1\x1b[0m:\x1b[1;34m~\x1b[0m$ "

// type types a command at a prompt, letter by letter, and shows what it prints.
func (k *take) typed(channel uint32, command, output string) {
	k.print(channel, prompt)
	k.wait(900 * time.Millisecond)
	for _, letter := range command {
		k.print(channel, string(letter))
		k.wait(70 * time.Millisecond)
	}
	k.wait(300*time.Millisecond).print(channel, "\r\n\x1b[?2004l")
	k.wait(120 * time.Millisecond)
	for line := range strings.Lines(output) {
		k.print(channel, strings.ReplaceAll(line, "\n", "\r\n"))
		k.wait(4 * time.Millisecond)
	}
}

func (k *take) event(channel uint32, name string, v any) {
	f := recorder.EventFrame(name, v)
	f.Channel = channel
	k.add(f)
}

func (k *take) note(text string) {
	k.add(recorder.Frame{Type: recorder.TypeNote, Channel: recorder.Global, Data: []byte(text)})
}

func (k *take) exit(channel, status uint32) {
	k.add(recorder.Frame{Type: recorder.TypeExit, Channel: channel, Data: recorder.Exit{Status: status}.Marshal()})
}

// end seals the recording and has the CA know of it.
func (k *take) end(reason string) control.Session {
	k.t.Helper()
	k.w.later(k.session.Started.Add(k.at))
	if err := k.writer.Close(reason); err != nil {
		k.t.Fatal(err)
	}
	p := k.w.until(k.session.ID, func(p recorder.Progress) bool { return p.Sealed })
	s := k.session
	s.Ended, s.End = s.Started.Add(k.at), reason
	s.Sealed, s.Frames, s.Segments = true, p.Frames, p.Segments
	s.Head, s.SealedHead = hex.EncodeToString(p.Head[:]), hex.EncodeToString(p.SealedHead[:])
	k.w.sessions = append(k.w.sessions, s)
	return s
}

// asked makes the request of a session, approved by somebody with a key of their own.
func (w *world) asked(t testing.TB, s control.Session, reason string, approvers ...string) {
	t.Helper()
	r := control.Request{ID: s.Request, State: control.Ended, Person: s.Person, Key: "SHA256:0000000000000000000000000000000000000000000", Targets: []string{s.Target},
		Capabilities: []string{"exec", "sftp-read", "sftp-write", "shell"}, Reason: reason, ForSeconds: 1800, Rules: []string{"dba-on-ehr"},
		Policy: "sha256:5b1f0a2c6f3e4d7a9b8c1d2e3f405162738495a6b7c8d9e0f1a2b3c4d5e6f708", Needs: []control.Need{{Count: max(1, len(approvers)), Group: "privacy", Have: approvers}},
		Created: s.Started.Add(-6 * time.Minute), ClaimBy: s.Started.Add(time.Hour), NotAfter: s.Started.Add(time.Hour), Began: s.Started, Ends: s.Started.Add(30 * time.Minute), Nonce: "8c1d2e3f40516273"}
	r.Digest = statement.Digest(r)
	for _, person := range approvers {
		_, private, err := ed25519.GenerateKey(nil)
		if err != nil {
			t.Fatal(err)
		}
		signer, err := ssh.NewSignerFromKey(private)
		if err != nil {
			t.Fatal(err)
		}
		text := statement.About(r, "ca.example", control.Approve, person, "").Text()
		signature, err := sshsig.Sign(signer, control.Namespace, []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		r.Votes = append(r.Votes, control.Vote{Decision: control.Approve, Person: person, Key: ssh.FingerprintSHA256(signer.PublicKey()),
			Public: string(ssh.MarshalAuthorizedKey(signer.PublicKey())), At: s.Started.Add(-3 * time.Minute), Statement: text, Signature: string(signature)})
	}
	w.requests[r.ID] = r
}

// running is a server of the world.
func (w *world) serve(t testing.TB, change func(*Config)) (link string) {
	t.Helper()
	config := w.config()
	if change != nil {
		change(&config)
	}
	server, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	links, ended := make(chan string, 1), make(chan error, 1)
	go func() { ended <- server.Serve(ctx, func(link string) { links <- link }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return <-links
}
