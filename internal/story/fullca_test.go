package story

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"postern/internal/lab"
)

// full is a lab whose CA lies on a small file system of its own.
type full struct {
	*outpost
	said int // so much of the CA's log was looked at
}

// lent is so long that a slow machine renews it in time, and no longer: some of what is tested is its end.
const lent = 8 * time.Second

var lends = []string{"--admit", "5s", "--keep", lent.String()}

// disk is large enough for what the CA wants to be free, twice, and for its state.
const disk = 192 << 20

func newFull(t *testing.T) *full {
	t.Helper()
	f := &full{outpost: &outpost{place: newPlaceIn(t, lab.Config{Flags: map[string][]string{"ca": lends}})}}
	if err := f.Kill("ca"); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(f.Dir, "ca")
	if err := errors.Join(os.Rename(dir, dir+".copied"), os.Mkdir(dir, 0o700)); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("none", dir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=0700", disk)); err != nil {
		t.Fatalf("a small file system: %v; run this test with CAP_SYS_ADMIN", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	if out, err := exec.Command("cp", "-a", "--sparse=always", dir+".copied/.", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	f.start()
	return f
}

func (f *full) start(flags ...string) {
	f.t.Helper()
	f.Flags["ca"] = slices.Concat(lends, flags)
	if err := f.Start("ca"); err != nil {
		f.t.Fatal(err)
	}
	f.reaches()
}

// crowd is somebody else on the same disk, who leaves that much free.
func (f *full) crowd(leave int64) {
	f.t.Helper()
	dir := filepath.Join(f.Dir, "ca")
	file, err := os.OpenFile(filepath.Join(dir, "crowd"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		f.t.Fatal(err)
	}
	defer file.Close()
	for size := int64(0); ; {
		var st unix.Statfs_t
		if err := unix.Statfs(dir, &st); err != nil {
			f.t.Fatal(err)
		}
		more := int64(st.Bavail)*st.Bsize - leave
		if more <= 0 {
			return
		}
		if err := unix.Fallocate(int(file.Fd()), 0, size, more); err != nil && !errors.Is(err, unix.ENOSPC) { // the CA takes from the same room
			f.t.Fatal(err)
		} else if err == nil {
			size += more
		}
	}
}

func (f *full) room() {
	f.t.Helper()
	if err := os.Remove(filepath.Join(f.Dir, "ca", "crowd")); err != nil {
		f.t.Fatal(err)
	}
}

// says waits until the CA's log says something that was not waited for before.
func (f *full) says(what string) {
	f.t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		log, err := os.ReadFile(filepath.Join(f.Dir, "log", "ca.log"))
		if err != nil {
			f.t.Fatal(err)
		}
		if at := bytes.Index(log[f.said:], []byte(what)); at >= 0 {
			f.said += at + len(what)
			return
		}
	}
	f.t.Fatalf("the log of the CA does not say %q", what)
}

// refused has a person be told no.
func (f *full) refused(says, person string, words ...string) {
	f.t.Helper()
	if out, err := f.asInside(person, words...); err == nil || !strings.Contains(out, says) {
		f.t.Errorf("%s: postern %s: want %q: %v %s", person, strings.Join(words, " "), says, err, out)
	}
}

// revoked says that requests are, wherever one looks, and that the log is whole for an auditor who remembers it as it was.
func (f *full) revoked(when string, ids ...string) {
	f.t.Helper()
	list := f.as("carol", "log")
	for _, id := range ids {
		if out := f.as("alice", "show", id, "--json"); !strings.Contains(out, `"state":"revoked"`) {
			f.t.Errorf("%s: %s", when, out)
		}
		if !strings.Contains(list, id) {
			f.t.Errorf("%s: %s is not in the log", when, id)
		}
	}
	f.as("carol", "verify", "--no-recordings")
}

// onHost waits until the revocation list of a host is another one.
func (f *full) onHost(before []byte) {
	f.t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if now, err := os.ReadFile(f.list()); err == nil && !bytes.Equal(now, before) {
			return
		}
	}
	f.t.Error("the host's list is what it was")
}

func (f *full) list() string { return filepath.Join(f.Dir, "phi1", "revoked_keys") }

// TestFullCA: the disk of the CA is really full. What ends access is taken and holds, all else is refused; and when not even that can be, nobody stays in.
func TestFullCA(t *testing.T) {
	t.Parallel()
	if asRootOfANamespace(t) {
		return
	}
	f := newFull(t)
	t.Run("revoked and restarted", func(t *testing.T) { f.t = t; f.revokedOnFull() })
	t.Run("nothing is left", func(t *testing.T) { f.t = t; f.nothingLeft() })
}

func (f *full) revokedOnFull() {
	first, second, other := f.talks(), f.talks(), f.talks()
	f.as("carol", "verify", "--no-recordings")
	before, err := os.ReadFile(f.list())
	if err != nil {
		f.t.Fatal(err)
	}
	f.crowd(0)
	f.says("the disk of the CA is full: only what ends access")
	ask := []string{"request", f.Account + "@phi1", "--for", "20m", "--reason", "a test"}
	f.refused("the disk of the CA is full", "alice", ask...)
	f.revoke(first.id)
	first.over()
	f.onHost(before)
	other.speaks("revoked another")
	f.revoked("while it is full", first.id)

	// It does not begin on a full disk: then nobody is in for longer than they may be without a CA.
	if err := f.Kill("ca"); err != nil {
		f.t.Fatal(err)
	}
	if err := f.Start("ca"); err == nil || !strings.Contains(err.Error(), "not enough space") {
		f.t.Errorf("started on a full disk: %v", err)
	}
	other.over()
	second.over()
	f.room()
	f.start()
	f.revoked("restarted with room", first.id)

	// With room again, and without a restart.
	third, stays := f.talks(), f.talks()
	f.crowd(0)
	f.says("the disk of the CA is full: only what ends access")
	f.revoke(third.id)
	third.over()
	f.revoke(second.id)
	f.room()
	f.says("the disk of the CA has room again")
	f.as("alice", ask...)
	stays.speaks("room again")
	f.revoked("with room again", first.id, second.id, third.id)
	if err := f.Kill("ca"); err != nil {
		f.t.Fatal(err)
	}
	f.start()
	f.revoked("restarted once more", first.id, second.id, third.id)
	f.revoke(stays.id)
	stays.over()
}

// nothingLeft is a CA that found no room to set anything aside, which is as if all of it were used up.
func (f *full) nothingLeft() {
	without := func(flags ...string) *talk {
		f.t.Helper()
		err := errors.Join(f.Kill("ca"), os.Remove(filepath.Join(f.Dir, "ca", "state", "reserve")))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			f.t.Fatal(err)
		}
		f.crowd(88 << 20)
		f.start(flags...)
		f.says("nothing is set aside for revocations")
		k := f.talks()
		f.crowd(0)
		f.says("nobody can be revoked any more")
		f.refused("the disk of the CA is full", "olga", "revoke", k.id, "--reason", "a test", "--yes")
		return k
	}
	k := without()
	k.over()
	if !strings.Contains(k.stderr.String(), "lost its CA") {
		f.t.Errorf("the person read %q", k.stderr.String())
	}
	f.room()
	f.says("the disk of the CA has room again")
	f.reaches()

	stays := without("--lease-when-full")
	stays.within(lent + time.Second) // which is what is tested
	stays.speaks("nobody can be revoked")
	f.room()
	f.says("the disk of the CA has room again")
	f.revoke(stays.id)
	stays.over()
	f.revoked("in the end", stays.id)
}
