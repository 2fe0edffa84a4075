package notify

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/ca/auditlog"
	"postern/internal/control"
)

const secret = "0123456789abcdef0123456789abcdef"

// feed is a log that grows.
type feed struct {
	mu     sync.Mutex
	leaves []control.Leaf
	news   chan struct{}
}

func newFeed() *feed { return &feed{news: make(chan struct{})} }

func (f *feed) add(t *testing.T, e auditlog.Entry) {
	t.Helper()
	data, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.leaves = append(f.leaves, control.Leaf{Index: int64(len(f.leaves)), Data: data})
	close(f.news)
	f.news = make(chan struct{})
}

func (f *feed) follow(ctx context.Context, from int64, fn func([]control.Leaf) error) error {
	for {
		f.mu.Lock()
		some, news := f.leaves[from:], f.news
		f.mu.Unlock()
		if len(some) > 0 {
			if err := fn(some); err != nil {
				return err
			}
			from += int64(len(some))
		}
		select {
		case <-news:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (f *feed) size() (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return int64(len(f.leaves)), nil
}

func asked(id, reason string) auditlog.Entry {
	return auditlog.Entry{Type: auditlog.TypeRequest, Actor: "alice", At: time.Now(), Request: &control.Request{
		ID: id, Person: "alice", Targets: []string{"root@phi1"}, Reason: reason, ForSeconds: 900, Needs: []control.Need{{Count: 1, Group: "privacy"}},
	}}
}

// hooks writes a file of them and loads it.
func hooks(t *testing.T, text string) ([]Hook, error) {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{"hooks.json": text, "secret": secret, "short": "x"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "open"), []byte(secret), 0o644); err != nil {
		t.Fatal(err)
	}
	return Load(filepath.Join(dir, "hooks.json"))
}

// run starts a notifier; what it logs is in the buffer.
func run(t *testing.T, f *feed, dir, text string) (stop func(), logged *syncBuffer) {
	t.Helper()
	list, err := hooks(t, text)
	if err != nil {
		t.Fatal(err)
	}
	logged = new(syncBuffer)
	n := &Notifier{CA: "postern-ca", Dir: dir, Hooks: list, Follow: f.follow, Size: f.size, Log: slog.New(slog.NewTextHandler(logged, nil)), pause: time.Millisecond}
	for i := range list { // places are taken before Run returns to us
		if _, err := n.place(&list[i]); err != nil && !os.IsNotExist(err) {
			if err := os.MkdirAll(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			if _, err := n.place(&list[i]); err != nil {
				t.Fatal(err)
			}
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	stop = func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	return stop, logged
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}
func (s *syncBuffer) String() string { s.mu.Lock(); defer s.mu.Unlock(); return s.b.String() }

// got is a message as a receiver had it.
type got struct {
	Message
	raw       string
	signature string
}

// receiver answers as it is told to, and hands on what came.
func receiver(t *testing.T, answer func(n int) int) (*httptest.Server, chan got) {
	came := make(chan got, 100)
	n := 0
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		g := got{raw: string(body), signature: r.Header.Get("Postern-Signature")}
		_ = json.Unmarshal(body, &g.Message)
		n++
		came <- g
		w.WriteHeader(answer(n))
	}))
	t.Cleanup(s.Close)
	return s, came
}

func ok(int) int { return 204 }

func next(t *testing.T, c chan got) got {
	t.Helper()
	select {
	case g := <-c:
		return g
	case <-time.After(time.Minute):
		t.Fatal("nothing came")
		return got{}
	}
}

func TestAWebhookIsToldSignedInOrderAndOnce(t *testing.T) {
	f := newFeed()
	f.add(t, asked("R-PAST00", "before there was a hook"))
	s, came := receiver(t, func(n int) int { return map[bool]int{true: 500, false: 200}[n <= 2] })
	dir := filepath.Join(t.TempDir(), "notify")
	config := fmt.Sprintf(`{"hooks": [{"name": "chat", "url": %q, "secret": "secret"}]}`, s.URL)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	stop, _ := run(t, f, dir, config)
	f.add(t, asked("R-7K2M4Q", "INC-4412"))
	f.add(t, auditlog.Entry{Type: auditlog.TypeState, State: &auditlog.State{Request: "R-7K2M4Q", State: control.Approved, Why: "every approval is there"}})
	for range 3 { // twice it was not taken
		if g := next(t, came); g.ID != "postern-ca/1" || g.Event != "request.waiting" || g.Person != "alice" || g.Needs[0] != "1 of privacy" {
			t.Fatalf("%+v", g)
		}
	}
	g := next(t, came)
	if g.ID != "postern-ca/2" || g.Event != "request.approved" || g.Reason != "INC-4412" {
		t.Fatalf("%+v", g)
	}
	seconds, mac, _ := strings.Cut(strings.TrimPrefix(g.signature, "t="), ",v1=")
	h := hmac.New(sha256.New, []byte(secret))
	fmt.Fprintf(h, "%s.%s", seconds, g.raw)
	if mac != hex.EncodeToString(h.Sum(nil)) {
		t.Errorf("signature %s", g.signature)
	}
	for b := []byte(nil); string(b) != "3\n"; b, _ = os.ReadFile(filepath.Join(dir, "chat.next")) { // that it was taken is known here too
		time.Sleep(time.Millisecond)
	}
	stop()
	// What happens meanwhile is told afterwards, and nothing twice.
	f.add(t, asked("R-LATER0", "while it was away"))
	stop, _ = run(t, f, dir, config)
	defer stop()
	if g := next(t, came); g.ID != "postern-ca/3" {
		t.Errorf("%+v", g)
	}
}

// A message that a receiver will never take does not keep it from the next.
func TestAMessageThatIsRefusedHoldsUpNoOther(t *testing.T) {
	f := newFeed()
	s, came := receiver(t, func(n int) int {
		if n <= mostNo {
			return 400
		}
		return 200
	})
	stop, logged := run(t, f, t.TempDir(), fmt.Sprintf(`{"hooks": [{"name": "picky", "url": %q, "secret": "secret"}]}`, s.URL))
	f.add(t, asked("R-NOTTHIS", "x"))
	f.add(t, asked("R-BUTTHIS", "x"))
	for range mostNo {
		if g := next(t, came); g.Request != "R-NOTTHIS" {
			t.Fatalf("%+v", g)
		}
	}
	if g := next(t, came); g.Request != "R-BUTTHIS" {
		t.Fatalf("%+v", g)
	}
	stop()
	if !strings.Contains(logged.String(), "given up") {
		t.Errorf("the log does not say so:\n%s", logged)
	}
}

func TestASlowHookHoldsUpNoOther(t *testing.T) {
	f := newFeed()
	hang := make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-hang:
		case <-r.Context().Done():
		}
	}))
	defer slow.Close()
	defer close(hang)
	s, came := receiver(t, ok)
	dir := t.TempDir()
	stop, _ := run(t, f, dir, fmt.Sprintf(`{"hooks": [{"name": "slow", "url": %q, "secret": "secret"}, {"name": "quick", "url": %q, "secret": "secret", "events": ["request"]}]}`, slow.URL, s.URL))
	defer stop()
	for i := range 20 {
		f.add(t, auditlog.Entry{Type: auditlog.TypePolicy, Policy: &auditlog.Policy{Digest: "sha256:00"}}) // not wanted
		f.add(t, asked(fmt.Sprintf("R-%06d", i), "x"))
	}
	for i := range 20 {
		if g := next(t, came); g.Request != fmt.Sprintf("R-%06d", i) {
			t.Fatalf("%d: %+v", i, g)
		}
	}
}

