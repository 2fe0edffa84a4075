package bastion

import (
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/internal/control"
	"postern/recorder"
)

// running starts a command that tells when it runs and then goes on; done gets what became of it.
func (w *world) running(way, command string) (done chan result, out *syncBuffer) {
	w.t.Helper()
	out = &syncBuffer{}
	cmd := w.command("ssh", way, command)
	hold, _ := cmd.StdinPipe()
	var errs syncBuffer
	cmd.Stdout, cmd.Stderr = out, &errs
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	done = make(chan result, 1)
	go func() {
		_ = cmd.Wait()
		hold.Close()
		done <- result{out.String(), errs.String(), cmd.ProcessState.ExitCode()}
	}()
	out.wait(w.t, "up")
	return done, out
}

func wants(t *testing.T, done chan result, text string) {
	t.Helper()
	select {
	case got := <-done:
		if got.status != 255 || !strings.Contains(got.err, text) {
			t.Errorf("the admin got %+v, wanted to read %q", got, text)
		}
	case <-time.After(patience):
		t.Errorf("still running, wanted to read %q", text)
	}
}

func TestARevocationCutsWhatItHits(t *testing.T) {
	t.Parallel()
	for _, way := range ways {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			for _, r := range []control.Revocation{
				{Kind: "request", Value: "R-1"},
				{Kind: "person", Value: "alice"},
				{Kind: "host", Value: "phi1"},
				{Kind: "key", Value: ssh.FingerprintSHA256(w.alice.PublicKey())},
				{Kind: "approver", Value: "bob", Requests: []string{"R-9", "R-1"}},
				{Kind: "bastion", Value: "bastion-1"},
				{Kind: "all"},
			} {
				w.forget()
				r.Reason, r.By = "the incident is over", "olga"
				done, _ := w.running(way, "echo up; sleep 600")
				w.revoke(control.Revocation{Kind: "person", Value: "adam"})
				w.revoke(control.Revocation{Kind: "host", Value: "phi2"})
				w.revoke(r)
				wants(t, done, "postern: your access was revoked by olga: the incident is over")
				if p := w.ending(); p.End != "revoked" {
					t.Errorf("%s: ended as %q", r.Kind, p.End)
				}
			}
		})
	}
}

func TestWhatIsRevokedStaysOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cert := w.certificate(nil)
	w.useCertificate(cert)
	for _, r := range []control.Revocation{
		{Kind: "request", Value: "R-1"},
		{Kind: "serial", Value: "99999", Requests: []string{"R-1"}},
	} {
		w.forget()
		w.revoke(r)
		for _, way := range ways {
			if got := w.run("", "ssh", way, "true"); got.status != 255 || !strings.Contains(got.err, "revoked") {
				t.Errorf("%s: %+v", way, got)
			}
		}
	}
	if w.asked() != 0 {
		t.Errorf("the CA was asked %d times", w.asked())
	}
	w.forget()
	w.revoke(control.Revocation{Kind: "person", Value: "alice"})
	if got := w.run("", "ssh", "phi1", "true"); got.status != 0 {
		t.Errorf("what was granted after a person was revoked is the CA's to decide: %+v", got)
	}
}

// TestARevocationWhileASessionOpens lets the CA's answer and a revocation pass each other.
func TestARevocationWhileASessionOpens(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, seq := range []uint64{0, 1} { // what the CA knew when it answered
		w.forget()
		w.answer(func(r *control.OpenReply) {
			r.Seq = seq
			w.b.Revoke(control.Revocation{Seq: 1, Kind: "person", Value: "alice"})
		})
		got := w.run("", "ssh", "direct", "true")
		if refused := strings.Contains(got.err, "revoked"); refused != (seq == 0) {
			t.Errorf("the CA knew %d: %+v", seq, got)
		}
		w.ending()
	}
}

// TestTwoJumpsThroughOneConnection: cutting one session leaves the other, although both share the outer connection.
func TestTwoJumpsThroughOneConnection(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	outer, _, err := w.dial("jump", w.certificate(nil))
	if err != nil {
		t.Fatal(err)
	}
	defer outer.Close()
	var clients []*ssh.Client
	for _, request := range []string{"R-1", "R-2"} {
		cert := w.certificate(func(c *ssh.Certificate) { c.Extensions[requestExtension] = request })
		way, err := outer.Dial("tcp", "phi1:22")
		if err != nil {
			t.Fatal(err)
		}
		conn, chans, reqs, err := ssh.NewClientConn(way, "phi1", &ssh.ClientConfig{
			User: w.account, Auth: []ssh.AuthMethod{ssh.PublicKeys(must(ssh.NewCertSigner(cert, w.alice)))}, HostKeyCallback: ssh.InsecureIgnoreHostKey(),
		})
		if err != nil {
			t.Fatal(err)
		}
		clients = append(clients, ssh.NewClient(conn, chans, reqs))
	}
	w.revoke(control.Revocation{Kind: "request", Value: "R-1"})
	_ = clients[0].Wait()
	s, err := clients[1].NewSession()
	if err != nil {
		t.Fatal(err)
	}
	if out, err := s.Output("echo still here"); err != nil || string(out) != "still here\n" {
		t.Errorf("the other session: %q, %v", out, err)
	}
	w.revoke(control.Revocation{Kind: "request", Value: "R-2"})
	_ = outer.Wait() // nobody jumps any more
}

