package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/crypto/ssh"
	"golang.org/x/term"

	"postern/internal/auditor"
	"postern/internal/command"
	"postern/internal/control"
	"postern/internal/verify"
	"postern/recorder"
	"postern/recorder/play"
)

const (
	silentTime = 20 * time.Second // the bastion gives a sign of life every five
	lostTime   = time.Minute
)

var watchCommand = &cli.Command{
	Name:      "watch",
	Usage:     "see a session while it runs; q or Ctrl-C ends watching, not the session",
	ArgsUsage: "S-…",
	Flags:     []cli.Flag{keystrokesFlag, viewReasonFlag},
	Action: func(c *cli.Context) error {
		args, err := command.Exactly(c, "S-…")
		if err != nil {
			return err
		}
		view := auditor.View{Kind: control.ViewWatch, Keystrokes: c.Bool("keystrokes")}
		if view.Reason, err = viewReason(c); err != nil {
			return err
		}
		ca, err := connect(c)
		if err != nil {
			return err
		}
		defer ca.close()
		access, err := ca.desk().View(c.Context, view, args[0])
		if err != nil {
			return err
		}
		defer access.Close()
		return watch(c.Context, access, strings.ToUpper(args[0]), view.Keystrokes)
	},
}

// watch shows a session until it ends or the one who watches leaves.
func watch(ctx context.Context, access *auditor.Access, id string, keystrokes bool) error {
	ctx, leave := context.WithCancelCause(ctx)
	defer leave(nil)
	f, err := followed(ctx, access, id, keystrokes)
	if err != nil {
		return err
	}
	t, err := openScreen(leave)
	if err != nil {
		return err
	}
	w := newWatching(t, keystrokes)
	err = w.show(ctx, f)
	t.restore()
	if left := errors.Is(err, errLeft) || errors.Is(err, context.Canceled); left && !w.over {
		fmt.Fprintf(os.Stderr, "you left; %s goes on\n", id)
		return nil
	}
	if err != io.EOF {
		return fmt.Errorf("watching %s: %w", id, err)
	}
	s, how := f.Summary(), "is over and sealed"
	if s.Interrupted {
		how = "was cut off when the bastion or its disk died, and what there is of it is sealed"
	}
	fmt.Fprintf(os.Stderr, "%s\n", word(fmt.Sprintf("%s %s: %s in %s, signed by %s", id, how, count(int(s.Frames), "frame"), count(int(s.Segments), "segment"), s.Bastion)))
	return nil
}

// followed opens a session for watching: what comes is held against the key of its bastion and against what was logged.
func followed(ctx context.Context, access *auditor.Access, id string, keystrokes bool) (*recorder.Follower, error) {
	s, err := access.Session(id)
	if err != nil {
		return nil, err
	}
	bastion, ok := s.BastionKey.(ssh.CryptoPublicKey)
	if !ok {
		return nil, fmt.Errorf("nobody knows the key of bastion %s", s.Bastion)
	}
	key, err := access.Key(id)
	if err != nil {
		return nil, err
	}
	in, err := access.Follow(ctx, id)
	if err != nil {
		return nil, err
	}
	f, err := recorder.Follow(in, key, bastion.CryptoPublicKey())
	if err != nil {
		return nil, err
	}
	if keystrokes {
		typed, err := access.KeystrokeKey(id)
		if err != nil {
			return nil, err
		}
		f.OpenCompartment(typed)
	}
	return f, verify.ExpectLive(f, s)
}

// watching is what somebody who watches has before their eyes.
type watching struct {
	screen *watchScreen
	tell   *play.Teller
	past   *past // what happened before: nil once it is shown
	lanes  map[uint32]*lane
	shown  []byte
	over   bool // the session has ended
}

// lane is the output of one channel.
type lane struct {
	filter   play.Filter
	terminal bool // the host's end of it turns lines as a terminal wants them
}

func newWatching(s *watchScreen, keystrokes bool) *watching {
	w := &watching{screen: s, tell: play.NewTeller(keystrokes), lanes: map[uint32]*lane{}}
	if s.terminal {
		w.past = newPast()
	}
	return w
}

// followedMoment is what a follower gave.
type followedMoment struct {
	frame recorder.Frame
	pulse bool
	err   error
}

// show ends with io.EOF when the session is over and sealed.
func (w *watching) show(ctx context.Context, f *recorder.Follower) error {
	moments := make(chan followedMoment)
	go func() {
		for {
			var m followedMoment
			m.frame, m.pulse, m.err = f.Next()
			select {
			case moments <- m:
			case <-ctx.Done():
				return
			}
			if m.err != nil {
				return
			}
		}
	}()
	heard := time.Now()
	silence := time.NewTimer(silentTime)
	defer silence.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-silence.C:
			if time.Since(heard) > lostTime {
				return fmt.Errorf("the bastion %s says nothing any more", f.Header().Bastion)
			}
			w.screen.note(fmt.Sprintf("[no word from the bastion since %s]", heard.Format(time.TimeOnly)))
			silence.Reset(lostTime - silentTime)
		case m := <-moments:
			heard = time.Now()
			silence.Reset(silentTime)
			if err := w.moment(f, m); err != nil {
				return err
			}
		}
	}
}

