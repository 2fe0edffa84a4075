package lab

import (
	"io"
	"os/exec"
	"strings"
	"testing"
	"time"
)

func sleeper(t *testing.T) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("sleep", "600")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		cmd.Wait()
		close(done)
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-done
	})
	return cmd
}

// A process number that somebody else has by now is left alone.
func TestDownSparesStrangers(t *testing.T) {
	cmd := sleeper(t)
	started := startOf(cmd.Process.Pid)
	if started == 0 {
		t.Fatal("no start time in /proc")
	}
	stranger := Process{PID: cmd.Process.Pid, Started: started - 1}
	l := &Lab{Dir: t.TempDir(), Processes: map[string]Process{"ca": stranger}, log: io.Discard}
	l.Sockets = l.path("run")
	if err := l.Down(); err != nil {
		t.Fatal(err)
	}
	if now := startOf(cmd.Process.Pid); now != started {
		t.Fatal("the stranger was ended")
	}
}

// What a daemon of the lab started goes with it.
func TestDownEndsChildren(t *testing.T) {
	l := &Lab{Dir: t.TempDir(), Processes: map[string]Process{}, PIDs: map[string]int{}, log: io.Discard}
	l.Sockets = l.path("run")
	if err := mkdirs(l.path("log"), l.path("run")); err != nil {
		t.Fatal(err)
	}
	marker := l.path("child")
	if err := l.spawn("parent", []string{"sh", "-c", "setsid sleep 600 & echo $! >" + marker + "; wait"}, nil, exists(marker)); err != nil {
		t.Fatal(err)
	}
	children := descendants(l.PIDs["parent"])
	if len(children) == 0 {
		t.Fatal("the child was not found")
	}
	if err := l.Down(); err != nil {
		t.Fatal(err)
	}
	if !settled(children, 5*time.Second) {
		t.Fatal("the child lives on")
	}
}

// A piece that ends at once is reported with its log.
func TestSpawnNamesTheLog(t *testing.T) {
	l := &Lab{Dir: t.TempDir(), Processes: map[string]Process{}, PIDs: map[string]int{}, log: io.Discard}
	if err := mkdirs(l.path("log")); err != nil {
		t.Fatal(err)
	}
	err := l.spawn("ca", []string{"sh", "-c", "echo no keys >&2; exit 1"}, nil, func() bool { return false })
	if err == nil || !strings.Contains(err.Error(), l.path("log", "ca.log")) || !strings.Contains(err.Error(), "no keys") {
		t.Fatalf("got %v", err)
	}
}
