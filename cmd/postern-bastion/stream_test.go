package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/bastion"
	"postern/internal/algo"
	"postern/internal/control"
)

// hostile is a CA with the right key that tells its stream wrong: what a broken CA, or whoever sits in it, can do to a bastion.
type hostile struct {
	t       *testing.T
	b       *bastion.Bastion
	streams chan *heard
	heard   chan uint64 // revocations that the bastion acted on
}

// heard is one stream: from says what the bastion asked for.
type heard struct {
	t     *testing.T
	from  string
	out   *json.Encoder
	raw   io.Writer
	pings chan uint64
	end   chan struct{} // closed when the bastion is gone
	conn  net.Conn
}

// wait is for what must happen, on the busiest machine too, and nothing else waits so long: a bastion that is slow has not left.
const wait = time.Minute

func newHostile(t *testing.T) *hostile {
	t.Helper()
	return newHostileUntil(t, wait)
}

// newHostileUntil is one whose bastion takes so much silence and no more.
func newHostileUntil(t *testing.T, silence time.Duration) *hostile {
	t.Helper()
	gateway, host, login := signer(t), signer(t), signer(t)
	cert := &ssh.Certificate{Key: host.PublicKey(), CertType: ssh.HostCert, ValidPrincipals: []string{control.DefaultName}, ValidBefore: ssh.CertTimeInfinity}
	if err := cert.SignCert(rand.Reader, gateway); err != nil {
		t.Fatal(err)
	}
	hostSigner, err := ssh.NewCertSigner(cert, host)
	if err != nil {
		t.Fatal(err)
	}
	known := filepath.Join(t.TempDir(), "known_hosts")
	if err := os.WriteFile(known, []byte("@cert-authority "+control.DefaultName+" "+string(ssh.MarshalAuthorizedKey(gateway.PublicKey()))), 0o600); err != nil {
		t.Fatal(err)
	}
	config := &ssh.ServerConfig{PublicKeyCallback: func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) { return new(ssh.Permissions), nil }}
	algo.Harden(&config.Config)
	config.AddHostKey(hostSigner)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := &hostile{t: t, streams: make(chan *heard, 100), heard: make(chan uint64, 100)}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go h.serve(conn, config)
		}
	}()
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	h.b = &bastion.Bastion{Name: "bastion-1", Log: log, Receipt: func(r control.CutReceipt) { h.heard <- r.Seq }}
	a := &authority{
		told:    newReceipts(),
		config:  control.Config{Address: l.Addr().String(), Signers: []ssh.Signer{login}, KnownHosts: known, Patience: wait},
		silence: silence, bastion: h.b, names: newNames("bastion-1", login), log: log, policy: make(chan struct{}, 1), stirred: make(chan struct{}, 1),
		custody: &bastion.Custody{File: filepath.Join(t.TempDir(), "holds"), Name: "bastion-1", CA: control.DefaultName, Signer: login},
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { a.run(ctx); close(done) }()
	t.Cleanup(func() { cancel(); l.Close(); <-done })
	return h
}

func (h *hostile) serve(conn net.Conn, config *ssh.ServerConfig) {
	defer conn.Close()
	_, channels, requests, err := ssh.NewServerConn(conn, config)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(requests)
	for c := range channels {
		ch, reqs, err := c.Accept()
		if err != nil {
			return
		}
		go func() {
			for r := range reqs {
				var exec struct{ Command string }
				_ = ssh.Unmarshal(r.Payload, &exec)
				_ = r.Reply(r.Type == "exec", nil)
				if words := strings.Fields(exec.Command); len(words) > 2 && words[0] == "revocations" {
					go h.stream(ch, conn, words[2])
				} else {
					ch.Close() // nothing else is served
				}
			}
		}()
	}
}

func (h *hostile) stream(ch ssh.Channel, conn net.Conn, from string) {
	s := &heard{t: h.t, from: from, out: json.NewEncoder(ch), raw: ch, pings: make(chan uint64, 1000), end: make(chan struct{}), conn: conn}
	h.streams <- s
	for lines := bufio.NewScanner(ch); lines.Scan(); {
		var p control.Ping
		if json.Unmarshal(lines.Bytes(), &p) == nil {
			s.pings <- p.Ping
		}
	}
	close(s.end)
}

func (h *hostile) next(from string) *heard {
	h.t.Helper()
	select {
	case s := <-h.streams:
		if s.from != from {
			h.t.Fatalf("the bastion resumed from %s, not from %s", s.from, from)
		}
		return s
	case <-time.After(wait):
		h.t.Fatal("the bastion did not come back")
		return nil
	}
}

