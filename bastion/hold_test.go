package bastion

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/internal/control"
)

// releases is a CA whose approvers release whatever is held, at once, and counts it.
func (w *world) releases(told chan control.Risk) (count func() int) {
	n, done := make(chan int), make(chan struct{})
	go func() {
		times := 0
		for {
			select {
			case r := <-told:
				if r.Action != "hold" {
					continue
				}
				lift := control.Lifted{Session: r.Session, Limit: r.Limit, Before: r.Lifted, By: []string{"bob"}}
				w.b.Lift(control.Lifted{Session: r.Session, Limit: r.Limit, Before: r.Lifted + 1, By: lift.By}) // one that is to come
				w.b.Lift(lift)
				w.b.Lift(lift) // as after every reconnect
				times++
			case n <- times:
			case <-done:
				return
			}
		}
	}()
	w.t.Cleanup(func() { close(done) })
	return func() int { return <-n }
}

// What is released goes on where it stood: not a byte is lost, added or shown before its release, however often it is held.
func TestReleasedWithoutALoss(t *testing.T) {
	t.Parallel()
	const most, size = 300_001, 2_000_000
	big := make([]byte, size)
	_, _ = rand.Read(big)
	for name, fetch := range map[string]func(w *world) []byte{
		"exec": func(w *world) []byte { return []byte(w.run("", "ssh", "direct", "cat "+w.file("big")).out) },
		"sftp": func(w *world) []byte {
			w.run(fmt.Sprintf("get %[1]s/big %[1]s/got\n", w.dir), "sftp", "-b", "-", "direct")
			b, _ := os.ReadFile(w.file("got"))
			return b
		},
		"old scp": func(w *world) []byte {
			w.run("", "scp", "-O", "direct:"+w.file("big"), w.file("got"))
			b, _ := os.ReadFile(w.file("got"))
			return b
		},
		"two at once": func(w *world) []byte {
			client, _, err := w.dial(w.account+"@phi1", w.certificate(nil))
			if err != nil {
				w.t.Fatal(err)
			}
			defer client.Close()
			halves := make(chan []byte, 2)
			var begin []io.Writer
			for _, half := range []string{"head -c 1000000 ", "tail -c 1000000 "} {
				s, err := client.NewSession()
				if err != nil {
					w.t.Fatal(err)
				}
				in, _ := s.StdinPipe()
				out, _ := s.StdoutPipe()
				if err := s.Start("read x; " + half + w.file("big")); err != nil {
					w.t.Fatal(err)
				}
				begin = append(begin, in)
				go func() { b, _ := io.ReadAll(out); halves <- b }()
			}
			for _, in := range begin { // no channel opens while the session is held
				fmt.Fprintln(in)
			}
			one, two := <-halves, <-halves
			if bytes.HasPrefix(big, two) {
				one, two = two, one
			}
			return append(one, two...)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, told := limited(t, fmt.Sprintf("bytes-out %d hold", most))
			w.b.Limits.HoldTime = time.Minute
			if err := os.WriteFile(w.file("big"), big, 0o600); err != nil {
				t.Fatal(err)
			}
			count := w.releases(told)
			if got := fetch(w); !bytes.Equal(got, big) {
				t.Errorf("%d bytes came, and not as they were", len(got))
			}
			if n := count(); n < size/most || n > size/most+1 {
				t.Errorf("it was released %d times", n)
			}
			if end := w.ending(); end.End != "closed" {
				t.Errorf("it ended %q", end.End)
			}
		})
	}
}

// talker is a program, and what it and we said.
type talker struct {
	in  io.Writer
	out *syncBuffer
}

func talk(t *testing.T, client *ssh.Client, command string) talker {
	t.Helper()
	s, err := client.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	in, _ := s.StdinPipe()
	out := &syncBuffer{}
	s.Stdout, s.Stderr = out, out
	if err := s.Start(command); err != nil {
		t.Fatal(err)
	}
	return talker{in, out}
}

const echoes = "while read x; do echo got $x; done"

// A hold that is released lets every channel go on with what it was told meanwhile, and the command that was one too many runs, once.
func TestRelease(t *testing.T) {
	t.Parallel()
	w, told := limited(t, "commands 'stop' 0 hold")
	w.b.Limits.HoldTime = time.Minute
	client, _, err := w.dial(w.account+"@phi1", w.certificate(nil))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	one, two := talk(t, client, echoes), talk(t, client, echoes)
	for round := range uint64(2) {
		held := talk(t, client, "echo ran $((6*7)) >> "+w.file("stop")+"; cat "+w.file("stop"))
		r := <-told
		if r.Action != "hold" || r.Lifted != round {
			t.Fatalf("told: %+v", r)
		}
		held.out.wait(t, "is held until approvers release it with: postern approve R-1")
		fmt.Fprintln(one.in, "one", round)
		fmt.Fprintln(two.in, "two", round)
		lift := control.Lifted{Session: r.Session, Limit: r.Limit, Before: r.Lifted, By: []string{"bob", "dana"}}
		for what, wrong := range map[string]control.Lifted{
			"another session": {Session: "S-000002", Limit: r.Limit, Before: r.Lifted},
			"another limit":   {Session: r.Session, Limit: "commands 'x' 0 hold", Before: r.Lifted},
			"a later hold":    {Session: r.Session, Limit: r.Limit, Before: r.Lifted + 1},
			"an earlier hold": {Session: r.Session, Limit: r.Limit, Before: r.Lifted - 1},
		} {
			if w.b.Lift(wrong); !w.live(t).risk.stop() {
				t.Fatalf("the release of %s released it", what)
			}
		}
		if strings.Contains(one.out.String()+two.out.String(), fmt.Sprintf("got one %d", round)) {
			t.Error("something passed")
		}
		w.b.Lift(lift)
		held.out.wait(t, "released by bob and dana", strings.Repeat("ran 42\n", int(round)+1))
		one.out.wait(t, fmt.Sprintf("got one %d", round))
		two.out.wait(t, fmt.Sprintf("got two %d", round))
		w.b.Lift(lift)
	}
	if b, _ := os.ReadFile(w.file("stop")); string(b) != "ran 42\nran 42\n" {
		t.Errorf("it ran: %q", b)
	}
}

