package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"postern/internal/command"
	"postern/internal/control"
)

var watchRequestsCommand = &cli.Command{
	Name:  "watch-requests",
	Usage: "see requests, holds and reviews as they come, and sign what waits for you",
	Flags: []cli.Flag{&cli.BoolFlag{Name: "all", Usage: "also those that do not wait for you"}, jsonFlag},
	Action: func(c *cli.Context) error {
		if err := command.FlagsOnly(c); err != nil {
			return err
		}
		ca, err := connect(c)
		if err != nil {
			return err
		}
		defer ca.close()
		me, err := control.Call[control.Identity](c.Context, ca.Client, nil, "whoami")
		if err != nil {
			return err
		}
		w := &watcher{cli: c, ca: ca, me: me, ask: term.IsTerminal(int(os.Stdin.Fd())) && !c.Bool("json")}
		w.decides = w.decide
		err = w.run(c.Context)
		if c.Context.Err() != nil {
			return nil // interrupted, as is the way to end it
		}
		return err
	},
}

// watcher is an approver at a terminal.
type watcher struct {
	cli   *cli.Context
	ca    *client
	me    control.Identity
	ask   bool              // somebody is there to answer
	queue []control.Request // that wait for an answer, oldest first
	asked string            // the one that the prompt names; an answer is for it and no other

	decides func(r control.Request, s said) (control.Request, error)
}