// acted waits until the bastion acted on these revocations and on no others.
func (h *hostile) acted(seqs ...uint64) {
	h.t.Helper()
	var got []uint64
	for range seqs {
		select {
		case seq := <-h.heard:
			got = append(got, seq)
		case <-time.After(wait):
			h.t.Fatalf("the bastion acted on %v, not on %v", got, seqs)
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, seqs) || len(h.heard) > 0 {
		h.t.Fatalf("the bastion acted on %v and %d more, not on %v", got, len(h.heard), seqs)
	}
}

func (s *heard) say(e control.Event) { _ = s.out.Encode(e) }

func (s *heard) revoke(seqs ...uint64) {
	for _, n := range seqs {
		s.say(control.Event{Seq: n, Revocation: &control.Revocation{Seq: n, Kind: "request", Value: fmt.Sprintf("R-%d", n)}})
	}
}

func (s *heard) at(seq uint64) { s.say(control.Event{Seq: seq, Policy: "sha256:x"}) }

func (s *heard) pong(seq, n uint64) {
	s.say(control.Event{Seq: seq, Pong: n, AdmitSeconds: 10, KeepSeconds: 30})
}

// ping waits for the bastion's next ping.
func (s *heard) ping() uint64 {
	s.t.Helper()
	select {
	case n := <-s.pings:
		return n
	case <-time.After(wait):
		s.t.Fatal("the bastion sends no pings")
		return 0
	}
}

// dropped waits until the bastion has left the stream.
func (s *heard) dropped() {
	s.t.Helper()
	select {
	case <-s.end:
	case <-time.After(wait):
		s.t.Fatal("the bastion stayed on a stream that is wrong")
	}
}

func (h *hostile) admits(want bool, what string) {
	h.t.Helper()
	for end := time.Now().Add(wait); want && !h.b.Admits() && time.Now().Before(end); time.Sleep(time.Millisecond) {
	}
	if h.b.Admits() != want {
		h.t.Fatalf("%s: the bastion admits: %v", what, !want)
	}
}

// TestWrongNumbersAreFoundAndResumed: whatever happens to the lines, each revocation is acted on, once, and a line that shows a loss renews nothing.
func TestWrongNumbersAreFoundAndResumed(t *testing.T) {
	t.Parallel()
	for name, lines := range map[string]func(s *heard, ping uint64){
		"one lost":                   func(s *heard, _ uint64) { s.revoke(2) },
		"one lost, then an answer":   func(s *heard, p uint64) { s.pong(2, p) },
		"all lost, then a heartbeat": func(s *heard, _ uint64) { s.say(control.Event{Seq: 2}) },
		"out of order":               func(s *heard, _ uint64) { s.revoke(2, 1) },
		"half a line":                func(s *heard, _ uint64) { io.WriteString(s.raw, `{"seq":1,"revocation":{"se`); s.conn.Close() },
		"the connection ends":        func(s *heard, _ uint64) { s.conn.Close() },
		"not JSON":                   func(s *heard, _ uint64) { io.WriteString(s.raw, "revoked\n") },
		"two numbers": func(s *heard, _ uint64) {
			s.say(control.Event{Seq: 1, Revocation: &control.Revocation{Seq: 2, Kind: "request", Value: "R-2"}})
		},
		"in an answer": func(s *heard, p uint64) {
			s.say(control.Event{Seq: 1, Pong: p, AdmitSeconds: 9, KeepSeconds: 9, Revocation: &control.Revocation{Seq: 1, Kind: "request", Value: "R-1"}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHostile(t)
			s := h.next("0")
			s.at(0)
			lines(s, s.ping())
			s.dropped()
			h.admits(false, "after "+name)
			s = h.next("1") // exactly where it was, though nothing had been revoked then
			s.revoke(1, 2)
			s.pong(2, s.ping())
			h.admits(true, "on the next stream")
			h.acted(1, 2)
		})
	}
}

func TestARepeatedRevocationIsFound(t *testing.T) {
	t.Parallel()
	h := newHostile(t)
	s := h.next("0")
	s.revoke(3, 7) // the set: the others are past
	s.at(9)        // and so are the last two
	s.revoke(10, 10)
	s.dropped()
	s = h.next("11")
	s.revoke(11)
	h.acted(3, 7, 10, 11)
	s.revoke(7) // long ago
	s.dropped()
	s = h.next("12")
	s.at(11)
	s.pong(11, s.ping())
	h.admits(true, "after two streams that repeated")
}

// A set that was cut off in the middle begins again, whole.
func TestASetThatIsCutOffBeginsAgain(t *testing.T) {
	t.Parallel()
	h := newHostile(t)
	s := h.next("0")
	s.revoke(3)
	h.acted(3)
	s.conn.Close()
	s = h.next("0")
	s.revoke(2, 3, 4)
	s.at(4)
	h.acted(2, 3, 4)
	s.pong(4, s.ping())
	h.admits(true, "the whole set")
	s.revoke(6)
	s.dropped()
	h.next("5")
}

func TestACAFromABackupRenewsNothing(t *testing.T) {
	t.Parallel()
	h := newHostile(t)
	s := h.next("0")
	s.at(5)
	s.pong(3, s.ping())
	s.dropped()
	h.admits(false, "from a CA that forgot two revocations")
	s = h.next("6")
	s.at(3)
	s.dropped()
	h.admits(false, "nor on the next stream")
}

func TestAnswersThatRenewNothing(t *testing.T) {
	t.Parallel()
	t.Run("to pings never sent", func(t *testing.T) {
		t.Parallel()
		h := newHostile(t)
		s := h.next("0")
		s.at(0)
		last := s.ping()
		for _, n := range []uint64{1, 2, last - 1, last + 3, last + 4, 1 << 63, ^uint64(0)} {
			s.pong(0, n)
		}
		// They have been read by now: a revocation after them is acted on.
		s.revoke(1)
		h.acted(1)
		h.admits(false, "on answers to nothing")
		s.pong(1, s.ping())
		h.admits(true, "on a true answer")
	})
	t.Run("to pings of another stream", func(t *testing.T) {
		t.Parallel()
		h := newHostile(t)
		s := h.next("0")
		s.at(0)
		old := s.ping()
		s.conn.Close()
		s = h.next("1")
		for n := old - 2; n < old+5; n++ {
			s.pong(0, n)
		}
		s.revoke(1)
		h.acted(1)
		h.admits(false, "on answers that were kept from a stream before")
	})
	t.Run("too late", func(t *testing.T) {
		t.Parallel()
		h := newHostileUntil(t, time.Second)
		s := h.next("0")
		s.at(0)
		first := s.ping()
		s.dropped() // a silent CA is left
		s = h.next("1")
		s.pong(0, first)
		s.at(0)
		h.admits(false, "on the late answer, on the stream after")
	})
	t.Run("later than they let admit", func(t *testing.T) {
		t.Parallel()
		h := newHostile(t)
		s := h.next("0")
		s.at(0)
		n := s.ping()
		time.Sleep(1100 * time.Millisecond) // it is on its way for so long
		s.say(control.Event{Pong: n, AdmitSeconds: 1, KeepSeconds: 1})
		s.revoke(1)
		h.acted(1)
		h.admits(false, "for a second, on an answer that took longer")
	})
	t.Run("told twice", func(t *testing.T) {
		t.Parallel()
		h := newHostile(t)
		s := h.next("0")
		s.at(0)
		// The lease runs from before the ping came here: of a machine that is so busy that it is over by then, one that lasts longer is tried.
		for length := time.Second; ; length *= 2 {
			answer := control.Event{Pong: s.ping(), AdmitSeconds: length.Seconds(), KeepSeconds: length.Seconds()}
			over := bastion.Uptime() + length
			s.say(answer)
			admitted := false
			for bastion.Uptime() < over+100*time.Millisecond {
				admitted = admitted || h.b.Admits()
				s.say(answer)
				time.Sleep(10 * time.Millisecond)
			}
			if admitted {
				break
			}
			if length > wait {
				t.Fatal("no answer lets it admit")
			}
		}
		s.revoke(1)
		h.acted(1)
		h.admits(false, "for longer, on the same answer again and again")
	})
	t.Run("lengths that are none", func(t *testing.T) {
		t.Parallel()
		h := newHostile(t)
		s := h.next("0")
		s.at(0)
		s.say(control.Event{Pong: s.ping(), AdmitSeconds: -10, KeepSeconds: -1e300})
		s.revoke(1)
		h.acted(1)
		h.admits(false, "for less than no time")
	})
}

// A CA that lets the bastion log in and then says nothing more does not hold it for ever.
func TestACAThatHangsHalfWay(t *testing.T) {
	t.Parallel()
	const silence = time.Second
	h := newHostileUntil(t, silence)
	began := time.Now() // before anything was said: the silence begins when the last of it was
	s := h.next("0")
	s.dropped()
	if took := time.Since(began); took < silence {
		t.Errorf("left a silent CA after %s", took)
	}
	h.next("0")
}
