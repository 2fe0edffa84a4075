package lineage

import (
	"os"
	"testing"
	"time"
)

// A watch tells of a new audit session and a new cgroup once each, and of the end for ever, also when the number has gone to another process.
func TestWatch(t *testing.T) {
	p := fake(t, [4]any{first, 1, unset, ssh})
	l, err := p.Login(first, 3)
	if err != nil {
		t.Fatal(err)
	}
	w, err := p.Watch(l)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	for range 2 {
		if w.News() {
			t.Error("news of a login that is as it was")
		}
	}
	for _, change := range [][2]string{{"sessionid", "7"}, {"cgroup", "0::" + mine + "\n"}} {
		if err := os.WriteFile(p.file(first, change[0]), []byte(change[1]), 0o600); err != nil {
			t.Fatal(err)
		}
		if !w.News() || w.News() {
			t.Errorf("%s changed once", change[0])
		}
	}

	cmd, _ := started(t, "echo ready; exec sleep 600")
	own, err := proc.Watch(Login{Leader: look(t, cmd.Process.Pid).ID})
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	if own.News() {
		t.Error("news of a process that goes on")
	}
	cmd.Process.Kill()
	cmd.Process.Wait()
	for range 3 {
		if !own.News() {
			t.Error("no news of a process that is gone")
		}
	}
	if nobody, err := proc.Watch(Login{Leader: ID{PID: 1 << 30}}); err != nil || !nobody.News() {
		t.Errorf("a process that is not there has no news: %v", err)
	}
}

// What a look costs beside one that reads everything.
func BenchmarkWatch(b *testing.B) {
	me, err := proc.Look(os.Getpid())
	if err != nil {
		b.Fatal(err)
	}
	l := Login{Leader: me.ID, Audit: NoAudit}
	w, err := proc.Watch(l)
	if err != nil {
		b.Fatal(err)
	}
	defer w.Close()
	var watching, settling time.Duration
	for b.Loop() {
		began := time.Now()
		w.News()
		middle := time.Now()
		proc.Settle(&l)
		watching, settling = watching+middle.Sub(began), settling+time.Since(middle)
	}
	b.ReportMetric(float64(watching.Nanoseconds())/float64(b.N), "ns/watch")
	b.ReportMetric(float64(settling.Nanoseconds())/float64(b.N), "ns/settle")
}
