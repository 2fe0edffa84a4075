package socket

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	mathrand "math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"
)

// pair is two ends of a TCP connection, the first one tuned.
func pair(t testing.TB, stall time.Duration) (*Conn, net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dialled := make(chan net.Conn, 1)
	go func() {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Error(err)
		}
		dialled <- c
	}()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	s, other := New(c, stall), <-dialled
	t.Cleanup(func() { s.Close(); other.Close() })
	return s, other
}

func TestWhatIsWrittenArrivesInOrder(t *testing.T) {
	s, other := pair(t, 0)
	data := make([]byte, 8<<20)
	_, _ = rand.Read(data)
	go func() {
		for rest := data; len(rest) > 0; {
			n := min(len(rest), []int{1, 40, 4095, 4096, 32 << 10, 300 << 10}[mathrand.N(6)])
			if _, err := s.Write(rest[:n]); err != nil {
				t.Error(err)
				return
			}
			rest = rest[n:]
		}
		s.Close() // what is queued still goes out
	}()
	got, err := io.ReadAll(other)
	if err != nil || !bytes.Equal(got, data) {
		t.Fatalf("%d of %d bytes came, error %v", len(got), len(data), err)
	}
}

func TestWhatIsReadIsWhatWasSent(t *testing.T) {
	s, other := pair(t, 0)
	data := make([]byte, 8<<20)
	_, _ = rand.Read(data)
	go func() {
		for rest := data; len(rest) > 0; {
			n, _ := other.Write(rest[:min(len(rest), 1+mathrand.N(200<<10))])
			rest = rest[n:]
		}
		other.Close()
	}()
	var got bytes.Buffer
	for p := make([]byte, 400<<10); ; {
		n, err := s.Read(p[:[]int{1, 100, 4096, 33 << 10, 400 << 10}[mathrand.N(5)]])
		got.Write(p[:n])
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(got.Bytes(), data) {
		t.Fatalf("%d of %d bytes came, or others", got.Len(), len(data))
	}
	if s.in != nil {
		t.Error("a buffer is kept after the end")
	}
}

func TestManyWritersMixNothingUp(t *testing.T) {
	s, other := pair(t, 0)
	const writers, each, size = 8, 200, 5000
	var group sync.WaitGroup
	for w := range byte(writers) {
		group.Go(func() {
			for range each {
				if _, err := s.Write(bytes.Repeat([]byte{w}, size)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	go func() { group.Wait(); s.Close() }()
	var seen [writers]int
	for p := make([]byte, size); ; {
		if _, err := io.ReadFull(other, p); err != nil {
			break
		}
		if !bytes.Equal(p, bytes.Repeat(p[:1], size)) {
			t.Fatal("two writes are mixed")
		}
		seen[p[0]]++
	}
	for w, n := range seen {
		if n != each {
			t.Errorf("writer %d: %d of %d pieces came", w, n, each)
		}
	}
}

func TestAPeerThatTakesNothingIsGivenUp(t *testing.T) {
	s, _ := pair(t, 200*time.Millisecond)
	_ = s.SetDeadline(time.Now().Add(-time.Hour)) // does nothing
	var err error
	for err == nil { // it would be for ever
		_, err = s.Write(make([]byte, 64<<10))
	}
}

// TestAPeerThatTakesNothingAndSendsOn: what it sent is of no use when it cannot be answered.
func TestAPeerThatTakesNothingAndSendsOn(t *testing.T) {
	s, other := pair(t, 200*time.Millisecond)
	if _, err := other.Write(make([]byte, 2*bulkSize)); err != nil {
		t.Fatal(err)
	}
	p := make([]byte, inlineBelow)
	for range 4 { // some of it is read ahead
		if _, err := io.ReadFull(s, p); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	for err == nil {
		_, err = s.Write(make([]byte, 64<<10))
	}
	if n, err := s.Read(p); err == nil {
		t.Errorf("%d bytes are read after the connection was given up", n)
	}
	if s.in != nil || s.out != nil || s.pending > 0 {
		t.Error("it keeps a buffer")
	}
	for _, err = other.Write(p); err == nil; {
		_, err = other.Write(p) // until it hears of it
	}
}

func TestCloseDoesNotWait(t *testing.T) {
	for round := 1; ; round++ {
		took := closing(t)
		if took < lingerOnClose/4 {
			return
		}
		if round == 10 { // a busy machine keeps nobody from running ten times
			t.Fatalf("Close took %s", took)
		}
	}
}

// closing is how long it takes to close a connection whose peer takes nothing.
func closing(t *testing.T) time.Duration {
	t.Helper()
	s, _ := pair(t, time.Hour)
	blocked := make(chan error)
	go func() {
		var err error
		for err == nil {
			_, err = s.Write(make([]byte, 64<<10))
		}
		blocked <- err
	}()
	reading := make(chan error)
	go func() {
		_, err := s.Read(make([]byte, 1))
		reading <- err
	}()
	for s.queued() < bulkSize {
		time.Sleep(time.Millisecond)
	}
	began := time.Now()
	s.Close()
	took := time.Since(began)
	if err := <-reading; err == nil {
		t.Error("Read went on")
	}
	<-blocked // Write ends too, though the peer has an hour
	return took
}

func (c *Conn) queued() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pending
}

// TestEnd: the other side has the last words and sees the end, and what it says after that is nobody's, although the connection is cleaned up later.
func TestEnd(t *testing.T) {
	s, other := pair(t, 0)
	read := make(chan int, 1)
	go func() {
		n, _ := s.Read(make([]byte, 10))
		read <- n
	}()
	s.Last()
	if _, err := s.Write([]byte("the end")); err != nil {
		t.Fatal(err)
	}
	if err := s.End(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(other); string(got) != "the end" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := s.Write([]byte("more")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("written after the end: %v", err)
	}
	if _, err := other.Write([]byte("an answer")); err != nil {
		t.Error(err)
	}
	if n := <-read; n != 0 {
		t.Errorf("%d bytes were read after the end", n)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// TestEndOfWhatIsQueued closes as Close does: what is queued gets its moment.
func TestEndOfWhatIsQueued(t *testing.T) {
	s, other := pair(t, 0)
	for s.queued() == 0 {
		if _, err := s.Write(make([]byte, 64<<10)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.End(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Write([]byte("more")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("written after the end: %v", err)
	}
	_, _ = io.Copy(io.Discard, other) // ends
}