// A receiver that sends us elsewhere gets our message nowhere else, and no secret is logged.
func TestRedirectsAndSecrets(t *testing.T) {
	f := newFeed()
	elsewhere, stolen := receiver(t, ok)
	tries := make(chan struct{}, 100)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
		tries <- struct{}{}
	}))
	defer s.Close()
	stop, logged := run(t, f, t.TempDir(), fmt.Sprintf(`{"hooks": [{"name": "moved", "url": "%s/services/T0KEN", "secret": "secret"},
		{"name": "gone", "url": "http://127.0.0.1:1/services/T0KEN", "form": "slack"}]}`, s.URL))
	f.add(t, asked("R-7K2M4Q", "x"))
	for range 3 {
		<-tries
	}
	stop()
	select {
	case g := <-stolen:
		t.Errorf("followed: %+v", g)
	default:
	}
	for _, word := range []string{"T0KEN", secret} {
		if strings.Contains(logged.String(), word) {
			t.Errorf("the log holds %s:\n%s", word, logged)
		}
	}
	if !strings.Contains(logged.String(), "it answered 307") {
		t.Errorf("the log does not say what is wrong:\n%s", logged)
	}
}

func TestSlackAndCommands(t *testing.T) {
	f := newFeed()
	s, came := receiver(t, ok)
	dir := t.TempDir()
	out := filepath.Join(dir, "out")
	stop, _ := run(t, f, dir, fmt.Sprintf(`{"hooks": [{"name": "slack", "url": %q, "form": "slack"},
		{"name": "pager", "command": ["/bin/sh", "-c", "cat >%s.new && env >>%s.new && mv %s.new %s"], "events": ["request.waiting"]}]}`, s.URL, out, out, out, out))
	defer stop()
	f.add(t, asked("R-7K2M4Q", "<!channel> & <https://evil.example|click>"))
	var text struct{ Text string }
	if err := json.Unmarshal([]byte(next(t, came).raw), &text); err != nil || strings.ContainsAny(text.Text, "<>") || !strings.Contains(text.Text, "&lt;!channel&gt; &amp;") {
		t.Errorf("%q, %v", text.Text, err)
	}
	for range 12_000 {
		if _, err := os.Stat(out); err == nil {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	data, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	line, env, _ := strings.Cut(string(data), "\n")
	var m Message
	if err := json.Unmarshal([]byte(line), &m); err != nil || m.Request != "R-7K2M4Q" {
		t.Errorf("%s: %v", line, err)
	}
	if strings.Contains(env, "HOME=") || !strings.Contains(env, "POSTERN_EVENT=request.waiting") {
		t.Errorf("environment:\n%s", env)
	}
}

func TestLoadRefuses(t *testing.T) {
	for text, says := range map[string]string{
		`{"hooks": [{"name": "A b", "url": "https://x", "secret": "secret"}]}`: "its name has",
		`{"hooks": [{"name": "a"}]}`:                                                                      "either a url or a command",
		`{"hooks": [{"name": "a", "url": "https://x", "command": ["x"]}]}`:                                "either a url or a command",
		`{"hooks": [{"name": "a", "url": "http://example.com", "secret": "secret"}]}`:                     "https://",
		`{"hooks": [{"name": "a", "url": "file:///etc/passwd", "secret": "secret"}]}`:                     "https://",
		`{"hooks": [{"name": "a", "url": "https://x"}]}`:                                                  "needs a secret",
		`{"hooks": [{"name": "a", "url": "https://x", "secret": "short"}]}`:                               "holds 1 bytes",
		`{"hooks": [{"name": "a", "url": "https://x", "secret": "open"}]}`:                                "chmod 600",
		`{"hooks": [{"name": "a", "url": "https://x", "secret": "nowhere"}]}`:                             "no such file",
		`{"hooks": [{"name": "a", "url": "https://x", "secret": "secret", "events": ["request.eaten"]}]}`: `no event "request.eaten" (events are: request.waiting`,
		`{"hooks": [{"name": "a", "url": "https://x", "secret": "secret", "form": "xml"}]}`:               `form "xml"`,
		`{"hooks": [{"name": "a", "command": ["x"], "form": "slack"}]}`:                                   "json form",
		`{"hooks": [{"name": "a", "command": ["x"]}, {"name": "a", "command": ["x"]}]}`:                   "two hooks",
		`{"hooks": [{"name": "a", "command": ["x"], "colour": "red"}]}`:                                   `unknown field "colour"`,
		`{"hooks": []} {}`: "follows",
	} {
		if _, err := hooks(t, text); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s\nwant %q, got %v", text, says, err)
		}
	}
	if list, err := hooks(t, `{"hooks": [{"name": "a", "url": "http://127.0.0.1:9/x", "secret": "secret", "events": ["request", "cut"]}]}`); err != nil || len(list) != 1 {
		t.Error(err)
	}
}

// Of the limits that are crossed those are told whose rules say so.
func TestLimitsAreTold(t *testing.T) {
	for action, want := range map[string]bool{"log": false, "warn": false, "notify": true, "hold": true, "revoke": true, "revoke-person": true} {
		m, told := (&teller{ca: "postern-ca"}).tell(7, auditlog.Entry{Type: auditlog.TypeRisk, Actor: "bastion-1", Risk: &control.Risk{
			Session: "S-1", Request: "R-1", Person: "alice", Bastion: "bastion-1", Limit: "denied 5 " + action, Count: 6, Action: action}})
		if told != want || told && (m.Event != "risk" || m.Text != "alice: limit denied 5 "+action+" was crossed in S-1 (6): "+action) {
			t.Errorf("%s: %v %+v", action, told, m)
		}
	}
}

// A CA that was restored from a backup has fewer leaves than a hook was told of: it hears of what comes all the same.
func TestAPlaceTheLogHasNotReached(t *testing.T) {
	dir, f := t.TempDir(), newFeed()
	f.add(t, asked("R-1", "one"))
	var logged bytes.Buffer
	n := &Notifier{Dir: dir, Size: f.size, Log: slog.New(slog.NewTextHandler(&logged, nil))}
	h := &Hook{Name: "chat"}
	if err := n.keep(h, 1000); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if from, err := n.place(h); err != nil || from != 1 {
			t.Errorf("it goes on with %d, %v", from, err)
		}
	}
	if strings.Count(logged.String(), "restored from a backup") != 1 {
		t.Errorf("logged once: %s", logged.String())
	}
}
