package bastion

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/internal/auditor"
	"postern/internal/control"
	"postern/recorder"
)

// auditing is an auditor's connection whose certificate names some sessions.
func (w *world) auditing(sessions ...string) *ssh.Client {
	w.t.Helper()
	client, banner, err := w.dial("recordings", w.auditCertificate(sessions...))
	if err != nil {
		w.t.Fatal(err, banner)
	}
	w.t.Cleanup(func() { client.Close() })
	return client
}

func (w *world) auditCertificate(sessions ...string) *ssh.Certificate {
	return w.certificate(func(c *ssh.Certificate) {
		c.KeyId, c.ValidPrincipals = "carol audit 1", []string{"recordings@bastion-1"}
		c.Extensions = map[string]string{
			auditExtension:  strings.Join(sessions, ","),
			viewerExtension: fmt.Sprintf("%s %d", ssh.FingerprintSHA256(w.auditor.PublicKey()), w.b.Seq()),
		}
	})
}

func output(t testing.TB, client *ssh.Client, command string) (string, string, error) {
	t.Helper()
	s, err := client.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var said bytes.Buffer
	s.Stderr = &said
	out, err := s.Output(command)
	return string(out), said.String(), err
}

// ended runs a session and returns its ID once it is sealed.
func (w *world) recorded(command string) string {
	w.t.Helper()
	if got := w.run("", "ssh", "phi1", command); got.status != 0 {
		w.t.Fatalf("%+v", got)
	}
	id := w.ending().Session
	w.recording(id)
	return id
}

func (w *world) archive(client *ssh.Client, session string) *recorder.Archive {
	w.t.Helper()
	a, err := recorder.OpenArchive(w.t.Context(), auditor.NewRemote(client, session), w.private, w.signing.Public())
	if err != nil {
		w.t.Fatal(err)
	}
	return a
}

func TestAuditorsReadInAnyOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	one, two := w.recorded("echo first; head -c 3000000 /dev/urandom"), w.recorded("echo second")
	other := w.recorded("echo third")
	client := w.auditing(one, two)
	a, b := w.archive(client, one), w.archive(client, two)
	if n := len(a.Parts()); n < 8 {
		t.Fatalf("%d segments", n)
	}
	var readers sync.WaitGroup
	for _, a := range []*recorder.Archive{a, b, a} {
		readers.Go(func() {
			want := w.recording(a.Summary().Session)
			var got []recorder.Frame
			for n := range a.Parts() {
				frames, err := a.Frames(t.Context(), uint64(n))
				if err != nil {
					t.Error(err)
					return
				}
				got = append(got, frames...)
			}
			if !slices.EqualFunc(got, want, func(a, b recorder.Frame) bool { return a.Type == b.Type && bytes.Equal(a.Data, b.Data) }) {
				t.Errorf("%d frames, not %d", len(got), len(want))
			}
		})
	}
	readers.Wait()
	for _, n := range []int{len(a.Parts()) - 1, 0, 5} {
		if _, err := a.Frames(t.Context(), uint64(n)); err != nil {
			t.Error(err)
		}
	}
	for _, command := range []string{"recording", "outline", "follow", "segments"} {
		full := command + " " + other
		if command == "segments" {
			full += " 0 1"
		}
		if out, said, err := output(t, client, full); err == nil || out != "" || !strings.Contains(said, "nothing else") {
			t.Errorf("%q was served: %q %q", full, out, said)
		}
	}
	for _, command := range []string{
		"", "segments " + one, "segments " + one + " 0", "segments " + one + " 0 0", "segments " + one + " 0 65", "segments " + one + " -1 1", "segments " + one + " 99999 1",
		"segments " + one + " 0 1 1", "outline " + one + "," + two, "outline  " + one, "outline " + one + " ", "follow " + one + " 1", "sh " + one,
	} {
		if out, said, err := output(t, client, command); err == nil || out != "" || !strings.HasPrefix(said, "postern: ") {
			t.Errorf("%q was served: %q %q %v", command, out, said, err)
		}
	}
}

