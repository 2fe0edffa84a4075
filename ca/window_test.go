package ca

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
)

func (w *world) window(condition string) {
	w.t.Helper()
	w.reload(strings.Replace(dbaPhi1, ");", fmt.Sprintf(") when { %s };", condition), 1))
}

// Neither a grant nor an extension of it is seconds longer than its window, wherever in a minute they end.
func TestAWindowThatClosesWithinAMinute(t *testing.T) {
	w := newWorld(t)
	shut := w.time().Add(15*time.Minute + 20*time.Second)
	w.window(fmt.Sprintf("context.now < datetime(%q)", shut.UTC().Format("2006-01-02T15:04:05Z")))
	w.pass(30 * time.Second) // fifteen minutes from here end ten seconds after it
	r, made := w.granted("alice", "root@phi1", "bob")
	if got := w.show(r.ID).Ends; !got.Equal(shut) || !made.NotAfter.Equal(shut) {
		t.Errorf("it lasts until %s, the window closes %s", got, shut)
	}
	w.pass(14*time.Minute + 30*time.Second) // and now there are twenty seconds
	late, _ := w.granted("alice", "root@phi1", "bob")
	if got := w.show(late.ID).Ends; !got.Equal(shut) {
		t.Errorf("one of the last minute lasts until %s, the window closes %s", got, shut)
	}
	_, err := w.extend("alice", r.ID, 10*time.Second)
	refused(t, "ten seconds beyond the window", err, "the rules allow it until "+shut.UTC().Format(time.RFC3339))
	w.proven()
}

// A policy that is loaded later moves no end, neither by closing the window nor by opening it for good.
func TestAWindowThatAPolicyTakesAway(t *testing.T) {
	for name, later := range map[string]string{"opens for good": dbaPhi1, "closes": strings.Replace(dbaPhi1, ");", ") when { context.hour == 23 };", 1)} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			var log bytes.Buffer
			w.CA.log = slog.New(slog.NewTextHandler(&log, nil))
			shut := w.time().Add(10*time.Minute + 30*time.Second)
			w.window(fmt.Sprintf("context.now < datetime(%q)", shut.UTC().Format("2006-01-02T15:04:05Z")))
			r, made := w.granted("alice", "root@phi1", "bob")
			reply, err := w.open(made.Certificate, "root@phi1")
			if err != nil || !reply.Session.Deadline.Equal(shut) {
				t.Fatalf("%v, until %s", err, reply.Session.Deadline)
			}
			w.reload(later)
			if err := w.SayUnfit(); err != nil {
				t.Fatal(err)
			}
			if got := w.show(r.ID).Ends; !got.Equal(shut) {
				t.Errorf("it lasts until %s", got)
			}
			live, err := w.Sessions(w.who("carol"), true)
			if err != nil || len(live) != 1 || !live[0].Deadline.Equal(shut) {
				t.Errorf("live: %+v, %v", live, err)
			}
			again, err := w.open(made.Certificate, "root@phi1")
			said := log.String()
			if name == "closes" {
				refused(t, "another session", err, "may not open")
				if !strings.Contains(said, "live=1") || !strings.Contains(said, "postern revoke "+r.ID) || !strings.Contains(said, "person=alice") {
					t.Errorf("the log says %q", said)
				}
			} else if err != nil || !again.Session.Deadline.Equal(shut) || strings.Contains(said, r.ID) {
				t.Errorf("another session: %v, until %s; the log says %q", err, again.Session.Deadline, said)
			}
			w.proven()
		})
	}
}