func (w *watching) moment(f *recorder.Follower, m followedMoment) error {
	if m.pulse || m.err != nil {
		w.catchUp()
	}
	if m.err != nil || m.pulse {
		return m.err
	}
	if m.frame.Type == recorder.TypeHeader {
		h := f.Header()
		w.line(word(fmt.Sprintf("[%s: %s as %s on %s through %s, since %s; q ends watching]", h.Session, h.Person, h.Account, h.Host, h.Bastion, clock(h.Started, time.Now()))))
	}
	w.over = w.over || m.frame.Type == recorder.TypeEnd
	return w.frame(m.frame)
}

func (w *watching) frame(f recorder.Frame) error {
	for _, line := range w.tell.Lines(f) {
		w.line(line)
	}
	if f.Type == recorder.TypeRequest {
		w.request(f)
	}
	if f.Type == recorder.TypeClose {
		delete(w.lanes, f.Channel)
		w.past.closed(f.Channel)
	}
	if f.Type != recorder.TypeData || f.Stream == recorder.Stdin || w.tell.Hides(f) {
		return nil
	}
	l := w.lane(f.Channel)
	if w.past != nil && w.past.painted(f.Channel, f.Data) {
		return nil
	}
	w.shown = l.filter.Append(w.shown[:0], f.Data)
	if w.past != nil {
		w.past.text(w.screen.turned(l, w.shown))
		return nil
	}
	return w.screen.write(w.screen.turned(l, w.shown))
}

func (w *watching) lane(channel uint32) *lane {
	l := w.lanes[channel]
	if l == nil {
		l = new(lane)
		w.lanes[channel] = l
	}
	return l
}

func (w *watching) request(f recorder.Frame) {
	d, err := play.Details(f)
	if err != nil || d.Refused || d.Name != "pty-req" && d.Name != "window-change" {
		return
	}
	if d.Name == "pty-req" {
		w.lane(f.Channel).terminal = true
	}
	w.past.sized(f.Channel, d)
	if w.past == nil {
		w.screen.compare(d.Columns, d.Rows)
	}
}

// line shows one about what happened.
func (w *watching) line(text string) {
	if w.past != nil {
		w.past.text([]byte(text + "\r\n"))
		return
	}
	w.screen.note(text)
}

// catchUp shows what happened before, as it is now.
func (w *watching) catchUp() {
	if w.past == nil {
		return
	}
	_ = w.screen.write(w.past.show(w.screen))
	w.past = nil
}

var errLeft = errors.New("you left")

// watchScreen is where it is shown.
type watchScreen struct {
	out      *os.File
	terminal bool
	before   *term.State // of standard input; nil: not ours
}

// openScreen takes the terminal, if there is one: keys are for us, and lines are turned by whoever printed them.
func openScreen(leave context.CancelCauseFunc) (*watchScreen, error) {
	s := &watchScreen{out: os.Stdout, terminal: term.IsTerminal(int(os.Stdout.Fd()))}
	if !s.terminal || !term.IsTerminal(int(os.Stdin.Fd())) {
		return s, nil
	}
	var err error
	if s.before, err = term.MakeRaw(int(os.Stdin.Fd())); err != nil {
		return nil, err
	}
	go func() {
		var key [64]byte
		for {
			n, err := os.Stdin.Read(key[:])
			if err != nil || strings.ContainsAny(string(key[:n]), "qQ\x03\x04") {
				leave(errLeft)
				return
			}
		}
	}()
	return s, nil
}

func (s *watchScreen) restore() {
	if s.terminal {
		fmt.Fprint(s.out, play.Restore)
	}
	if s.before != nil {
		_ = term.Restore(int(os.Stdin.Fd()), s.before)
	}
}

func (s *watchScreen) write(b []byte) error {
	_, err := s.out.Write(b)
	return err
}

// turned makes lines begin at the left where neither the host nor our terminal does.
func (s *watchScreen) turned(l *lane, b []byte) []byte {
	if l.terminal || s.before == nil {
		return b
	}
	return []byte(strings.ReplaceAll(strings.ReplaceAll(string(b), "\r\n", "\n"), "\n", "\r\n"))
}

func (s *watchScreen) note(text string) {
	if colour(bold, "") != "" {
		text = "\x1b[2m" + text + "\x1b[0m"
	}
	fmt.Fprint(os.Stderr, text+"\r\n")
}

// size is that of our terminal, or the one given if nobody knows.
func (s *watchScreen) size(columns, rows int) (width, height int) {
	width, height, err := term.GetSize(int(s.out.Fd()))
	if err != nil || width < 1 || height < 1 {
		return columns, rows
	}
	return width, height
}

// compare tells when the admin's terminal has more room than this one.
func (s *watchScreen) compare(columns, rows uint32) {
	if !s.terminal {
		return
	}
	if width, height := s.size(int(columns), int(rows)); uint32(width) < columns || uint32(height) < rows {
		s.note(fmt.Sprintf("[the admin's terminal has %d columns and %d rows, yours %d and %d: make it larger]", columns, rows, width, height))
	}
}
