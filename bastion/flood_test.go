package bastion

import (
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"postern/internal/rawssh"
	"postern/recorder"
)

// The three places from which somebody with a valid certificate can send what they like.
var places = map[string]func(*world, testing.TB) (c *rawssh.Client, end func()){
	"on the way to a jump": func(w *world, t testing.TB) (*rawssh.Client, func()) {
		c := w.raw(t, "jump")
		return c, func() { c.Conn.Close() }
	},
	"in a session": func(w *world, t testing.TB) (*rawssh.Client, func()) {
		c := w.raw(t, w.account+"@phi1")
		return c, func() { c.Conn.Close() }
	},
	"inside a jump": func(w *world, t testing.TB) (*rawssh.Client, func()) {
		c, outside := w.rawInside(t, ordinaryPacket/2)
		return c, func() { outside.Conn.Close() }
	},
}

// heap is what lives on the heap now.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestTenThousandOfEverything that is answered: what exceeds the burst comes at the rate, and costs neither goroutines nor memory.
func TestTenThousandOfEverything(t *testing.T) {
	const many, least, during = 10_000, 200, time.Second
	w := newWorld(t)
	floods := [][]byte{
		opening("x@y", 7, ordinaryWindow, ordinaryPacket, nil),
		opening("direct-tcpip", 7, ordinaryWindow, ordinaryPacket, append(text("127.0.0.1"), 0, 0, 0, 22, 0, 0, 0, 0, 0, 0, 0, 1)),
		global("keepalive@openssh.com", true, nil),
		global("tcpip-forward", true, append(text("localhost"), 0, 0, 0, 0)),
	}
	for place, enter := range places {
		w.attack(t, place, func(t *testing.T) {
			c, end := enter(w, t)
			defer end()
			go func() {
				for i := range many {
					if c.Send(floods[i%len(floods)]) != nil {
						return
					}
				}
			}()
			before := runtime.NumGoroutine()
			began := time.Now()
			n, err := answers(c, []byte{msgNotOpened, msgGlobalNo}, least, during)
			if err != nil {
				t.Fatalf("after %d answers: %v", n, err)
			}
			if due := requestBurst + requestsPerSecond*time.Since(began).Seconds() + 200; float64(n) > due || n < least {
				t.Errorf("%d are answered, %.0f are due", n, due)
			}
			if more := runtime.NumGoroutine() - before; more > 500 {
				t.Errorf("%d goroutines more", more)
			}
		})
	}
}

func TestTenThousandSessionsOnOneConnection(t *testing.T) {
	w := newWorld(t)
	for _, place := range []string{"in a session", "inside a jump"} {
		w.attack(t, place, func(t *testing.T) {
			c, end := places[place](w, t)
			defer end()
			go func() {
				for i := range uint32(10_000) {
					if c.Send(opening("session", i, ordinaryWindow, ordinaryPacket, nil)) != nil {
						return
					}
				}
			}()
			_ = c.SetReadDeadline(time.Now().Add(patience))
			opened, refused := 0, 0
			for refused < 500 {
				p, err := c.Receive()
				if err != nil {
					t.Fatalf("after %d were opened and %d refused: %v", opened, refused, err)
				}
				switch p[0] {
				case msgOpened:
					opened++
				case msgNotOpened:
					refused++
				}
			}
			if opened > w.b.Limits.MaxChannels {
				t.Errorf("%d channels are open at once, the limit is %d", opened, w.b.Limits.MaxChannels)
			}
		})
	}
}

func TestTenThousandRequestsOnOneChannel(t *testing.T) {
	w := newWorld(t)
	for _, place := range []string{"in a session", "inside a jump"} {
		w.attack(t, place, func(t *testing.T) {
			c, end := places[place](w, t)
			defer end()
			s, err := open(c, opening("session", 0, ordinaryWindow, ordinaryPacket, nil))
			if err != nil {
				t.Fatal(err)
			}
			go func() {
				for range 10_000 {
					if c.Send(request(s.id, "env", true, append(text("LANG"), text("C")...))) != nil {
						return
					}
				}
			}()
			began := time.Now()
			n, err := answers(c, []byte{msgRequestYes}, 1, time.Second)
			if err != nil {
				t.Fatal(err)
			}
			if due := requestBurst + requestsPerSecond*time.Since(began).Seconds() + 200; float64(n) > due {
				t.Errorf("%d are answered, %.0f are due", n, due)
			}
		})
	}
}

