package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"postern/internal/control"
)

// ledger is a CA that counts what it is told twice once, as ours does, and answers as it is told to.
type ledger struct {
	took   []string
	told   int
	answer func(n int) error // the nth time
}

func (l *ledger) tell(_ context.Context, command string, input io.Reader) error {
	b, _ := io.ReadAll(input)
	l.told++
	var err error
	if l.answer != nil {
		err = l.answer(l.told)
	}
	text := command + " " + string(b)
	if refused := new(control.Refused); !errors.As(err, &refused) && !slices.Contains(l.took, text) { // also when its answer is lost
		l.took = append(l.took, text)
	}
	return err
}

func reopened(t *testing.T, dir string) *receipts {
	t.Helper()
	r, err := openReceipts(dir)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// flushed saves what there is, as a bastion that is told to stop.
func flushed(t *testing.T, r *receipts) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), wait)
	defer cancel()
	saved := make(chan struct{})
	go func() { r.save(ctx); close(saved) }()
	if err := r.flush(ctx); err != nil {
		t.Fatal(err)
	}
	cancel()
	<-saved
}

// What is told while the CA is away survives the bastion, and reaches the CA once: whatever was lost, the message, its answer or the process after it.
func TestReceiptsSurvive(t *testing.T) {
	dir := t.TempDir()
	r := reopened(t, dir)
	for i := range 5 {
		r.risk(control.Risk{Session: fmt.Sprintf("S-%d", i), Limit: "denied 5 log", Count: 6, Action: "log"})
	}
	r.cut(control.CutReceipt{Seq: 7, Parts: 1})
	flushed(t, r)
	ca := &ledger{answer: func(n int) error {
		if n == 3 {
			return errors.New("the connection was lost")
		}
		return nil
	}}
	log := slog.New(slog.DiscardHandler)
	r.send(t.Context(), ca.tell, log)
	if len(ca.took) != 3 {
		t.Fatalf("it was told %d things", len(ca.took))
	}
	r = reopened(t, dir) // killed, before the disk heard what was told
	done, cancel := context.WithCancel(t.Context())
	ca.answer = func(n int) error {
		if n == 5 {
			return &control.Refused{Status: refusedLater, Message: "its disk failed"}
		}
		return nil
	}
	go func() {
		for {
			if _, some, _ := r.next(); !some {
				cancel()
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	r.send(done, ca.tell, log)
	if len(ca.took) != 6 || !strings.Contains(ca.took[5], `cut-receipt {"seq":7`) || !strings.Contains(ca.took[0], `"S-0"`) {
		t.Errorf("the CA took %q", ca.took)
	}
	flushed(t, r)
	if r = reopened(t, dir); len(r.queue) > 0 && len(ca.took) == 6 {
		// Dropping is written behind; what is told again counts once.
		r.send(t.Context(), func(ctx context.Context, c string, in io.Reader) error {
			_ = ca.tell(ctx, c, in)
			return errors.New("enough")
		}, log)
		if len(ca.took) != 6 {
			t.Errorf("told again it counted again: %q", ca.took)
		}
	}
	info, err := os.Stat(filepath.Join(dir, savedFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
}

// No session opens before the CA knows what was crossed: it might be of the same grant.
func TestToldBeforeAnythingOpens(t *testing.T) {
	r := reopened(t, t.TempDir())
	r.risk(control.Risk{Session: "S-1"})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := r.settled(ctx); err == nil {
		t.Error("it was not waited for")
	}
	go r.send(t.Context(), new(ledger).tell, slog.New(slog.DiscardHandler))
	if err := r.settled(t.Context()); err != nil {
		t.Error(err)
	}
}

// What the CA refuses for good holds up nothing.
func TestRefusedReceipts(t *testing.T) {
	r := reopened(t, t.TempDir())
	r.risk(control.Risk{Session: "S-1"})
	r.risk(control.Risk{Session: "S-2"})
	ca := &ledger{}
	done, cancel := context.WithCancel(t.Context())
	ca.answer = func(n int) error {
		if n == 1 {
			return &control.Refused{Status: 1, Message: "there is no such session"}
		}
		cancel()
		return nil
	}
	r.send(done, ca.tell, slog.New(slog.DiscardHandler))
	if len(ca.took) != 1 || !strings.Contains(ca.took[0], "S-2") {
		t.Errorf("%q", ca.took)
	}
}

// A file that somebody else wrote is put aside, and the bastion starts.
func TestDamagedReceipts(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, savedFile), []byte(`[{"command":"ri`), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := reopened(t, dir); len(r.queue) > 0 {
		t.Errorf("%v", r.queue)
	}
	if _, err := os.Stat(filepath.Join(dir, savedFile+fromDamage)); err != nil {
		t.Error(err)
	}
}
