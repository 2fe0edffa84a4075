// Package notify tells people and programs what happens at the CA, as it happens: webhooks and commands, fed by the audit log.
//
// Start with [Load] and [Notifier.Run]. Each hook has its own place in the log, kept in a file, so that a restart or a receiver that is away loses nothing and
// one slow hook holds up no other. A message may come twice, with the same ID; docs/operations.md says what is in one and how to check its signature.
package notify

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"postern/ca/auditlog"
	"postern/internal/control"
	"postern/internal/durable"
)

const (
	answerTime = 15 * time.Second // for a receiver
	firstPause = time.Second
	longPause  = 5 * time.Minute
	patience   = 24 * time.Hour // after which a message that nobody takes is given up
	mostNo     = 5              // answers that say no to this one message, before the next has its turn
	mostAnswer = 64 << 10
)

// Notifier follows the log for the hooks.
type Notifier struct {
	CA    string // name
	Dir   string // where each hook's place is kept
	Hooks []Hook

	// Follow calls fn with the leaves from an index on, and with those that come, until ctx ends or fn returns an error.
	Follow func(ctx context.Context, from int64, fn func([]control.Leaf) error) error
	Size   func() (int64, error) // leaves so far
	// Asked is a request as the CA knows it: what is told of it must make sense when this process began after it was asked. Nil: nothing is known.
	Asked func(id string) (control.Request, bool)

	Log *slog.Logger

	pause time.Duration // between two attempts, at first; 0: firstPause
}

// Run tells until ctx ends.
func (n *Notifier) Run(ctx context.Context) error {
	if err := os.MkdirAll(n.Dir, 0o700); err != nil {
		return err
	}
	var all sync.WaitGroup
	for i := range n.Hooks {
		h := &n.Hooks[i]
		from, err := n.place(h)
		if err != nil {
			return err
		}
		all.Go(func() { n.serve(ctx, h, from) })
	}
	all.Wait()
	return nil
}

// place is where a hook goes on. A new one hears of what comes, not of the past; so does one whose place the log of a CA that was restored from a backup
// has not reached: else it would hear nothing until it does.
func (n *Notifier) place(h *Hook) (int64, error) {
	size, err := n.Size()
	if err != nil {
		return 0, err
	}
	data, err := os.ReadFile(n.file(h))
	if errors.Is(err, os.ErrNotExist) {
		return size, n.keep(h, size)
	}
	if err != nil {
		return 0, err
	}
	next, err := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
	if err != nil || next < 0 {
		return 0, fmt.Errorf("%s does not hold the number of a leaf; remove it, and the hook goes on with what comes", n.file(h))
	}
	if next > size {
		n.Log.Error("a hook was told of more than the log has: was the CA restored from a backup?", "hook", h.Name, "told", next, "leaves", size)
		return size, n.keep(h, size)
	}
	return next, nil
}

func (n *Notifier) file(h *Hook) string { return filepath.Join(n.Dir, h.Name+".next") }

// keep remembers the place of a hook. After a power cut it is the old place or the new one, never an empty file that nobody can go on from.
func (n *Notifier) keep(h *Hook, next int64) error {
	return durable.Replace(n.file(h), fmt.Appendf(nil, "%d\n", next))
}

// serve feeds one hook.
func (n *Notifier) serve(ctx context.Context, h *Hook, from int64) {
	t := &teller{ca: n.CA, asked: n.Asked}
	for ctx.Err() == nil {
		err := n.Follow(ctx, from, func(leaves []control.Leaf) error {
			for i, leaf := range leaves {
				told, err := n.leaf(ctx, h, t, leaf)
				if err != nil {
					return err
				}
				if from = leaf.Index + 1; !told && i < len(leaves)-1 {
					continue
				}
				if err := n.keep(h, from); err != nil {
					n.Log.Warn("what was told cannot be remembered; after a restart it is told again", "hook", h.Name, "error", err)
				}
			}
			return nil
		})
		if ctx.Err() != nil {
			return
		}
		n.Log.Error("notifying", "hook", h.Name, "error", err)
		n.rest(ctx, firstPause)
	}
}

