package ca

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"postern/ca/auditlog"
	"postern/internal/control"
	"postern/internal/store"
)

const smallDiskVariable = "POSTERN_CA_TEST_SMALL_DISK"

// onSmallDisk runs the rest of the test in a process of its own, whose temporary directory is a file system of that size that nobody else sees. It says
// whether this is that process.
func onSmallDisk(t *testing.T, size int64) bool {
	t.Helper()
	if dir := os.Getenv(smallDiskVariable); dir != "" {
		if err := errors.Join(unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""), unix.Mount("none", dir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=0700", size))); err != nil {
			t.Fatalf("a small file system: %v", err)
		}
		t.Setenv("TMPDIR", dir)
		return true
	}
	child := exec.Command(os.Args[0], "-test.run", "^"+t.Name()+"$", "-test.v")
	child.Env = append(os.Environ(), smallDiskVariable+"="+t.TempDir())
	child.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if os.Getuid() != 0 {
		child.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		}
	}
	if out, err := child.CombinedOutput(); err != nil {
		t.Errorf("on a small file system of its own, which root may make, and others in a user namespace (sysctl -w user.max_user_namespaces=10000): %v\n%s", err, out)
	}
	return false
}

// crowd is somebody else on the same disk, who leaves nothing.
func crowd(t *testing.T, dir string) (leave func()) {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "crowd"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := int64(0); ; {
		var st unix.Statfs_t
		if err := unix.Statfs(dir, &st); err != nil {
			t.Fatal(err)
		}
		more := int64(st.Bavail) * st.Bsize
		if more == 0 {
			break
		}
		if err := unix.Fallocate(int(f.Fd()), 0, size, more); err == nil {
			size += more
		} else if !errors.Is(err, unix.ENOSPC) { // the store takes from the same room
			t.Fatal(err)
		}
	}
	return func() {
		if err := os.Remove(f.Name()); err != nil {
			t.Fatal(err)
		}
	}
}

// With little left of the reserve nobody counts on being able to revoke, which is known before a revocation does not fit; what was decided holds. With
// room it is all there, and the log is the one that it was.
func TestReserveRunsOut(t *testing.T) {
	if !onSmallDisk(t, 192<<20) {
		return
	}
	w := newWorld(t)
	free := `@id("free") @max("20m") permit (principal in Group::"dba", action in [Action::"exec"], resource in Host::"open");`
	w.reload(urgent + free)
	r, made := w.granted("alice", "root@phi1", "bob")
	_, spared := w.granted("adam", "root@open")
	w.CA.room.reserve = forRevocations + 256<<10
	w.CA.look()
	before := w.tree()

	leave := crowd(t, w.dir)
	if w.CA.look() || w.CannotRevoke() != nil {
		t.Fatalf("on a full disk with all of the reserve: %v", w.CannotRevoke())
	}
	if _, err := w.askFor("root@open"); !Full(err) {
		t.Errorf("asked on a full disk: %v", err)
	}
	if _, err := w.open(spared.Certificate, "root@open"); !Full(err) {
		t.Errorf("opened on a full disk: %v", err)
	}
	w.emergency("adam")
	rev, err := w.revokeAs("olga", r.ID)
	if err != nil {
		t.Fatal(err)
	}
	if got := w.show(r.ID); got.State != control.Revoked {
		t.Errorf("revoked on a full disk: %s", got.State)
	}
	if _, err := w.open(made.Certificate, "root@phi1"); err == nil || Full(err) {
		t.Errorf("opened with what was revoked on a full disk: %v", err)
	}
	n := rev.Seq
	for ; w.CannotRevoke() == nil; n++ {
		if err := w.revokeMuch(); err != nil {
			t.Fatalf("revocation %d did not fit, which was not known before: %v", n, err)
		}
	}
	if w.CA.look() || !w.CA.room.dead || n < 20 {
		t.Errorf("not noticed after %d", n)
	}
	if err := w.revokeMuch(); err != nil {
		t.Errorf("one more, which fits: %v", err)
	}
	w.verified()

	leave()
	if !w.CA.look() || w.CannotRevoke() != nil {
		t.Error("full still")
	}
	for from := range 2 {
		if _, err := w.askFor("root@open"); err != nil {
			t.Error(err)
		}
		if _, last, err := w.Revocations(0); err != nil || last != n+1 {
			t.Errorf("the last revocation is %d and not %d: %v", last, n+1, err)
		}
		if got := w.show(r.ID); got.State != control.Revoked {
			t.Errorf("with room: %s", got.State)
		}
		w.judge(t, made.Certificate, spared.Certificate, "request")
		w.verified()
		after := w.tree()
		if err := w.db.View(func(tx *store.Tx) error {
			proof, err := auditlog.Consistency(tx, after.N, before.N)
			if err != nil {
				return err
			}
			return auditlog.CheckConsistency(proof, after, before)
		}); err != nil {
			t.Errorf("the log is another one: %v", err)
		}
		if from == 0 {
			w.db.Close()
			w.start(w.policy(rules))
		}
	}
}

func (w *world) tree() (tree auditlog.TreeHead) {
	w.t.Helper()
	if err := w.db.View(func(tx *store.Tx) (err error) { tree, err = auditlog.Tree(tx); return err }); err != nil {
		w.t.Fatal(err)
	}
	return tree
}

// revokeMuch revokes a host for which nothing is in flight, with many words.
func (w *world) revokeMuch() error {
	w.t.Helper()
	why := strings.Repeat("x", maxReason)
	const target = "host:phi2"
	_, err := w.Revoke(w.who("olga"), Cut{Target: target, Because: why}, w.sign("olga", "olga", control.Revoke, target, why))
	return err
}