func TestACutIsFastAndKillsTheProgram(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const n = 20
	var killed atomic.Int32
	fakeHost(w, func(c ssh.Channel, reqs <-chan *ssh.Request) {
		for r := range reqs {
			_ = r.Reply(true, nil)
			if r.Type == "exec" {
				_, _ = c.Write([]byte("up\n"))
			}
			if r.Type == "signal" && strings.Contains(string(r.Payload), "KILL") {
				killed.Add(1)
			}
		}
	})
	var group sync.WaitGroup
	var last atomic.Int64
	for range n {
		client, ch, _ := w.session(t)
		if _, err := ch.SendRequest("exec", true, ssh.Marshal(struct{ S string }{"x"})); err != nil {
			t.Fatal(err)
		}
		_, _ = io.ReadFull(ch, make([]byte, 3))
		group.Go(func() {
			_ = client.Wait()
			last.Store(max(last.Load(), time.Now().UnixNano()))
		})
	}
	began := time.Now()
	w.revoke(control.Revocation{Kind: "all"})
	group.Wait()
	took := time.Unix(0, last.Load()).Sub(began)
	t.Logf("%d sessions were cut in %s", n, took) // make bench says how fast it has to be
	for range n {
		w.ending()
	}
	killedAll(t, n, func() int { return int(killed.Load()) })
}

// killedAll waits until a host has heard of so many signals: it was told, and may not have read it yet.
func killedAll(t *testing.T, n int, killed func() int) {
	t.Helper()
	for end := time.Now().Add(patience); killed() < n && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	if got := killed(); got != n {
		t.Errorf("%d of %d programs were killed", got, n)
	}
}

func TestWithoutItsCAABastionAdmitsNobodyAndThenCuts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	client, _, err := w.dial(w.account+"@phi1", w.certificate(nil))
	if err != nil {
		t.Fatal(err)
	}
	jumper, _, err := w.dial("jump", w.certificate(nil))
	if err != nil {
		t.Fatal(err)
	}
	sent := Uptime()
	w.b.Renew(sent, 50*time.Millisecond, time.Hour)
	sleepUntil(sent + 50*time.Millisecond)
	if texts, in := w.everywhere(w.certificate(nil)); in || !strings.Contains(texts[0], "lost its CA") {
		t.Errorf("got in: %v; reads %q", in, texts)
	}
	if _, _, err := client.OpenChannel("session", nil); err == nil || !strings.Contains(err.Error(), "lost its CA") {
		t.Errorf("another channel of a live session: %v", err)
	}
	if _, _, err := jumper.OpenChannel("direct-tcpip", ssh.Marshal(struct {
		Host string
		Port uint32
		From string
		Old  uint32
	}{"phi1", 22, "", 0})); err == nil || !strings.Contains(err.Error(), "lost its CA") {
		t.Errorf("another jump: %v", err)
	}
	sent = Uptime()
	w.b.Renew(sent, 0, 300*time.Millisecond)
	_ = client.Wait()
	if kept := Uptime() - sent; kept < 300*time.Millisecond {
		t.Errorf("the session was cut after %s, its lease was to be kept for 300 ms", kept)
	}
	if p := w.ending(); p.End != "lost" {
		t.Errorf("ended as %q", p.End)
	}
}

func TestALateAnswerDoesNotStretchTheLease(t *testing.T) {
	w := newWorld(t)
	w.lapse()
	w.b.Renew(Uptime()-11*time.Second, 10*time.Second, 10*time.Second)
	if w.b.lease.admits() {
		t.Error("an answer that came eleven seconds late renewed a lease of ten")
	}
	sent := Uptime()
	w.b.Renew(sent, time.Hour, 2*time.Hour)
	w.b.Renew(sent-9*time.Second, time.Hour, 2*time.Hour) // overtaken by the other
	if !w.b.lease.admits() || w.b.lease.admit != sent+time.Hour {
		t.Error("an older answer shortened the lease")
	}
}

func TestTheDeadline(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, way := range ways {
		done, _ := w.running(way, "echo up; sleep 600")
		ends := time.Now().Add(200 * time.Millisecond)
		w.only().lasts(ends)
		wants(t, done, "postern: the time of R-1 is over")
		if time.Now().Before(ends) {
			t.Errorf("%s: it ended before its time", way)
		}
		if p := w.ending(); p.End != "deadline" {
			t.Errorf("%s: ended as %q", way, p.End)
		}
	}
}