// TestBytesOneByOne: a packet of one byte costs the library 48 until it is read, so a window of two megabytes of them holds a hundred.
// That is what one channel can cost whose program reads nothing; what nobody would ever read must cost nothing.
func TestBytesOneByOne(t *testing.T) {
	const packets, mostOfAPacket = 100_000, 64
	w := newWorld(t)
	// stuck is a program that reads nothing, and everything on the way to it full.
	stuck := func(t *testing.T, c *rawssh.Client) *pipe {
		t.Helper()
		s, err := start(c, largestWindow, "sleep 600")
		if err != nil {
			t.Fatal(err)
		}
		go io.Copy(io.Discard, s)
		s.piece = ordinaryPacket
		if _, err := s.Write(make([]byte, 5<<20)); err != nil {
			t.Fatal(err)
		}
		s.piece = 1
		return s
	}
	one := func(t *testing.T, flow io.Writer, arrived func() error) {
		t.Helper()
		if err := arrived(); err != nil {
			t.Fatal(err)
		}
		before := heap()
		if _, err := flow.Write(make([]byte, packets)); err != nil {
			t.Fatal(err)
		}
		if err := arrived(); err != nil {
			t.Fatal(err)
		}
		held := heap() - before
		t.Logf("%d packets of a byte: %d KiB, %d bytes each", packets, held>>10, held/packets)
		if held > packets*mostOfAPacket {
			t.Errorf("%d bytes are held for a packet of one", held/packets)
		}
	}
	w.attack(t, "to a program that reads nothing", func(t *testing.T) {
		c := w.raw(t, w.account+"@phi1")
		defer c.Conn.Close()
		s := stuck(t, c)
		one(t, s, s.arrived)
	})
	w.attack(t, "to a program that reads nothing, through a jump", func(t *testing.T) {
		c, outside := w.rawInside(t, ordinaryPacket/2)
		defer outside.Conn.Close()
		s := stuck(t, c)
		one(t, s, s.arrived)
	})
	w.attack(t, "of the connection in a jump", func(t *testing.T) {
		c, outside := w.rawInside(t, 1)
		defer outside.Conn.Close()
		flow := c.Conn
		for range requestBurst + requestsPerSecond { // from then on it is read slowly
			if err := c.Send(global("x", false, nil)); err != nil {
				t.Fatal(err)
			}
		}
		one(t, sealed{c, flow}, func() error {
			err := outside.Send(global("keepalive@openssh.com", true, nil))
			if err == nil {
				_, err = outside.Expect(msgGlobalNo)
			}
			return err
		})
	})
	w.attack(t, "on the standard error of a client", func(t *testing.T) {
		c := w.raw(t, w.account+"@phi1")
		defer c.Conn.Close()
		s, err := start(c, largestWindow, "sleep 600")
		if err != nil {
			t.Fatal(err)
		}
		before := heap()
		packet := rawssh.Packet(msgExtended, struct {
			Channel, Kind uint32
			Data          []byte
		}{s.id, stderrOfClients, []byte{0}})
		for range packets {
			if err := c.Send(packet); err != nil {
				t.Fatal(err)
			}
		}
		if held := heap() - before; held > 4<<20 {
			t.Errorf("%d KiB are held of what nobody reads", held>>10)
		}
	})
}

// TestMemoryIsShort: who fills it goes, and whoever just sends much stays.
func TestMemoryIsShort(t *testing.T) {
	w := newWorld(t, func(w *world, _ *recorder.Config) { w.memory = uint64(heap()) + 16<<20 })
	honest := w.command("ssh", "direct", "cat >/dev/null; echo all")
	sends := must(honest.StdinPipe())
	heard := &syncBuffer{}
	honest.Stdout, honest.Stderr = heard, heard
	if err := honest.Start(); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	go func() {
		defer sends.Close()
		for piece := make([]byte, 64<<10); ; {
			select {
			case <-stop:
				return
			default:
			}
			if _, err := sends.Write(piece); err != nil {
				return
			}
		}
	}()
	c := w.raw(t, w.account+"@phi1")
	defer c.Conn.Close()
	s, err := start(c, largestWindow, "sleep 600")
	if err != nil {
		t.Fatal(err)
	}
	go io.Copy(io.Discard, s)
	s.piece = ordinaryPacket
	if _, err := s.Write(make([]byte, 5<<20)); err != nil {
		t.Fatal(err)
	}
	s.piece = 1
	_ = c.SetDeadline(time.Now().Add(patience))
	for err == nil { // waits for ever when the window is full
		_, err = s.Write(make([]byte, 64<<10))
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("it goes on")
	}
	close(stop)
	if err := honest.Wait(); err != nil || heard.String() != "all\n" {
		t.Errorf("the honest client: %v, %s", err, heard)
	}
	if log := w.log.String(); !strings.Contains(log, "the client that holds most is out") {
		t.Error("the log does not say so")
	}
}

