package auditor

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// falseBastion is one that answers commands as a test likes.
type falseBastion struct {
	mu       sync.Mutex
	commands []string
	answer   func(command string, c ssh.Channel) (status uint32)
	refuse   func() bool // a channel
}

// at connects to one.
func (l *falseBastion) at(t *testing.T) *ssh.Client {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	config := &ssh.ServerConfig{NoClientAuth: true}
	config.AddHostKey(newTestSigner(t))
	go func() {
		there, err := listener.Accept()
		if err != nil {
			return
		}
		conn, channels, requests, err := ssh.NewServerConn(there, config)
		if err != nil {
			return
		}
		defer conn.Close()
		go ssh.DiscardRequests(requests)
		for ch := range channels {
			if l.refuse != nil && l.refuse() {
				ch.Reject(ssh.ResourceShortage, "busy")
				continue
			}
			go l.serve(ch)
		}
	}()
	here, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	conn, channels, requests, err := ssh.NewClientConn(here, "", &ssh.ClientConfig{HostKeyCallback: ssh.InsecureIgnoreHostKey()})
	if err != nil {
		t.Fatal(err)
	}
	client := ssh.NewClient(conn, channels, requests)
	t.Cleanup(func() { client.Close() })
	return client
}

func (l *falseBastion) serve(ch ssh.NewChannel) {
	c, requests, err := ch.Accept()
	if err != nil {
		return
	}
	defer c.Close()
	r, ok := <-requests
	if !ok {
		return
	}
	r.Reply(true, nil)
	command := string(r.Payload[4:])
	l.mu.Lock()
	l.commands = append(l.commands, command)
	l.mu.Unlock()
	go ssh.DiscardRequests(requests)
	status := l.answer(command, c)
	if status < 100 {
		c.SendRequest("exit-status", false, binary.BigEndian.AppendUint32(nil, status))
	}
}

func newTestSigner(t *testing.T) ssh.Signer {
	t.Helper()
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

func sendBody(w io.Writer, b []byte) {
	w.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...))
}

// honest answers segments of a recording of some.
func honest(segments uint64) func(string, ssh.Channel) uint32 {
	return func(command string, c ssh.Channel) uint32 {
		var from, count uint64
		if n, _ := fmt.Sscanf(command, "segments S-1 %d %d", &from, &count); n != 2 || from >= segments {
			fmt.Fprintln(c.Stderr(), "postern: no such thing")
			return 1
		}
		for n := from; n < min(segments, from+count); n++ {
			sendBody(c, fmt.Appendf(nil, "body %d", n))
		}
		return 0
	}
}

// Who reads in order has the next segments there, and asks for them in few commands; who jumps about gets what was asked for.
func TestRemotePrefetches(t *testing.T) {
	l := &falseBastion{answer: honest(100)}
	r := NewRemote(l.at(t), "S-1")
	read := func(n uint64) {
		t.Helper()
		if b, err := r.Body(t.Context(), n); err != nil || string(b) != fmt.Sprintf("body %d", n) {
			t.Fatalf("%d: %q %v", n, b, err)
		}
	}
	for n := range uint64(100) {
		read(n)
	}
	l.mu.Lock()
	if n := len(l.commands); n > 25 {
		t.Errorf("%d commands: %q", n, l.commands)
	}
	l.mu.Unlock()
	for _, n := range []uint64{50, 3, 99, 0, 98, 51, 50} {
		read(n)
	}
	if _, err := r.Body(t.Context(), 100); err == nil {
		t.Error("segment 100 of 100 is there")
	}
	var all sync.WaitGroup
	for g := range uint64(8) {
		all.Go(func() {
			for n := g; n < 100; n += 8 {
				if b, err := r.Body(t.Context(), n); err != nil || string(b) != fmt.Sprintf("body %d", n) {
					t.Errorf("%d: %q %v", n, b, err)
				}
			}
		})
	}
	all.Wait()
}

// However much is read, little is kept.
func TestRemoteKeepsLittle(t *testing.T) {
	big := bytes.Repeat([]byte("x"), mostBody)
	r := NewRemote((&falseBastion{answer: func(command string, c ssh.Channel) uint32 {
		var from, count uint64
		fmt.Sscanf(command, "segments S-1 %d %d", &from, &count)
		for range count {
			sendBody(c, big)
		}
		return 0
	}}).at(t), "S-1")
	for n := range uint64(40) {
		if _, err := r.Body(t.Context(), n); err != nil {
			t.Fatal(err)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.bytes > mostKept+mostBody || len(r.order) > mostKept/mostBody+1 {
		t.Errorf("%d bytes of %d segments", r.bytes, len(r.order))
	}
}

func TestBastionsThatLie(t *testing.T) {
	for name, x := range map[string]struct {
		answer func(string, ssh.Channel) uint32
		says   string
	}{
		"a body that is too long": {func(_ string, c ssh.Channel) uint32 { c.Write([]byte{0xff, 0xff, 0xff, 0xff}); return 0 }, "is the most there is"},
		"half a body":             {func(_ string, c ssh.Channel) uint32 { c.Write([]byte{0, 0, 0, 9, 1, 2}); return 0 }, "no more segments"},
		"nothing":                 {func(string, ssh.Channel) uint32 { return 0 }, "no more segments"},
		"a refusal":               {func(_ string, c ssh.Channel) uint32 { io.WriteString(c.Stderr(), "postern: never\n"); return 1 }, "bastion: never"},
		"a refusal without end": {func(_ string, c ssh.Channel) uint32 {
			for range 1 << 10 {
				c.Stderr().Write(bytes.Repeat([]byte("never "), 1<<10))
			}
			return 1
		}, "never never"},
		"no exit status": {func(string, ssh.Channel) uint32 { return 100 }, "broke"},
	} {
		t.Run(name, func(t *testing.T) {
			r := NewRemote((&falseBastion{answer: x.answer}).at(t), "S-1")
			_, err := r.Body(t.Context(), 0)
			if err == nil || !strings.Contains(err.Error(), x.says) || len(err.Error()) > 2*mostSaid {
				t.Errorf("%.300v", err)
			}
			if _, again := r.Body(t.Context(), 0); again == nil {
				t.Error("the second time it is there")
			}
		})
	}
}

// A bastion that says nothing is waited for as long as the one who asks wants to.
func TestABastionThatSaysNothing(t *testing.T) {
	quit := make(chan struct{})
	defer close(quit)
	client := (&falseBastion{answer: func(string, ssh.Channel) uint32 { <-quit; return 0 }}).at(t)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	r := NewRemote(client, "S-1")
	if _, err := r.Body(ctx, 0); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	in, err := r.Outline(ctx)
	if err == nil {
		_, err = io.ReadAll(in)
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

// One that has enough to do is asked again.
func TestABusyBastion(t *testing.T) {
	n := 0
	l := &falseBastion{answer: honest(1), refuse: func() bool { n++; return n < 4 }}
	if b, err := NewRemote(l.at(t), "S-1").Body(t.Context(), 0); err != nil || string(b) != "body 0" {
		t.Error(string(b), err)
	}
}