func TestTheWarningBeforeTheDeadline(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	host, out, _ := w.screen(t)
	w.says(host, out, "hello\r\n")
	s := w.only()
	clock := s.clock() // the test's own, which runs as the test says
	defer clock.stop()
	for _, left := range []time.Duration{6 * time.Minute, 5 * time.Minute, 4 * time.Minute, 2 * time.Minute, time.Minute, 59 * time.Second} {
		clock.end = time.Now().Add(left)
		s.tick(clock)
		if left == 5*time.Minute {
			out.wait(t, "ends in five minutes\r\n")
		}
	}
	out.wait(t, "one minute")
	const want = "hello\r\npostern: this session ends in five minutes\r\n\apostern: this session ends in one minute\r\n\a"
	out.wait(t, want)
	if got := out.String(); got != want {
		t.Errorf("%q", got)
	}
}

func TestIdle(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.idle(60)
	done, _ := w.running("direct", "echo up; sleep 600")
	w.only().typedBefore(time.Minute)
	wants(t, done, "nothing was typed for one minute")
	if p := w.ending(); p.End != "idle" {
		t.Errorf("ended as %q", p.End)
	}
}

// TestAStuckDisk: nothing is shown that is not durable, and the session ends in bounded time.
func TestAStuckDisk(t *testing.T) {
	t.Parallel()
	var stuck atomic.Bool
	free := make(chan struct{})
	w := newWorld(t, func(w *world, c *recorder.Config) {
		w.b.Limits.FreezeTime = 2 * time.Second
		c.Disk.Sync = func(*os.File) error {
			if stuck.Load() {
				<-free
			}
			return nil // a disk that is slow by itself would freeze the session as well
		}
	})
	t.Cleanup(func() { close(free) }) // runs before the world's own
	for _, way := range ways[:1] {    // the disk stays stuck
		cmd := w.command("ssh", way, "echo up; read x; echo must not be seen; sleep 600")
		in, _ := cmd.StdinPipe()
		var out, errs syncBuffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		out.wait(t, "up")
		stuck.Store(true)
		_, _ = in.Write([]byte("go\n"))
		kill := time.AfterFunc(patience, func() { t.Error("the session goes on"); cmd.Process.Kill() })
		_ = cmd.Wait()
		kill.Stop()
		if strings.Contains(out.String(), "must not") || !strings.Contains(errs.String(), "cannot be recorded any more") {
			t.Errorf("out %q, err %q", out.String(), errs.String())
		}
		if p := w.ending(); p.End != "recorder" {
			t.Errorf("ended as %q", p.End)
		}
		if got := w.run("", "ssh", way, "true"); got.status != 255 || !strings.Contains(got.err, "cannot record at the moment") {
			t.Errorf("the next session: %+v", got)
		}
	}
}

func TestABrokenDisk(t *testing.T) {
	t.Parallel()
	var broken atomic.Bool
	w := newWorld(t, func(w *world, c *recorder.Config) {
		c.Disk.Sync = func(f *os.File) error {
			if broken.Load() {
				return errors.New("no space left on device")
			}
			return f.Sync()
		}
	})
	cmd := w.command("ssh", "phi1", "echo up; read x; echo must not be seen; sleep 600")
	in, _ := cmd.StdinPipe()
	var out, errs syncBuffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	out.wait(t, "up")
	broken.Store(true)
	_, _ = in.Write([]byte("go\n"))
	_ = cmd.Wait()
	if strings.Contains(out.String(), "must not") || !strings.Contains(errs.String(), "cannot be recorded any more") {
		t.Errorf("out %q, err %q", out.String(), errs.String())
	}
	if p := w.ending(); p.End != "recorder" {
		t.Errorf("ended as %q", p.End)
	}
	if got := w.run("", "ssh", "phi1", "true"); got.status != 255 || !strings.Contains(got.err, "cannot record at the moment") {
		t.Errorf("the next session: %+v", got)
	}
}

func TestShuttingDown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	done, _ := w.running("phi1", "echo up; sleep 600")
	if err := w.b.Close(patience); err != nil {
		t.Error(err)
	}
	wants(t, done, "shutting down")
	if got := w.run("", "ssh", "phi1", "true"); got.status != 255 || !strings.Contains(got.err, "shutting down") {
		t.Errorf("%+v", got)
	}
}

func TestTimesAreSpoken(t *testing.T) {
	for d, want := range map[time.Duration]string{
		time.Second: "one second", 45 * time.Second: "45 seconds", time.Minute: "one minute", 90 * time.Second: "90 seconds", 5 * time.Minute: "five minutes",
		150 * time.Second: "two minutes and 30 seconds", 15 * time.Minute: "15 minutes", time.Hour: "one hour", 90 * time.Minute: "90 minutes", 200 * time.Millisecond: "200ms",
	} {
		if got := spoken(d); got != want {
			t.Errorf("%s is %q, want %q", d, got, want)
		}
	}
}
