package lineage

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// cgroups is where the cgroups of version 2 are, if this test may make some.
func cgroups() string {
	mounts, _ := os.ReadFile("/proc/self/mounts")
	for line := range strings.Lines(string(mounts)) {
		if words := strings.Fields(line); len(words) > 3 && words[2] == "cgroup2" && os.Getuid() == 0 && !strings.HasPrefix(words[3], "ro") {
			return words[1]
		}
	}
	return ""
}

// What is in the cgroup of a login is of it, with the kernel's own cgroups. The cgroup is made here as logind would: no logind runs in this test.
func TestTheCgroupIsEnded(t *testing.T) {
	root := cgroups()
	if root == "" {
		t.Log("no cgroups can be made here; TestWhatIsOfALogin reads files like those of the kernel")
		return
	}
	slice := filepath.Join(root, "postern-test-"+strconv.Itoa(os.Getpid())+".slice")
	scope := filepath.Join(slice, "session-c1.scope")
	for _, dir := range []string{slice, scope} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Log("no cgroups can be made here:", err)
			return
		}
	}
	cmd, said := started(t, `echo $$ >`+scope+`/cgroup.procs; sleep 600 & child=$!; setsid -f sleep 600 >/dev/null; echo $child; wait`)
	t.Cleanup(func() {
		for _, dir := range []string{scope, slice} {
			for range 200 { // until what was in it is reaped
				if os.Remove(dir) == nil {
					break
				}
				time.Sleep(5 * time.Millisecond)
			}
		}
	})
	leader, child := look(t, cmd.Process.Pid), look(t, number(t, said))
	l := Login{Leader: leader.ID, Audit: NoAudit}
	if !proc.Settle(&l) || l.Scope != strings.TrimPrefix(scope, root) || l.By() != ByScope {
		t.Fatalf("%+v", l)
	}
	l.Leader.Start-- // sshd is gone, and its number is another's: only the cgroup tells
	e := proc.End([]Login{l}, 20*time.Millisecond)[0]
	if e.Found != 3 || e.Left != 0 || e.Detached != 3 || e.By != ByScope || !gone(child.ID) {
		t.Errorf("%+v", e)
	}
}
