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
	"golang.org/x/crypto/ssh"
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
		w.states, w.signs = w.state, w.sign
		err = w.run(c.Context)
		if c.Context.Err() != nil {
			return nil // interrupted, as is the way to end it
		}
		return err
	},
}

// watcher is an approver at a terminal. A question is about the request that stood last on the screen in full: what comes meanwhile is a line above it, and is
// shown in full when its turn comes.
type watcher struct {
	cli   *cli.Context
	ca    *client
	me    control.Identity
	ask   bool              // somebody is there to answer
	queue []control.Request // that wait for an answer, oldest first
	asked string            // the one that the prompt names; an answer is for it and no other
	shown string            // the one that was shown in full last
	stand *stated           // what was shown to be signed, until there is a yes or a no

	states func(r control.Request, s said) (*stated, error)
	signs  func(s *stated) (control.Request, error)
}

// stated is a statement that was shown to whoever is to sign it, and what they said to get it.
type stated struct {
	request control.Request
	said    said
	text    string
	signer  ssh.Signer
	since   time.Time // it stands there; what was typed before is no answer to it
}

func (s *stated) question() string {
	if s.signer == nil {
		return "Sign this? [y/N] "
	}
	return signQuestion(s.signer) + " [y/N] "
}

// typed is a line that somebody typed.
type typed struct {
	text string
	at   time.Time
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
		case line, open := <-answers:
			if !open {
				return nil
			}
			w.answered(line)
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

// answers are the lines that are typed; nil, for ever silent, when nobody is asked. They are read ahead, so that each carries the time when it was typed.
func (w *watcher) answers(ctx context.Context) <-chan typed {
	if !w.ask {
		return nil
	}
	lines := make(chan typed, 100)
	go func() {
		defer close(lines)
		in := bufio.NewScanner(os.Stdin)
		for in.Scan() {
			select {
			case lines <- typed{strings.TrimSpace(in.Text()), time.Now()}:
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
	if w.cli.Bool("json") {
		if mine || w.cli.Bool("all") {
			return jsonLine(os.Stdout, r)
		}
		return nil
	}
	gone := w.asked == r.ID && !(mine && was)
	said := w.tell(r, mine && !was, at >= 0 && !mine)
	// Whoever is typing an answer means the one that is gone: the next is not asked about before they know.
	switch {
	case gone:
		w.asked, w.shown, w.stand = vanished, "", nil
		fmt.Println("press Enter to go on")
	case w.asked == "":
		w.prompt()
	case said:
		w.remind() // what was just shown is not what an answer is for
	}
	return nil
}

// tell says what there is to say of a request when it comes, if there is anything.
func (w *watcher) tell(r control.Request, fresh, over bool) bool {
	switch {
	case fresh && !w.ask:
		w.show(r)
	case fresh:
		fmt.Print("\a")
		if w.asked != "" {
			fmt.Printf("\n%s  waits for you too: %s, %s: %s\n", colour(bold, r.ID), word(r.Person), word(strings.Join(r.Targets, " ")), word(r.Reason))
		}
	case over:
		fmt.Printf("\n%s is %s\n", colour(bold, r.ID), word(became(r)))
	case w.asks(r) == "" && w.cli.Bool("all"):
		fmt.Printf("\n%s  %s  %s: %s\n", colour(bold, r.ID), word(r.State), word(r.Person), word(strings.Join(r.Targets, " ")))
	default:
		return false
	}
	return true
}

// remind prints the question that stands, which something else was shown below.
func (w *watcher) remind() {
	for _, r := range w.queue {
		switch {
		case !w.ask || r.ID != w.asked:
		case w.stand != nil:
			fmt.Printf("%s, as above: %s", w.asked, w.stand.question())
		default:
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

// prompt asks about the oldest that waits, below what it is.
func (w *watcher) prompt() {
	w.asked = ""
	if !w.ask || len(w.queue) == 0 {
		w.shown = ""
		return
	}
	w.asked = w.queue[0].ID
	if w.shown != w.asked {
		w.show(w.queue[0])
		w.shown = w.asked
	}
	w.remind()
}

// answered does what was typed to the request that was asked about. What goes wrong is shown, and the next one comes.
func (w *watcher) answered(line typed) {
	text := line.text
	at := slices.IndexFunc(w.queue, func(q control.Request) bool { return q.ID == w.asked })
	if at < 0 {
		if text != "" && w.asked == vanished {
			fmt.Println("what that was about is gone; nothing was signed")
		}
		w.prompt()
		return
	}
	if w.stand != nil {
		w.agreed(line)
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
			break
		}
		stand, err := w.states(r, said)
		if err != nil {
			complain(err)
			break
		}
		w.stand = stand
		w.stand.since = time.Now() // what is typed at the sight of the question comes after
		fmt.Print(stand.question())
		return
	}
	w.prompt()
}

// agreed takes the answer to a statement that was shown: yes signs it, anything else does not.
func (w *watcher) agreed(line typed) {
	stand := w.stand
	if line.at.Before(stand.since) {
		fmt.Println("\nthat was typed before the statement stood there, and signs nothing")
		w.remind()
		return
	}
	w.stand = nil
	if yes := strings.ToLower(line.text); yes != "y" && yes != "yes" {
		fmt.Println("nothing was signed")
		w.prompt()
		return
	}
	after, err := w.signs(stand)
	if err != nil {
		complain(err)
		w.prompt()
		return
	}
	w.queue = slices.DeleteFunc(w.queue, func(q control.Request) bool { return q.ID == stand.request.ID })
	if err := printDecided(after, stand.said.decision); err != nil {
		complain(err)
	}
	w.prompt()
}

func complain(err error) { fmt.Fprintln(os.Stderr, "postern: "+visible(err.Error())) }

// state has the CA say what would be signed, which it refuses to who may not, and shows it.
func (w *watcher) state(r control.Request, s said) (*stated, error) {
	text, signer, err := w.ca.toSign(w.cli, r, s)
	if err != nil {
		return nil, err
	}
	fmt.Fprintln(os.Stderr)
	return &stated{request: r, said: s, text: text, signer: signer}, showStatement(text)
}

func (w *watcher) sign(s *stated) (control.Request, error) {
	signature, err := signText(s.text, s.signer)
	if err != nil {
		return s.request, err
	}
	return control.Call[control.Request](w.cli.Context, w.ca.Client, signature, append([]string{s.said.decision, s.request.ID}, s.said.words()...)...)
}
