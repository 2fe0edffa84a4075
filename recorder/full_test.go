package recorder

import (
	"bufio"
	"crypto/ed25519"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	smallDiskVariable = "POSTERN_RECORDER_TEST_SMALL_DISK"
	cramVariable      = "POSTERN_RECORDER_TEST_CRAM"
	narrowVariable    = "POSTERN_RECORDER_TEST_NARROW"
)

// onSmallDisk runs the rest of the test in a process of its own, on a file system of that size that nobody else sees. Where no namespace can be made, as in
// many containers, the disk is an account of what lies in the directory; then everything is tried but what Badger does on a disk that is really full.
func onSmallDisk(t *testing.T, size int64) (dir string) {
	t.Helper()
	if dir := os.Getenv(smallDiskVariable); dir != "" {
		if err := errors.Join(unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""), unix.Mount("none", dir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=0700", size))); err != nil {
			t.Fatalf("a small file system: %v", err)
		}
		return dir
	}
	private := &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	mount := exec.Command("mount", "-t", "tmpfs", "none", t.TempDir())
	mount.SysProcAttr = private
	if err := mount.Run(); err != nil {
		t.Logf("no namespaces here (%v), so the disk is not really small", err)
		t.Setenv(narrowVariable, strconv.FormatInt(size, 10))
		return t.TempDir()
	}
	child := exec.Command(os.Args[0], "-test.run", "^"+t.Name()+"$", "-test.v")
	child.Env = append(os.Environ(), smallDiskVariable+"="+t.TempDir())
	child.SysProcAttr = private
	if out, err := child.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	return ""
}

// smallDisk is the real one on a file system of its own, or the account.
func smallDisk(dir string) Disk {
	size, err := strconv.ParseInt(os.Getenv(narrowVariable), 10, 64)
	if err != nil {
		return Disk{}.orReal()
	}
	free := func(string) (int64, error) { return size - usedIn(dir), nil }
	return Disk{Free: free, Allocate: func(f *os.File, more int64) error {
		if left, _ := free(""); left < more {
			return unix.ENOSPC
		}
		return allocate(f, more)
	}}.orReal()
}

// usedIn is what the files of a directory take of the disk; that of the crowd is as large as it says.
func usedIn(dir string) (n int64) {
	_ = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		var st unix.Stat_t
		if err == nil && d.Type().IsRegular() && unix.Stat(path, &st) == nil {
			n += st.Blocks * 512
			if filepath.Base(path) == "crowd" {
				n += st.Size - st.Blocks*512
			}
		}
		return nil // some go while we look
	})
	return n
}

