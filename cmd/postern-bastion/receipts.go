package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"postern/internal/control"
	"postern/internal/durable"
)

const (
	// mostReceipts are kept while the CA is away. A bastion without its CA hears of no revocation and opens no session, so there are never many.
	mostReceipts = 1000
	mostSaved    = 16 << 20         // bytes of them on disk
	savePause    = time.Second      // after the disk failed
	fromDamage   = ".damaged"       // follows the name of a file that could not be read
	refusedLater = 3                // the status of a CA that failed, and says nothing of what it was told
	savedFile    = "told-to-the-ca" // in the bastion's directory
)

// receipts are what was cut, and which limits were crossed, and the CA does not know yet. They are on disk as well, so that a bastion that is restarted
// tells them still: at least once, and the CA counts what it is told twice once. They name sessions, limits and revocations, and nothing that passed.
type receipts struct {
	file string // "": none is kept on disk

	mu     sync.Mutex
	queue  []told
	news   chan struct{}
	kept   int           // changes that are on disk
	moved  int           // changes that there were
	stir   chan struct{} // to the one who saves
	change *sync.Cond    // kept has grown, or the queue has shrunk
}

// told is the input of a command of the CA.
type told struct {
	Command string          `json:"command"`
	Input   json.RawMessage `json:"input"`
}

func newReceipts() *receipts {
	r := &receipts{stir: make(chan struct{}, 1), news: make(chan struct{}, 1)}
	r.change = sync.NewCond(&r.mu)
	return r
}

// openReceipts reads what an earlier run left, and keeps what is added from then on.
func openReceipts(dir string) (*receipts, error) {
	r := newReceipts()
	r.file = filepath.Join(dir, savedFile)
	b, err := os.ReadFile(r.file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err == nil {
		if err := json.Unmarshal(b, &r.queue); err != nil { // it is replaced as a whole, so somebody else wrote this
			slog.Error("what waited for the CA cannot be read and is put aside", "file", r.file+fromDamage, "error", err)
			if err := os.Rename(r.file, r.file+fromDamage); err != nil {
				return nil, err
			}
			r.queue = nil
		}
	}
	if n := len(r.queue); n > 0 {
		slog.Info("the CA is to be told what an earlier run could not", "messages", n)
	}
	return r, nil
}

func (r *receipts) cut(receipt control.CutReceipt) { r.add("cut-receipt", receipt) }

func (r *receipts) risk(risk control.Risk) { r.add("risk", risk) }

// add does not wait.
func (r *receipts) add(command string, input any) {
	b, err := json.Marshal(input)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil || len(r.queue) >= mostReceipts {
		slog.Error("too much waits for the CA; what was done is in this log alone", "command", command, "input", string(b), "error", err)
		return
	}
	r.queue = append(r.queue, told{command, b})
	r.changed()
	poke(r.news)
}

// changed is called with mu held.
func (r *receipts) changed() {
	r.moved++
	r.change.Broadcast()
	poke(r.stir)
}

func (r *receipts) next() (told, bool, chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.queue) == 0 {
		return told{}, false, r.news
	}
	return r.queue[0], true, nil
}

func (r *receipts) drop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.queue = append([]told(nil), r.queue[1:]...)
	r.changed()
}

// save writes every change to disk until ctx ends, as a whole: after a crash there is what was or what is.
func (r *receipts) save(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.stir:
		}
		r.mu.Lock()
		queue, moved := append([]told(nil), r.queue...), r.moved
		r.mu.Unlock()
		for {
			err := replace(r.file, queue)
			if err == nil {
				break
			}
			slog.Error("what waits for the CA is not on disk", "file", r.file, "error", err)
			select {
			case <-ctx.Done():
				return
			case <-time.After(savePause):
			}
		}
		r.mu.Lock()
		r.kept = moved
		r.change.Broadcast()
		r.mu.Unlock()
	}
}

// flush waits until everything is told or on disk, or ctx ends.
func (r *receipts) flush(ctx context.Context) error {
	return r.wait(ctx, "on disk", func() bool { return len(r.queue) == 0 || r.kept == r.moved })
}

// settled waits until the CA knows everything, or ctx ends. Without that it would open sessions of grants that a limit holds or cuts.
func (r *receipts) settled(ctx context.Context) error {
	return r.wait(ctx, "told", func() bool { return len(r.queue) == 0 })
}

func (r *receipts) wait(ctx context.Context, what string, done func() bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer context.AfterFunc(ctx, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.change.Broadcast()
	})()
	for !done() {
		if ctx.Err() != nil {
			return fmt.Errorf("%d messages for the CA are not %s: %w", len(r.queue), what, ctx.Err())
		}
		r.change.Wait()
	}
	return nil
}

func replace(file string, queue []told) error {
	b, err := json.Marshal(queue)
	if err != nil {
		return err
	}
	if len(b) > mostSaved {
		return fmt.Errorf("%d bytes, and at most %d are kept", len(b), mostSaved)
	}
	return durable.Replace(file, b)
}

// send tells the CA, in order, until ctx ends or the connection fails. What the CA refuses it will refuse again, unless it failed itself.
func (r *receipts) send(ctx context.Context, tell func(ctx context.Context, command string, input io.Reader) error, log *slog.Logger) {
	for ctx.Err() == nil {
		receipt, some, news := r.next()
		if !some {
			select {
			case <-ctx.Done():
			case <-news:
			}
			continue
		}
		answering, cancel := context.WithTimeout(ctx, answerTime)
		err := tell(answering, receipt.Command, jsonReader(receipt.Input))
		cancel()
		refused := new(control.Refused)
		switch {
		case errors.As(err, &refused) && refused.Status != refusedLater:
			log.Error("the CA refuses what it was told", "command", receipt.Command, "error", err)
		case err != nil && refused.Status != refusedLater:
			return // the connection is made anew, and sends it then
		case err != nil:
			log.Error("the CA could not take what it was told", "command", receipt.Command, "error", err)
			select {
			case <-ctx.Done():
			case <-time.After(savePause):
			}
			continue
		}
		r.drop()
	}
}