func TestCertificatesThatNameNoRecording(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	many := make([]string, mostNamed+1)
	for i := range many {
		many[i] = "S-" + strconv.Itoa(i)
	}
	for name, cert := range map[string]*ssh.Certificate{
		"none": w.auditCertificate(""), "an empty one": w.auditCertificate("S-1", "", "S-2"), "too many": w.auditCertificate(many...),
		"no viewer": w.certificate(func(c *ssh.Certificate) {
			c.ValidPrincipals = []string{"recordings@bastion-1"}
			c.Extensions = map[string]string{auditExtension: "S-1", viewerExtension: "SHA256:abc"}
		}),
		"nobody who signed": w.certificate(func(c *ssh.Certificate) {
			c.ValidPrincipals = []string{"recordings@bastion-1"}
			c.Extensions = map[string]string{auditExtension: "S-1"}
		}),
	} {
		if client, _, err := w.dial("recordings", cert); err == nil {
			client.Close()
			t.Error(name, "gets in")
		}
	}
}

// following opens what a watcher is given of a session.
func (w *world) following(client *ssh.Client, session string) *recorder.Follower {
	w.t.Helper()
	in, err := auditor.NewRemote(client, session).Follow(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { in.Close() })
	f, err := recorder.Follow(in, w.private, w.signing.Public())
	if err != nil {
		w.t.Fatal(err)
	}
	return f
}

// until reads frames up to one that has this text.
func until(f *recorder.Follower, text string) error {
	for {
		frame, pulse, err := f.Next()
		if err != nil {
			return err
		}
		if !pulse && frame.Type == recorder.TypeData && strings.Contains(string(frame.Data), text) {
			return nil
		}
	}
}

// What an admin is shown, a watcher is shown, while the session runs; and then its end.
func TestASessionIsFollowed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	client, c, _ := w.session(t)
	if _, err := c.SendRequest("exec", true, ssh.Marshal(struct{ Command string }{"cat"})); err != nil {
		t.Fatal(err)
	}
	id := (<-w.opened).Session.ID
	f := w.following(w.auditing(id), id)
	screen := make([]byte, 100)
	for i := range 5 {
		text := fmt.Sprintf("line %d\n", i)
		io.WriteString(c, text)
		n, err := io.ReadFull(c, screen[:len(text)])
		if err != nil || string(screen[:n]) != text {
			t.Fatal(err)
		}
		if err := until(f, text); err != nil {
			t.Fatal(err)
		}
	}
	client.Close()
	for {
		if _, _, err := f.Next(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if reason, ended := f.End(); !ended || reason == "" || !f.Summary().Signed {
		t.Errorf("%q, %+v", reason, f.Summary())
	}
}

// Neither a watcher that takes nothing, nor a hundred of them, slow a session down or fill the bastion's memory.
func TestWatchersThatTakeNothing(t *testing.T) {
	w := newWorld(t)
	stream := func(watchers, size int) (took time.Duration, grown int64) {
		_, c, _ := w.session(t)
		if _, err := c.SendRequest("exec", true, ssh.Marshal(struct{ Command string }{fmt.Sprintf("read x; head -c %d /dev/zero", size)})); err != nil {
			t.Fatal(err)
		}
		id := (<-w.opened).Session.ID
		var clients []*ssh.Client
		for range watchers {
			client := w.auditing(id)
			clients = append(clients, client)
			s, err := client.NewSession()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.StdoutPipe(); err != nil { // which nobody reads
				t.Fatal(err)
			}
			if err := s.Start("follow " + id); err != nil {
				t.Fatal(err)
			}
		}
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		began := time.Now()
		io.WriteString(c, "\n")
		if n, err := io.Copy(io.Discard, c); n != int64(size) {
			t.Errorf("%d bytes: %v", n, err)
		}
		took = time.Since(began)
		runtime.GC()
		runtime.ReadMemStats(&after)
		for _, client := range clients {
			client.Close()
		}
		return took, int64(after.HeapInuse) - int64(before.HeapInuse)
	}
	alone, _ := stream(0, 100e6)
	one, grown := stream(1, 100e6)
	t.Logf("100 MB alone in %v, with a watcher that takes nothing in %v, and %d MB more memory", alone, one, grown>>20)
	if one > 3*alone+5*time.Second || grown > 64<<20 {
		t.Errorf("a watcher is felt")
	}
	hundred, grown := stream(100, 20e6)
	t.Logf("20 MB with a hundred in %v, and %d MB more memory, those of the watchers included", hundred, grown>>20)
	if hundred > 3*alone+5*time.Second || grown > 600<<20 {
		t.Errorf("a hundred watchers are felt")
	}
}

// An auditor who is revoked reads no more, and is told why.
func TestRevokedWhileReading(t *testing.T) {
	t.Parallel()
	for _, r := range []control.Revocation{
		{Kind: "person", Value: "carol"}, {Kind: "all"}, {Kind: "bastion", Value: "bastion-1"}, {Kind: "key"},
	} {
		t.Run(r.Kind, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			_, c, _ := w.session(t)
			if _, err := c.SendRequest("exec", true, ssh.Marshal(struct{ Command string }{"cat"})); err != nil {
				t.Fatal(err)
			}
			id := (<-w.opened).Session.ID
			if r.Kind == "key" {
				r.Value = ssh.FingerprintSHA256(w.auditor.PublicKey())
			}
			cert := w.auditCertificate(id)
			client, _, err := w.dial("recordings", cert)
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			bystander := w.auditing(id)
			f := w.following(client, id)
			r.Seq, r.By, r.Reason = w.b.Seq()+1, "root", "gone"
			w.b.Revoke(r)
			for err == nil {
				_, _, err = f.Next()
			}
			if !strings.Contains(err.Error(), "revoked by root: gone") {
				t.Error(err)
			}
			client.Wait()
			bystander.Wait() // it is of the same person
			if _, _, err := w.dial("recordings", cert); err == nil {
				t.Error("the certificate lets the auditor in again")
			}
		})
	}
}