// live is the one session there is.
func (w *world) live(t *testing.T) *session {
	t.Helper()
	list := w.b.revoked.sessions()
	if len(list) != 1 {
		t.Fatalf("%d sessions are live", len(list))
	}
	return list[0]
}

// Who gave up while a command was held does not have it run later.
func TestWhoGaveUpIsNotRun(t *testing.T) {
	t.Parallel()
	w, told := limited(t, "commands 'stop' 0 hold")
	w.b.Limits.HoldTime = time.Minute
	client, _, err := w.dial(w.account+"@phi1", w.certificate(nil))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	other := talk(t, client, echoes)
	s, err := client.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start("touch " + w.file("stop")); err != nil {
		t.Fatal(err)
	}
	r := <-told
	s.Close()
	// The client said so before it says this.
	if _, _, err := client.SendRequest("keepalive@openssh.com", true, nil); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		live := w.live(t)
		live.mu.Lock()
		n := len(live.channels)
		live.mu.Unlock()
		if n == 1 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the channel is still there")
		}
	}
	w.b.Lift(control.Lifted{Session: r.Session, Limit: r.Limit, By: []string{"bob"}})
	fmt.Fprintln(other.in, "on")
	other.out.wait(t, "got on")
	if _, err := os.Stat(w.file("stop")); err == nil {
		t.Error("it ran")
	}
}

// Two limits hold one session: it goes on when both are released.
func TestTwoHoldOne(t *testing.T) {
	t.Parallel()
	w, told := limited(t, "commands 'stop' 0 hold; commands 'top' 0 hold")
	w.b.Limits.HoldTime = time.Minute
	client, _, err := w.dial(w.account+"@phi1", w.certificate(nil))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	held := talk(t, client, "echo ran; : stop")
	one, two := <-told, <-told
	w.b.Lift(control.Lifted{Session: one.Session, Limit: one.Limit, By: []string{"bob"}})
	held.out.wait(t, "released by bob; what holds it still: "+two.Limit)
	if strings.Contains(held.out.String(), "\nran\n") || !w.live(t).risk.stop() {
		t.Error("one release was enough")
	}
	w.b.Lift(control.Lifted{Session: two.Session, Limit: two.Limit, By: []string{"bob"}})
	held.out.wait(t, "\nran\n")
}

// refuse ends a hold as an approver does who will not have it go on.
func (w *world) refuse(r control.Risk) {
	w.b.Lift(control.Lifted{Session: r.Session, Limit: r.Limit, Before: r.Lifted, Denied: true, By: []string{"bob"}})
}

// A release that comes too late, or is none, changes nothing; one that was refused ends the session.
func TestNoRelease(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		holds time.Duration
		does  func(w *world, r control.Risk)
		says  string
		end   string
	}{
		"nobody came": {200 * time.Millisecond, func(w *world, r control.Risk) {}, "nobody released it in 200ms", "held"},
		"refused":     {time.Minute, (*world).refuse, "bob refused to release it", "held"},
		"revoked while held": {time.Minute, func(w *world, r control.Risk) {
			w.b.Revoke(control.Revocation{Seq: 1, Kind: "request", Value: r.Request, Requests: []string{r.Request}, By: "olga", Reason: "enough"})
			w.b.Lift(control.Lifted{Session: r.Session, Limit: r.Limit, By: []string{"bob"}})
		}, "your access was revoked by olga: enough", "revoked"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, told := limited(t, "commands 'stop' 0 hold")
			w.b.Limits.HoldTime = c.holds
			client, _, err := w.dial(w.account+"@phi1", w.certificate(nil))
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			s := w.live(t) // a moment later the hold may be over
			held := talk(t, client, "touch "+w.file("stop"))
			r := <-told
			c.does(w, r)
			if end := w.ending(); end.End != c.end {
				t.Errorf("it ended %q", end.End)
			}
			held.out.wait(t, c.says)
			s.lift(control.Lifted{Session: r.Session, Limit: r.Limit, By: []string{"bob"}})
			if !s.risk.stop() {
				t.Error("a release came in time after the end")
			}
			if _, err := os.Stat(w.file("stop")); err == nil {
				t.Error("it ran")
			}
		})
	}
}

