package lineage

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

var proc = Proc{Root: "/proc"}

// started runs a script in a process group of its own and returns when it has said that it is ready, with what it said.
func started(t *testing.T, script string) (*exec.Cmd, string) {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", script)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("%s: %v", script, err)
	}
	return cmd, strings.TrimSpace(line)
}

func look(t *testing.T, pid int) Process {
	t.Helper()
	p, err := proc.Look(pid)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func number(t *testing.T, text string) int {
	t.Helper()
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func gone(id ID) bool {
	p, err := proc.Look(id.PID)
	return err != nil || p.ID != id || !p.running()
}

// What a login's sshd started is ended, what ignores the request too, and nobody else.
func TestTheTreeIsEnded(t *testing.T) {
	other, _ := started(t, "echo ready; exec sleep 600")
	cmd, said := started(t, `trap "" HUP TERM; sleep 600 & (trap "" TERM; sleep 600 & wait) & echo $!; wait`)
	l := Login{Serial: 1, Leader: look(t, cmd.Process.Pid).ID, Audit: NoAudit}
	inner := look(t, number(t, said)).ID
	e := proc.End([]Login{l}, 20*time.Millisecond)[0]
	if e.Left != 0 || e.Found < 3 || e.Killed == 0 || e.Detached != 0 || e.By != ByTree || !gone(inner) || !gone(l.Leader) {
		t.Errorf("%+v", e)
	}
	if gone(look(t, other.Process.Pid).ID) {
		t.Error("somebody else's process is gone")
	}
	if e := proc.End([]Login{l}, 0)[0]; e.Found != 0 || e.Left != 0 {
		t.Errorf("afterwards: %+v", e)
	}
}

// A number that was given to another process is not the process that had it.
func TestANumberIsNotAProcess(t *testing.T) {
	cmd, _ := started(t, "echo ready; exec sleep 600")
	id := look(t, cmd.Process.Pid).ID
	stale := ID{PID: id.PID, Start: id.Start - 1}
	if e := proc.End([]Login{{Leader: stale, Audit: NoAudit}}, 0)[0]; e.Found != 0 || gone(id) {
		t.Errorf("%+v", e)
	}
	l := Login{Leader: stale, Audit: NoAudit}
	if proc.Settle(&l) {
		t.Error("the login of another process is alive")
	}
}

// hopper forks and leaves its number as fast as it can, so that whoever lists processes finds it nowhere for long.
const hopper = `import os, sys
while True:
    if os.fork(): os._exit(0)
`

// What forks all the time is caught: a program that multiplies, and one that moves from number to number.
func TestForksAreCaught(t *testing.T) {
	for name, script := range map[string]string{
		"one that multiplies": `i=0; while [ $i -lt 100 ]; do (sleep 600; sleep 600) & i=$((i+1)); done; wait`,
		"one that hops":       "exec python3 -c '" + hopper + "'",
	} {
		// As pam_loginuid does it. The number that is said is of what was started, never of another login on this machine.
		cmd, said := started(t, `echo $(id -u) 2>&- >/proc/self/loginuid; cat /proc/self/sessionid; echo; `+script)
		l := Login{Leader: look(t, cmd.Process.Pid).ID, Audit: uint32(number(t, said))}
		if l.Audit == look(t, os.Getpid()).Audit {
			t.Logf("%s: whoever runs this test may not begin audit sessions, so only the tree is tested", name)
			l.Audit = NoAudit
		}
		e := proc.End([]Login{l}, 20*time.Millisecond)[0]
		if l.Audit == NoAudit && strings.Contains(script, "python3") {
			continue
		}
		if e.Left != 0 || e.Found == 0 {
			t.Errorf("%s: %+v", name, e)
		}
		if alive, err := proc.Alive([]Login{l}); err != nil || alive[0] {
			t.Errorf("%s: %v, %v", name, alive, err)
		}
		t.Logf("%s: %+v", name, e)
	}
}

// fake is a proc file system with these processes: number, parent, audit session, cgroup.
func fake(t *testing.T, processes ...[4]any) Proc {
	t.Helper()
	root := t.TempDir()
	for _, p := range processes {
		dir := filepath.Join(root, fmt.Sprint(p[0]))
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		name := "sshd: ) R 1"
		if p[0] == first+11 {
			name = "sshd"
		}
		for file, text := range map[string]string{
			"stat":      fmt.Sprintf("%v (%s) S %v 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 %v00 0 0\n", p[0], name, p[1], p[0]),
			"sessionid": fmt.Sprint(p[2]),
			"cgroup":    fmt.Sprintf("12:pids:/x\n0::%v\n", p[3]),
			"status":    "Name:\tsshd\nUid:\t0\t0\t0\t0\n",
		} {
			if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	return Proc{Root: root}
}

const (
	unset = uint32(NoAudit)
	mine  = "/user.slice/user-0.slice/session-7.scope"
	yours = "/user.slice/user-0.slice/session-8.scope"
	ssh   = "/system.slice/ssh.service"
	first = 4000001 // numbers that no process here has, so nothing can be signalled
)

// What is of a login, by what processes are told apart. These are files, not processes: how logind names things is read from its
// documentation, and no logind ran.
func TestWhatIsOfALogin(t *testing.T) {
	p := fake(t,
		[4]any{first, 1, 7, mine},                    // sshd
		[4]any{first + 1, first, 7, mine},            // shell
		[4]any{first + 2, 1, 7, mine + "/sub.scope"}, // setsid, in a cgroup below
		[4]any{first + 3, 1, 7, "/system.slice"},     // root left the cgroup
		[4]any{first + 4, 1, unset, mine},            // root left the audit session
		[4]any{first + 5, first + 1, unset, "/"},     // and both, but for its parent
		[4]any{first + 6, first + 5, unset, "/"},     // and its child
		[4]any{first + 7, 1, 8, yours},               // another login of the same account
		[4]any{first + 8, 1, unset, ssh},             // sshd itself
		[4]any{first + 9, first + 8, unset, ssh},     // somebody who is logging in
		[4]any{first + 10, 1, unset, "/"},            // a daemon
		[4]any{first + 11, 1, 7, mine},               // sshd, which was started anew in the login
	)
	for name, test := range map[string]struct {
		l    Login
		want int
	}{
		"by audit session and cgroup": {Login{Audit: 7, Scope: mine}, 7},
		"by audit session":            {Login{Audit: 7}, 6},
		"by cgroup":                   {Login{Audit: NoAudit, Scope: mine}, 6},
		"by the tree":                 {Login{Audit: NoAudit}, 4},
	} {
		l := test.l
		l.Leader = ID{PID: first, Start: first * 100}
		other := Login{Leader: ID{PID: first + 7, Start: (first + 7) * 100}, Audit: NoAudit}
		c := p.crew([]Login{other, l})
		if n := c.sweep(); n != test.want+1 || c.ended[1].Found != test.want || c.ended[0].Found != 1 || c.ended[1].Left != test.want {
			t.Errorf("%s: %d: %+v", name, n, c.ended)
		}
	}
}

// The login must have begun the audit session and the cgroup by itself: else everything of whoever started sshd by hand would be of it.
func TestALoginIsWhatSSHDBegan(t *testing.T) {
	p := fake(t, [4]any{first, 1, 5, yours})
	l, err := p.Login(first, 3)
	if err != nil || !p.Settle(&l) || l.By() != ByTree {
		t.Fatalf("%+v, %v", l, err)
	}
	put := func(name, text string) {
		if err := os.WriteFile(p.file(first, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("cgroup", "0::"+mine+"\n")
	if p.Settle(&l); l.By() != ByScope || l.Scope != mine {
		t.Errorf("%+v", l)
	}
	put("sessionid", "7\n")
	if p.Settle(&l); l.By() != ByAudit || l.Audit != 7 {
		t.Errorf("%+v", l)
	}
	put("status", "Uid:\t1234567\t0\t0\t0\n")
	if _, err := p.Login(first, 3); err == nil {
		t.Error("a process of a user passed for sshd")
	}
	if _, err := proc.Login(os.Getpid(), 3); err == nil {
		t.Error("this test passed for sshd")
	}
}

func FuzzStat(f *testing.F) {
	f.Add([]byte("7 (a) b) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 700 0 0"))
	f.Fuzz(func(t *testing.T, line []byte) {
		if p, err := parseStat(line); err == nil && !strings.Contains(string(line), "("+p.Name+")") {
			t.Errorf("%q: %+v", line, p)
		}
	})
}

func BenchmarkSweep(b *testing.B) {
	c := proc.crew([]Login{{Leader: ID{PID: 1 << 22}, Audit: NoAudit - 1}})
	list, err := proc.pids()
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		c.sweep()
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/float64(len(list)), "µs/process")
}