// A revocation of before, which the CA knew, ends nobody's reading; nor does one of somebody else.
func TestReadersThatAreNotMeant(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.recorded("echo one")
	w.b.Revoke(control.Revocation{Seq: 7, Kind: "person", Value: "carol", By: "root"})
	client := w.auditing(id)
	w.b.Revoke(control.Revocation{Seq: 8, Kind: "person", Value: "dave", By: "root"})
	if out, said, err := output(t, client, "outline "+id); err != nil {
		t.Errorf("%q %q %v", out, said, err)
	}
}

// A bastion that stops tells those who follow how the session ended, if there is time, or goes.
func TestStoppedWhileFollowed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, c, _ := w.session(t)
	if _, err := c.SendRequest("exec", true, ssh.Marshal(struct{ Command string }{"cat"})); err != nil {
		t.Fatal(err)
	}
	id := (<-w.opened).Session.ID
	f := w.following(w.auditing(id), id)
	done := make(chan error, 1)
	go func() {
		for {
			if _, _, err := f.Next(); err != nil {
				done <- err
				return
			}
		}
	}()
	if err := w.b.Close(patience); err != nil {
		t.Error(err)
	}
	if err := <-done; err != io.EOF {
		t.Error(err)
	}
	if reason, _ := f.End(); reason != "bastion" {
		t.Errorf("%q", reason)
	}
	if _, _, err := w.dial("recordings", w.auditCertificate(id)); err == nil {
		t.Error("somebody gets in")
	}
}

// More commands at once than there may be are refused, and the connection goes on.
func TestTooManyReadings(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, c, _ := w.session(t)
	if _, err := c.SendRequest("exec", true, ssh.Marshal(struct{ Command string }{"cat"})); err != nil {
		t.Fatal(err)
	}
	id := (<-w.opened).Session.ID
	client := w.auditing(id)
	var open []*recorder.Follower
	for range mostReadings {
		open = append(open, w.following(client, id))
	}
	_, err := client.NewSession()
	refused := new(ssh.OpenChannelError)
	if !errors.As(err, &refused) || refused.Reason != ssh.ResourceShortage {
		t.Fatal(err)
	}
	// Who comes through a Remote waits for room.
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := auditor.NewRemote(client, id).Outline(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	io.WriteString(c, "hello\n")
	for _, f := range open {
		if err := until(f, "hello"); err != nil {
			t.Error(err)
		}
	}
}