// Of two that race, the end of a hold and its release, one wins for everybody.
func TestReleaseRacesWithTheEnd(t *testing.T) {
	t.Parallel()
	for range 2000 {
		r, err := newRisk("denied 0 hold")
		if err != nil {
			t.Fatal(err)
		}
		crossed, _ := r.one("denied", nil)
		released := make(chan bool, 1)
		go func() {
			ok, _ := r.lift(control.Lifted{Limit: "denied 0 hold"})
			released <- ok
		}()
		if expired := r.expire("denied 0 hold", crossed[0].lifted); expired == <-released || expired != r.stop() {
			t.Fatal("both, or neither")
		}
	}
}

// A grant has its allowance once, however many sessions are opened of it, one after the other or at once, here or elsewhere.
func TestOneAllowance(t *testing.T) {
	t.Parallel()
	const text = "bytes-out 300000 hold"
	w, told := limited(t, text+"; denied 9 log")
	big := bytes.Repeat([]byte("0123456789"), 50_000)
	if err := os.WriteFile(w.file("big"), big, 0o600); err != nil {
		t.Fatal(err)
	}
	fetch := func(n int) int {
		return len(w.run("", "ssh", "direct", fmt.Sprintf("head -c %d %s", n, w.file("big"))).out)
	}
	if n := fetch(100_000); n != 100_000 {
		t.Fatal(n)
	}
	if end := w.ending(); end.End != "closed" || end.Counts[text] != 100_000 || len(end.Counts) != 1 {
		t.Errorf("told with the end: %+v", end)
	}
	w.answer(func(r *control.OpenReply) {
		r.Session.Limits, r.Used = text, map[string]uint64{text: 150_000} // 50 000 of them through another bastion
	})
	if n := fetch(100_000); n != 100_000 {
		t.Fatal(n)
	}
	w.ending()
	w.b.Limits.HoldTime = patience
	last := w.command("ssh", "direct", "head -c 100000 "+w.file("big"))
	shown := &syncBuffer{}
	last.Stdout = shown
	if err := last.Start(); err != nil {
		t.Fatal(err)
	}
	r := <-told
	if r.Limit != text || r.Count <= 300_000 {
		t.Errorf("told: %+v", r)
	}
	shown.holds(t, 50_000)
	w.refuse(r)
	_ = last.Wait()
	if n := len(shown.String()); n != 50_000 {
		t.Errorf("%d bytes came at last", n)
	}
	if end := w.ending(); end.End != "held" || end.Counts[text] != 50_000 {
		t.Errorf("told with the end: %+v", end)
	}
}

// Sessions at the same time count together; what ended is counted once, whether the CA says so or not; a release is one for all.
func TestTallies(t *testing.T) {
	var g grants
	now := time.Now()
	risks := make([]*risk, 3)
	enter := func(used uint64) *risk {
		r, err := newRisk("files-read 5 hold; paths /phi/* 1 log")
		if err != nil {
			t.Fatal(err)
		}
		r.share(g.enter("R-1", now, now.Add(time.Minute)), map[string]uint64{"files-read 5 hold": used})
		return r
	}
	for i := range risks {
		risks[i] = enter(0)
	}
	read := func(r *risk, n int) (crossed []crossing) {
		for range n {
			more, _ := r.one("files-read", nil)
			crossed = append(crossed, more...)
		}
		return crossed
	}
	if c := append(read(risks[0], 2), read(risks[1], 3)...); len(c) > 0 {
		t.Errorf("crossed at %v", c)
	}
	if counts := risks[0].leave(); counts["files-read 5 hold"] != 2 {
		t.Errorf("the first counted %v", counts)
	}
	risks[0] = enter(2) // the CA was told, and
	g.leave("R-1", now)
	if c := read(risks[2], 1); len(c) != 1 || c[0].count != 6 {
		t.Errorf("crossed at %v", c)
	}
	if ok, _ := risks[2].lift(control.Lifted{Limit: "files-read 5 hold"}); !ok {
		t.Error("not released")
	}
	if c := read(risks[1], 5); len(c) > 0 {
		t.Errorf("after the release: %v", c)
	}
	if a, b := risks[1].leave(), risks[2].leave(); a["files-read 5 hold"] != 5 || len(b) > 0 {
		t.Errorf("counted since: %v %v", a, b)
	}
	files := func(r *risk, path string) []crossing {
		c, _ := r.one("paths", func(w *watched) bool { return w.newFile(path) })
		return c
	}
	last := enter(0)
	if a, b, c := files(risks[0], "/phi/a"), files(last, "/phi/a"), files(last, "/phi/b"); len(a)+len(b) > 0 || len(c) != 1 {
		t.Errorf("files: %v %v %v", a, b, c)
	}
	for range 4 {
		g.leave("R-1", now)
	}
	if g.enter("R-2", now.Add(2*time.Minute), now); g.by["R-1"] != nil {
		t.Error("a grant that is over is remembered")
	}
}
