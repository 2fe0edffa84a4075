package main

import (
	"context"
	"errors"
	"log/slog"
	"sync"

	"postern/internal/control"
)

// mostReceipts are kept while the CA is away. A bastion without its CA hears of no revocation and opens no session, so there are never many.
const mostReceipts = 1000

// receipts are what was cut, and which limits were crossed, and the CA does not know yet.
type receipts struct {
	mu    sync.Mutex
	queue []told
	news  chan struct{}
}

// told is the input of a command of the CA.
type told struct {
	command string
	input   any
}

func (r *receipts) cut(receipt control.CutReceipt) { r.add(told{"cut-receipt", receipt}) }

func (r *receipts) risk(risk control.Risk) { r.add(told{"risk", risk}) }

// add does not wait.
func (r *receipts) add(t told) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.queue) >= mostReceipts {
		slog.Error("too much waits for the CA; what was done is in this log alone", "command", t.command, "input", t.input)
		return
	}
	r.queue = append(r.queue, t)
	poke(r.wake())
}

func (r *receipts) wake() chan struct{} {
	if r.news == nil {
		r.news = make(chan struct{}, 1)
	}
	return r.news
}

func (r *receipts) next() (told, bool, chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.queue) == 0 {
		return told{}, false, r.wake()
	}
	return r.queue[0], true, nil
}

func (r *receipts) drop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.queue = r.queue[1:]
}

// send tells the CA, in order, until ctx ends or the connection fails. What the CA refuses it will refuse again.
func (r *receipts) send(ctx context.Context, client *control.Client, log *slog.Logger) {
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
		_, err := client.Run(answering, jsonReader(receipt.input), receipt.command, "--json")
		cancel()
		if refused := new(control.Refused); errors.As(err, &refused) {
			log.Error("the CA refuses what it was told", "command", receipt.command, "error", err)
		} else if err != nil {
			return // the connection is made anew, and sends it then
		}
		r.drop()
	}
}