// crowd is somebody else on the same disk, who leaves that much free.
func crowd(t *testing.T, dir string, leave int64) {
	t.Helper()
	disk, take := smallDisk(dir), allocate
	if os.Getenv(narrowVariable) != "" {
		take = func(f *os.File, size int64) error { return f.Truncate(size) }
	}
	f, err := os.OpenFile(dir+"/crowd", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for { // others take from the same room meanwhile
		free, err := disk.Free(dir)
		info, serr := f.Stat()
		if err = errors.Join(err, serr); err == nil && free > leave {
			err = take(f, info.Size()+free-leave)
		} else if err == nil {
			return
		}
		if err != nil && !errors.Is(err, unix.ENOSPC) {
			t.Fatal(err)
		}
	}
}

// cram is the process that meets a full disk: it tells its parent of each frame of an emergency that is durable, until there are none, and how it closed.
func cram(dir string) error {
	cfg, to, err := crammed(dir)
	if err != nil {
		return err
	}
	s, err := OpenStore(cfg)
	if err != nil {
		return err
	}
	w, err := s.Create(Header{Session: "S-3", Emergency: true}, to)
	if err != nil {
		return err
	}
	fmt.Println("open")
	fmt.Scanln() // the disk is full by now
	noise := string(sample("noise", 100_000))
	for err == nil {
		if err = says(w, noise); err == nil {
			fmt.Println("frame")
		}
	}
	fmt.Println(err)
	fmt.Println("close:", s.Close())
	return nil
}

// crammed is the store of the test, as each of its processes opens it.
func crammed(dir string) (Config, PublicKey, error) {
	seed, err := os.ReadFile(dir + "/identity")
	key, kerr := os.ReadFile(dir + "/key")
	if err = errors.Join(err, kerr); err != nil {
		return Config{}, PublicKey{}, err
	}
	to, err := ParsePublicKey(key)
	return Config{
		Dir: dir + "/recordings", Signer: ed25519.NewKeyFromSeed(seed),
		FileSize: 1 << 20, LowSpace: 100 << 20, Reserve: 80 << 20, SegmentAge: 20 * time.Millisecond, Disk: smallDisk(dir),
	}, to, err
}

// A disk that is really full ends no process and loses nothing: emergencies are recorded into what was put aside, and then end with a word.
func TestADiskThatIsFull(t *testing.T) {
	dir := onSmallDisk(t, 160<<20)
	if dir == "" {
		return
	}
	b := newBench(t, func(c *Config) {
		identity := c.Signer.(ed25519.PrivateKey)
		private, public := NewKey()
		err := errors.Join(os.WriteFile(dir+"/identity", identity.Seed(), 0o600), os.WriteFile(dir+"/key", public.Marshal(), 0o600), os.WriteFile(dir+"/private", private.Marshal(), 0o600))
		cfg, _, cerr := crammed(dir)
		if err = errors.Join(err, cerr); err != nil {
			t.Fatal(err)
		}
		cfg.Sealed = c.Sealed
		*c = cfg
	})
	b.crammedKeys(t, dir)
	usual := b.create(t, "S-1")
	if err := says(usual, "all is well"); err != nil {
		t.Fatal(err)
	}

	crowd(t, dir, 75<<20)
	if _, err := b.Create(Header{Session: "S-9"}, b.public); !errors.Is(err, ErrFull) || !strings.Contains(err.Error(), "make room there") {
		t.Errorf("an ordinary session in the reserve: %v", err)
	}
	urgent, err := b.urgent(t, "S-2")
	if err != nil {
		t.Fatal(err)
	}
	noise, before := string(sample("noise", 100_000)), 0
	for range 20 {
		if err := says(urgent, noise); err != nil {
			t.Fatalf("an emergency in the reserve: %v", err)
		}
		before++
	}
	until(t, func() bool { return says(usual, "x") != nil })

	crowd(t, dir, 0)
	for err == nil {
		if err = says(urgent, noise); err == nil {
			before++
		}
	}
	if !errors.Is(err, ErrFailed) || before < 25 {
		t.Errorf("after %d frames: %v", before, err)
	}
	if _, err := b.urgent(t, "S-9"); !errors.Is(err, ErrFull) {
		t.Errorf("an emergency on a full disk: %v", err)
	}

	if err := os.Remove(dir + "/crowd"); err != nil {
		t.Fatal(err)
	}
	checkKept(t, b, "S-2", uint64(before))
	until(t, func() bool { return b.Space() == nil })
	if err := errors.Join(says(b.create(t, "S-4"), "room again"), b.Close()); err != nil {
		t.Error(err)
	}
	b.restartedFull(t, dir)
}

func (b *bench) crammedKeys(t *testing.T, dir string) {
	t.Helper()
	key, err := os.ReadFile(dir + "/private")
	if err == nil {
		b.private, err = ParsePrivateKey(key)
	}
	if err != nil {
		t.Fatal(err)
	}
	b.public = b.private.Public()
}

// restartedFull has the process end while the disk is full, and begin again.
func (b *bench) restartedFull(t *testing.T, dir string) {
	t.Helper()
	child := exec.Command(os.Args[0])
	child.Env, child.Stderr = append(os.Environ(), cramVariable+"="+dir), os.Stderr
	in, err := child.StdinPipe()
	out, oerr := child.StdoutPipe()
	if err := errors.Join(err, oerr, child.Start()); err != nil {
		t.Fatal(err)
	}
	var last []string
	frames := uint64(0)
	for lines := bufio.NewScanner(out); lines.Scan(); {
		switch lines.Text() {
		case "open":
			crowd(t, dir, 0)
			fmt.Fprintln(in)
		case "frame":
			frames++
		default:
			last = append(last, lines.Text())
		}
	}
	closes := "close: not enough space"
	if os.Getenv(narrowVariable) != "" {
		closes = "close: <nil>"
	}
	if err := child.Wait(); err != nil || frames == 0 || len(last) != 2 || !strings.Contains(last[0], "not enough space") || !strings.HasPrefix(last[1], closes) {
		t.Errorf("%v: %d frames, then %q", err, frames, last)
	}
	if _, err := OpenStore(b.cfg); !errors.Is(err, ErrFull) {
		t.Errorf("opened on a full disk: %v", err)
	}
	if err := os.Remove(dir + "/crowd"); err != nil {
		t.Fatal(err)
	}
	b.reopen(t)
	checkKept(t, b, "S-3", frames)
	checkKept(t, b, "S-2", 20)
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}