func (w *watcher) run(ctx context.Context) error {
	stream, err := w.ca.Stream(ctx, "requests", "--follow")
	if err != nil {
		return err
	}
	defer stream.Close()
	requests, lost := make(chan control.Request), make(chan error, 1)
	go func() {
		for {
			var r control.Request
			if err := stream.Next(&r); err != nil {
				lost <- err
				return
			}
			select {
			case requests <- r:
			case <-ctx.Done():
				return
			}
		}
	}()
	answers := w.answers(ctx)
	if w.ask {
		fmt.Fprintln(os.Stderr, "waiting for requests; Ctrl-C ends it")
	}
	for {
		select {
		case r := <-requests:
			if err := w.heard(r); err != nil {
				return err
			}
		case text, open := <-answers:
			if !open {
				return nil
			}
			w.answered(text)
		case err := <-lost:
			if errors.Is(err, io.EOF) {
				err = errors.New("the CA ended the stream; start again with: postern watch-requests")
			}
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// answers are the lines that are typed; nil, for ever silent, when nobody is asked.
func (w *watcher) answers(ctx context.Context) <-chan string {
	if !w.ask {
		return nil
	}
	lines := make(chan string)
	go func() {
		defer close(lines)
		in := bufio.NewScanner(os.Stdin)
		for in.Scan() {
			select {
			case lines <- strings.TrimSpace(in.Text()):
			case <-ctx.Done():
				return
			}
		}
	}()
	return lines
}

// heard shows a request that is new or changed, and asks about it when its turn comes. One that was shown keeps its place; one that says something
// else than what was shown is shown anew, and what was asked about it is vanished back.
func (w *watcher) heard(r control.Request) error {
	at := slices.IndexFunc(w.queue, func(q control.Request) bool { return q.ID == r.ID })
	was := at >= 0 && w.asks(w.queue[at]) == w.asks(r) && sameQuestion(w.queue[at], r)
	mine := w.asks(r) != ""
	switch {
	case mine && was:
		w.queue[at] = r
	case at >= 0:
		w.queue = slices.Delete(w.queue, at, at+1)
	}
	if mine && !was {
		w.queue = append(w.queue, r)
	}
	gone := w.asked == r.ID && !(mine && was)
	switch {
	case w.cli.Bool("json"):
		if mine || w.cli.Bool("all") {
			return jsonLine(os.Stdout, r)
		}
	case mine && !was:
		fmt.Print("\a")
		w.show(r)
	case at >= 0 && !mine:
		fmt.Printf("\n%s is %s\n", colour(bold, r.ID), word(became(r)))
	case !mine && w.cli.Bool("all"):
		fmt.Printf("%s  %s  %s: %s\n", colour(bold, r.ID), word(r.State), word(r.Person), word(strings.Join(r.Targets, " ")))
	}
	// Whoever is typing an answer means the one that is gone: the next is not asked about before they know.
	if gone {
		w.asked = vanished
		fmt.Println("press Enter to go on")
	} else if w.asked == "" {
		w.prompt()
	} else if mine != was || at >= 0 && !mine || w.cli.Bool("all") {
		w.remind() // what was just shown is not what an answer is for
	}
	return nil
}

// remind prints the prompt again that something else was shown below.
func (w *watcher) remind() {
	for _, r := range w.queue {
		if w.ask && r.ID == w.asked {
			fmt.Printf("%s: %s? ", w.asked, prompts[w.asks(r)])
		}
	}
}

// vanished stands in asked while the last prompt is for something that is gone.
const vanished = "-"

// sameQuestion says whether a signature under both would say the same.
func sameQuestion(a, b control.Request) bool {
	x, waits := a.Extending()
	y, still := b.Extending()
	h, _ := a.Held()
	g, _ := b.Held()
	return a.Digest == b.Digest && h.Nonce == g.Nonce && waits == still && x.Nonce == y.Nonce
}

func (w *watcher) show(r control.Request) {
	if kind := w.asks(r); kind == toReview || kind == toClear {
		w.showReview(r, kind)
		return
	}
	if h, held := r.Held(); held {
		fmt.Printf("\n%s  %s, of %s on %s: %s\n", colour(bold, r.ID), colour(red, word(h.What())), word(r.Person), word(cmp.Or(h.Target, strings.Join(r.Targets, ", "))), word(r.Reason))
		fmt.Printf("  to release it needs %s; the grant ends %s\n", waitingFor(r), when(r.Ends, time.Now()))
		if !w.ask {
			fmt.Printf("  postern approve %s\n", r.ID)
		}
		return
	}
	if e, waits := r.Extending(); waits {
		fmt.Printf("\n%s  %s asks to extend %s, granted until %s, by %s until %s: %s\n", colour(bold, r.ID), word(r.Person), word(strings.Join(r.Targets, ", ")),
			when(r.Ends, time.Now()), short(time.Duration(e.ForSeconds)*time.Second), when(e.Ends, time.Now()), word(e.Reason))
		fmt.Printf("  may: %s; still needs %s\n", word(strings.Join(r.Capabilities, " ")), waitingFor(r))
		printTerms(os.Stdout, r)
		if !w.ask {
			fmt.Printf("  postern approve %s\n", r.ID)
		}
		return
	}
	fmt.Printf("\n%s  %s asks for %s for %s: %s\n", colour(bold, r.ID), word(r.Person), word(strings.Join(r.Targets, ", ")),
		short(time.Duration(r.ForSeconds)*time.Second), word(r.Reason))
	fmt.Printf("  may: %s; still needs %s; until %s\n", word(strings.Join(r.Capabilities, " ")), waitingFor(r), when(r.ClaimBy, time.Now()))
	printTerms(os.Stdout, r)
	if !w.ask {
		fmt.Printf("  postern approve %s\n", r.ID)
	}
}

func (w *watcher) prompt() {
	w.asked = ""
	if w.ask && len(w.queue) > 0 {
		w.asked = w.queue[0].ID
		w.remind()
	}
}

// answered does what was typed to the request that was asked about. What goes wrong is shown, and the next one comes.
func (w *watcher) answered(text string) {
	at := slices.IndexFunc(w.queue, func(q control.Request) bool { return q.ID == w.asked })
	if at < 0 {
		if text != "" && w.asked == vanished {
			fmt.Println("what that was about is gone; nothing was signed")
		}
		w.prompt()
		return
	}
	r := w.queue[at]
	kind := w.asks(r)
	verb, because, _ := strings.Cut(text, " ")
	because = strings.TrimSpace(because)
	switch verb = strings.ToLower(verb); {
	case because == "" && (verb == "s" || verb == "skip"):
		w.queue = slices.Delete(w.queue, at, at+1)
		fmt.Printf("%s skipped; later: postern %s %s\n", r.ID, kind, r.ID)
	case because == "" && (verb == "o" || verb == "open"):
		w.open(r, kind)
	case text != "":
		said, problem := answer(kind, verb, because)
		if problem != "" {
			fmt.Println(problem)
		} else {
			w.sign(r, said)
		}
	}
	w.prompt()
}

// sign shows the statement and signs it: the answer that was typed is the consent to what stands there.
func (w *watcher) sign(r control.Request, s said) {
	after, err := w.decides(r, s)
	if err != nil {
		fmt.Fprintln(os.Stderr, "postern: "+visible(err.Error()))
		return
	}
	w.queue = slices.DeleteFunc(w.queue, func(q control.Request) bool { return q.ID == r.ID })
	if err := printDecided(after, s.decision); err != nil {
		fmt.Fprintln(os.Stderr, "postern: "+visible(err.Error()))
	}
}

func (w *watcher) decide(r control.Request, s said) (control.Request, error) {
	text, signer, err := w.ca.toSign(w.cli, r, s)
	if err != nil {
		return r, err
	}
	signature, err := signShown(text, signer, true)
	if err != nil {
		return r, err
	}
	return control.Call[control.Request](w.cli.Context, w.ca.Client, signature, append([]string{s.decision, r.ID}, s.words()...)...)
}
