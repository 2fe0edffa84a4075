package lineage

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// asEnder makes this test a program that ends one process, for another user to run.
const asEnder = "LINEAGE_END"

func TestMain(m *testing.M) {
	if text := os.Getenv(asEnder); text != "" {
		var l Login
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		able := proc.Able()
		fmt.Printf("able: %v, %+v\n", able, proc.End([]Login{l}, 10*time.Millisecond)[0])
		return
	}
	os.Exit(m.Run())
}

// With CAP_KILL alone, as the unit has it, another user's program ends root's; without it says that it cannot, and that it did not.
func TestOneCapabilityIsEnough(t *testing.T) {
	if os.Getuid() != 0 {
		if err := proc.Able(); err != errNoKill {
			t.Errorf("an ordinary user: %v", err)
		}
		return
	}
	dir, err := os.MkdirTemp("", "lineage")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	me, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "ender")
	if out, err := exec.Command("install", "-m", "755", me, program).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd, _ := started(t, "echo ready; sleep 600; sleep 600")
	l := Login{Leader: look(t, cmd.Process.Pid).ID, Audit: NoAudit}
	text, err := json.Marshal(l)
	if err != nil {
		t.Fatal(err)
	}
	end := func(caps ...uintptr) string {
		ender := exec.Command(program)
		ender.Env = []string{asEnder + "=" + string(text)}
		ender.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}, AmbientCaps: caps}
		out, err := ender.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return string(out)
	}
	if out := end(); !strings.Contains(out, "CAP_KILL") || strings.Contains(out, "Left:0") || gone(l.Leader) {
		t.Errorf("without: %s", out)
	}
	if out := end(unix.CAP_KILL); !strings.Contains(out, "able: <nil>") || !strings.Contains(out, "Left:0") || !gone(l.Leader) {
		t.Errorf("with: %s", out)
	}
}
