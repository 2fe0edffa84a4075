package main

import (
	"context"
	"errors"
	"log/slog"
	"sync"

	"postern/internal/control"
)

// mostReceipts are kept while the CA is away. A bastion without its CA hears of no revocation, so there are never many.
const mostReceipts = 1000

// receipts are what was cut and the CA does not know yet.
type receipts struct {
	mu    sync.Mutex
	queue []control.CutReceipt
	news  chan struct{}
}

// add does not wait.
func (r *receipts) add(receipt control.CutReceipt) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.queue) < mostReceipts {
		r.queue = append(r.queue, receipt)
	}
	poke(r.wake())
}

func (r *receipts) wake() chan struct{} {
	if r.news == nil {
		r.news = make(chan struct{}, 1)
	}
	return r.news
}

func (r *receipts) next() (control.CutReceipt, bool, chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.queue) == 0 {
		return control.CutReceipt{}, false, r.wake()
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
		_, err := client.Run(answering, jsonReader(receipt), "cut-receipt", "--json")
		cancel()
		if refused := new(control.Refused); errors.As(err, &refused) {
			log.Error("the CA refuses a receipt", "seq", receipt.Seq, "error", err)
		} else if err != nil {
			return // the connection is made anew, and sends it then
		}
		r.drop()
	}
}