// sealed writes requests of about as many bytes to the connection of a client.
type sealed struct {
	c    *rawssh.Client
	flow io.Writer
}

func (s sealed) Write(p []byte) (int, error) {
	for done := 0; done < len(p); {
		n, err := s.flow.Write(s.c.Seal(global("x", false, nil)))
		if err != nil {
			return done, err
		}
		done += n
	}
	return len(p), nil
}

// TestWindowGames: a client that lets nothing out, a byte at a time, or more than there can be.
func TestWindowGames(t *testing.T) {
	w := newWorld(t)
	for _, place := range []string{"in a session", "inside a jump"} {
		w.attack(t, "no window, or little, and never more, "+place, func(t *testing.T) {
			c, end := places[place](w, t)
			defer end()
			before := heap()
			for _, window := range []uint32{0, 1, 1000} {
				if _, err := start(c, window, "yes"); err != nil {
					t.Fatal(err)
				}
				if window > 0 {
					if _, err := c.Expect(msgData); err != nil { // the first of it is there
						t.Fatal(err)
					}
				}
			}
			if held := heap() - before; held > 32<<20 {
				t.Errorf("%d MiB are held", held>>20)
			}
		})
		w.attack(t, "more window than there can be, "+place, func(t *testing.T) {
			c, end := places[place](w, t)
			defer end()
			s, err := start(c, 1<<32-1, "sleep 600")
			if err != nil {
				t.Fatal(err)
			}
			for range 3 {
				_ = c.Send(rawssh.Packet(msgWindow, struct{ Channel, More uint32 }{s.id, 1<<32 - 1}))
			}
			_ = c.SetReadDeadline(time.Now().Add(patience))
			var late net.Error
			for err == nil {
				_, err = c.Receive()
			}
			if errors.As(err, &late) && late.Timeout() {
				t.Error("the connection goes on")
			}
		})
		w.attack(t, "more data than there is window, "+place, func(t *testing.T) {
			c, end := places[place](w, t)
			defer end()
			s, err := start(c, ordinaryWindow, "sleep 600")
			if err != nil {
				t.Fatal(err)
			}
			go func() {
				for c.Send(data(s.id, make([]byte, ordinaryPacket))) == nil {
				}
			}()
			_ = c.SetReadDeadline(time.Now().Add(patience))
			for err == nil {
				_, err = c.Receive()
			}
			var late net.Error
			if errors.As(err, &late) && late.Timeout() {
				t.Error("the connection goes on")
			}
		})
	}
}

// TestAClientThatTakesNothing is dropped: its TCP connection is full, or the channel of its jump is while it answers all else.
func TestAClientThatTakesNothing(t *testing.T) {
	w := newWorld(t, func(w *world, _ *recorder.Config) { w.b.Limits.Stall = time.Second })
	w.attack(t, "inside a jump", func(t *testing.T) {
		outside := w.raw(t, "jump")
		defer outside.Conn.Close()
		s, err := openJump(outside, ordinaryWindow, ordinaryPacket/2)
		if err != nil {
			t.Fatal(err)
		}
		c := rawssh.New(s)
		if err := c.Login(w.account, w.aliceCertified()); err != nil {
			t.Fatal(err)
		}
		if _, err := start(c, largestWindow, "yes"); err != nil {
			t.Fatal(err)
		}
		_ = outside.SetReadDeadline(time.Now().Add(patience))
		for err == nil { // it reads its TCP connection, but opens the window no further
			_, err = outside.Receive()
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error("the connection goes on")
		}
		if p := w.ending(); p.End != "closed" {
			t.Errorf("the CA was told the end %q", p.End)
		}
	})
	if log := w.log.String(); !strings.Contains(log, "client takes nothing") {
		t.Error("the log does not say why")
	}
}