// leaf says whether there was anything to tell, once it was told or given up.
func (n *Notifier) leaf(ctx context.Context, h *Hook, t *teller, leaf control.Leaf) (bool, error) {
	e, err := auditlog.Decode(leaf.Data)
	if err != nil {
		return false, err
	}
	m, told := t.tell(leaf.Index, e)
	if !told || !h.wants(m.Event) {
		return false, nil
	}
	return true, n.deliver(ctx, h, m)
}

// deliver tries until the receiver takes the message, or a day has passed. The error is that of ctx.
func (n *Notifier) deliver(ctx context.Context, h *Hook, m Message) error {
	pause := n.pause
	if pause == 0 {
		pause = firstPause
	}
	no := 0
	for began := time.Now(); ; {
		err := h.send(ctx, m)
		if errors.Is(err, errNo) {
			no++
		}
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case no >= mostNo || time.Since(began) > patience:
			n.Log.Error("a message was given up", "hook", h.Name, "message", m.ID, "event", m.Event, "error", err)
			return nil
		}
		n.Log.Warn("a message was not taken", "hook", h.Name, "message", m.ID, "event", m.Event, "error", err)
		n.rest(ctx, pause)
		pause = min(2*pause, longPause)
	}
}

func (n *Notifier) rest(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// Test sends a message to one hook, once.
func (h *Hook) Test(ctx context.Context, ca string) error {
	return h.send(ctx, Message{ID: ca + "/test", Event: "test", At: time.Now().UTC(), CA: ca, Text: "this is a test of the hook " + h.Name})
}

func (h *Hook) send(ctx context.Context, m Message) error {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	body, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if len(h.Command) > 0 {
		return h.run(ctx, m, body)
	}
	if h.Form == formSlack {
		if body, err = json.Marshal(map[string]string{"text": slackText(m.Text)}); err != nil {
			return err
		}
	}
	return h.post(ctx, m, body)
}

// run gives the message to a program. It gets nothing else of ours.
func (h *Hook) run(ctx context.Context, m Message, body []byte) error {
	c := exec.CommandContext(ctx, h.Command[0], h.Command[1:]...)
	c.Stdin = bytes.NewReader(append(body, '\n'))
	c.Env = []string{"PATH=" + os.Getenv("PATH"), "LANG=C.UTF-8", "POSTERN_EVENT=" + m.Event, "POSTERN_ID=" + m.ID}
	c.WaitDelay = time.Second
	return c.Run()
}

// client follows no redirect: a signed message goes where the operator said.
var client = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

func (h *Hook) post(ctx context.Context, m Message, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.URL, bytes.NewReader(body))
	if err != nil {
		return errors.New("its url cannot be used")
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "postern")
	req.Header.Set("Postern-Id", m.ID)
	if len(h.key) > 0 {
		req.Header.Set("Postern-Signature", h.signature(time.Now(), body))
	}
	answer, err := client.Do(req)
	if err != nil {
		return withoutURL(err)
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, mostAnswer))
	switch code := answer.StatusCode; {
	case code >= 200 && code <= 299:
		return nil
	case code >= 400 && code <= 499 && code != http.StatusRequestTimeout && code != http.StatusTooEarly && code != http.StatusTooManyRequests:
		return fmt.Errorf("it answered %d: %w", code, errNo)
	default:
		return fmt.Errorf("it answered %d", code)
	}
}

// errNo is an answer about this message, which another try will hardly change.
var errNo = errors.New("it does not want this message")

// signature is t=SECONDS,v1=HEX: HMAC-SHA256 under the secret over the seconds, a dot and the body. The time is in it so that a receiver may refuse what
// is old.
func (h *Hook) signature(now time.Time, body []byte) string {
	t := strconv.FormatInt(now.Unix(), 10)
	mac := hmac.New(sha256.New, h.key)
	mac.Write([]byte(t + "."))
	mac.Write(body)
	return "t=" + t + ",v1=" + hex.EncodeToString(mac.Sum(nil))
}

// withoutURL is an error of net/http without the address, in which many services hide a token.
func withoutURL(err error) error {
	var wrapped interface{ Unwrap() error }
	if errors.As(err, &wrapped) && wrapped.Unwrap() != nil {
		return wrapped.Unwrap()
	}
	return errors.New("the receiver cannot be reached")
}

// slackText has what Slack takes for markup, links and mentions, as plain characters.
func slackText(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(s)
}
