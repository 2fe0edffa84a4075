package auditor

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// Remote is a [recorder.Source] at the bastion that keeps a recording. Many of them share one connection, which belongs to whoever made it. Segments that
// are read in order are fetched ahead.
type Remote struct {
	client  *ssh.Client
	session string

	mu     sync.Mutex
	bodies map[uint64]*body
	order  []uint64 // of those, the one wanted longest ago first
	bytes  int
	last   uint64 // segment that was wanted
	run    uint64 // segments to ask for at once
}

// body is that of a segment, or will be.
type body struct {
	done chan struct{}
	data []byte
	err  error
}

const (
	mostBody  = 1 << 20 // FORMAT.md, Limits
	mostAhead = 8       // segments
	near      = 8       // segments from the last one wanted within which reading is in order, as several readers side by side do
	mostKept  = 8 << 20 // bytes of bodies
	mostSaid  = 4 << 10 // bytes of what a bastion complains of

	roomTime = 50 * time.Millisecond // until a bastion that was busy is asked again
)

// NewRemote is the source of one session; the certificate that client logged in with must name it.
func NewRemote(client *ssh.Client, session string) *Remote {
	return &Remote{client: client, session: session, bodies: map[uint64]*body{}}
}

// Outline implements [recorder.Source].
func (r *Remote) Outline(ctx context.Context) (io.ReadCloser, error) {
	return r.start(ctx, "outline "+r.session)
}

// Follow is the session while it runs, for [recorder.Follow].
func (r *Remote) Follow(ctx context.Context) (io.ReadCloser, error) {
	return r.start(ctx, "follow "+r.session)
}

// Whole copies the sealed recording as a file to w.
func (r *Remote) Whole(ctx context.Context, w io.Writer) error {
	in, err := r.start(ctx, "recording "+r.session)
	if err != nil {
		return err
	}
	defer in.Close()
	_, err = io.Copy(w, in)
	return err
}

// Body implements [recorder.Source].
func (r *Remote) Body(ctx context.Context, segment uint64) ([]byte, error) {
	b := r.want(segment)
	select {
	case <-b.done:
		return b.data, b.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// want sees to it that a segment is being fetched, and those after it when they are likely to be wanted next.
func (r *Remote) want(segment uint64) *body {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case segment+near < r.last || segment > r.last+near || r.run == 0:
		r.run, r.last = 1, segment
	case segment > r.last:
		r.run, r.last = min(2*r.run, mostAhead), segment
	}
	b := r.bodies[segment]
	if b == nil {
		r.fetch(segment, r.run)
		return r.bodies[segment]
	}
	ahead := segment + 1
	for r.bodies[ahead] != nil {
		ahead++
	}
	if r.run > 1 && ahead-segment <= r.run/2 {
		r.fetch(ahead, r.run)
	}
	return b
}

// fetch asks for segments that are not there. r.mu is held.
func (r *Remote) fetch(from, count uint64) {
	var list []*body
	for n := from; n < from+count && r.bodies[n] == nil; n++ {
		b := &body{done: make(chan struct{})}
		r.bodies[n] = b
		list = append(list, b)
	}
	go func() {
		// A fetch serves whoever comes, so it ends with the connection and not with the one who asked first.
		in, err := r.start(context.Background(), fmt.Sprintf("segments %s %d %d", r.session, from, len(list)))
		if err == nil {
			defer in.Close()
		}
		for i, b := range list {
			if err == nil {
				b.data, err = readBody(in)
			}
			b.err = err
			r.settle(from+uint64(i), b)
		}
	}()
}

func readBody(in io.Reader) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return nil, noEOF(err)
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > mostBody {
		return nil, fmt.Errorf("the bastion sends a segment of %d bytes; %d is the most there is", n, mostBody)
	}
	b := make([]byte, n)
	_, err := io.ReadFull(in, b)
	return b, noEOF(err)
}

// noEOF is for what may not end here: a bare end of file means something else to those above.
func noEOF(err error) error {
	if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the bastion has no more segments of this recording")
	}
	return err
}

// settle hands a body to those who wait, and forgets those that were wanted longest ago. One that failed is asked for again next time.
func (r *Remote) settle(segment uint64, b *body) {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(b.done)
	if b.err != nil {
		delete(r.bodies, segment)
		return
	}
	r.order = append(r.order, segment)
	for r.bytes += len(b.data); r.bytes > mostKept && len(r.order) > 1; r.order = r.order[1:] {
		r.bytes -= len(r.bodies[r.order[0]].data)
		delete(r.bodies, r.order[0])
	}
}

// start runs a command at the bastion. What is read ends with the error that the bastion gave.
func (r *Remote) start(ctx context.Context, command string) (io.ReadCloser, error) {
	s, err := r.open(ctx)
	if err != nil {
		return nil, fmt.Errorf("bastion: %w", err)
	}
	a := &answer{session: s}
	s.Stderr = &a.said
	if a.out, err = s.StdoutPipe(); err == nil {
		err = s.Start(command)
	}
	if err != nil {
		s.Close()
		return nil, fmt.Errorf("bastion: %w", err)
	}
	a.stop = context.AfterFunc(ctx, func() { s.Close() })
	a.ctx = ctx
	return a, nil
}

// open waits while a bastion has enough to do with the commands of this connection.
func (r *Remote) open(ctx context.Context) (*ssh.Session, error) {
	for {
		s, err := r.client.NewSession()
		busy := new(ssh.OpenChannelError)
		if !errors.As(err, &busy) || busy.Reason != ssh.ResourceShortage {
			return s, err
		}
		select {
		case <-time.After(roomTime):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// answer is what a command at the bastion writes.
type answer struct {
	ctx     context.Context
	session *ssh.Session
	out     io.Reader
	said    brief
	stop    func() bool
	end     error
}

func (a *answer) Read(p []byte) (int, error) {
	if a.end != nil {
		return 0, a.end
	}
	n, err := a.out.Read(p)
	if err != nil {
		a.end = a.verdict(err)
	}
	return n, a.end
}

var errBroke = errors.New("the connection to the bastion broke")

// verdict is io.EOF if the bastion said that this is all.
func (a *answer) verdict(err error) error {
	if a.ctx.Err() != nil {
		return context.Cause(a.ctx)
	}
	if err != io.EOF {
		return err
	}
	err = a.session.Wait()
	var exit *ssh.ExitError
	switch {
	case err == nil:
		return io.EOF
	case a.ctx.Err() != nil:
		return context.Cause(a.ctx)
	case errors.As(err, &exit):
		return fmt.Errorf("bastion: %s", strings.TrimPrefix(strings.TrimSpace(string(a.said.text)), "postern: "))
	}
	if missing := new(ssh.ExitMissingError); errors.As(err, &missing) {
		return errBroke
	}
	return fmt.Errorf("%w: %w", errBroke, err)
}

func (a *answer) Close() error {
	a.stop()
	a.session.Close()
	return nil
}

// brief keeps the beginning of what is written to it. It has no other methods of a buffer: io.Copy would go past Write.
type brief struct{ text []byte }

func (b *brief) Write(p []byte) (int, error) {
	b.text = append(b.text, p[:min(len(p), max(0, mostSaid-len(b.text)))]...)
	return len(p), nil
}
