package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"postern/internal/control"
	"postern/internal/lineage"
)

// asProgram makes this test the program, for sshd to run.
const asProgram = "POSTERN_HOST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

var proc = lineage.Proc{Root: "/proc"}

// follower is an agent that hears of the logins of a real sshd.
type follower struct {
	*watched
	sshd *sshd
	pam  bool // logins have audit sessions
}

func newFollower(t testing.TB) *follower {
	t.Helper()
	f := &follower{newAgent(t, time.Hour, false), newSSHD(t), false}
	f.ca.publish(list(t, 1, time.Now()), false)
	f.sshd.revoked = f.revoked
	f.hear(t)
	me, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	config := strings.Replace(read(t, f.sshd.file("sshd_config")), "AuthorizedPrincipalsFile "+f.sshd.file("principals"), fmt.Sprintf(
		"AuthorizedPrincipalsCommand /usr/bin/env %s=1 %s principals %%u --name phi1 --tell %s --serial %%s --signer %%F\nAuthorizedPrincipalsCommandUser %s",
		asProgram, me, f.file("logins"), f.sshd.account), 1)
	config = strings.Replace(config, f.sshd.file("revoked_keys"), f.revoked.path, 1)
	if os.Getuid() == 0 { // another user's sshd has no PAM
		config = strings.Replace(config, "UsePAM no", "UsePAM yes", 1)
		f.pam = true
	}
	put(t, f.sshd.file("sshd_config"), config)
	return f
}

func (f *follower) file(name string) string { return filepath.Join(filepath.Dir(f.revoked.path), name) }

// hear starts what serve starts, anew from what is on disk.
func (f *follower) hear(t testing.TB) {
	t.Helper()
	l, err := readLogins(f.file("logins.json"), proc, f.agent.log)
	if err != nil {
		t.Fatal(err)
	}
	f.ending = newEnding(l)
	f.ending.grace = 50 * time.Millisecond
	listener, err := l.listen(f.file("logins"), f.sshd.ca.PublicKey())
	if err != nil {
		t.Fatal(err)
	}
	go listener.serve()
	t.Cleanup(func() { listener.Close() })
}

// orders makes the CA order the end of that certificate's session, and tells what came of it.
func (f *follower) order(t *testing.T, serial uint64) control.HostEnded {
	t.Helper()
	f.ca.order(control.EndOrder{Serial: serial, Session: fmt.Sprintf("S-%d", serial), Seq: 9})
	select {
	case e := <-f.ca.ended:
		return e
	case <-time.After(20 * time.Second):
		t.Fatalf("the CA was not told what was ended:\n%s", f.log.String())
		panic("")
	}
}

// left is the process that a login with that certificate leaves behind.
func (f *follower) left(t *testing.T, serial uint64) int {
	t.Helper()
	note := f.sshd.file(fmt.Sprintf("left%d", serial))
	if err := f.sshd.run(serial, "setsid -f sh -c 'echo $$ >"+note+".new; mv "+note+".new "+note+"; trap \"\" HUP TERM; sleep 600; sleep 600' >/dev/null 2>&1 </dev/null; until [ -e "+note+" ]; do sleep 0.01; done"); err != nil {
		t.Fatal(err)
	}
	var pid int
	if _, err := fmt.Sscan(read(t, note), &pid); err != nil {
		t.Fatal(err)
	}
	id := look(t, pid).ID
	t.Cleanup(func() {
		if p, err := proc.Look(pid); err == nil && p.ID == id {
			syscall.Kill(-pid, syscall.SIGKILL) // it leads a group
		}
	})
	return pid
}

func look(t *testing.T, pid int) lineage.Process {
	t.Helper()
	p, err := proc.Look(pid)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func runs(pid int) bool {
	p, err := proc.Look(pid)
	return err == nil && p.State != 'Z' && p.State != 'X'
}

// Somebody who connects to the host directly, past every bastion, is ended as well, and what outlived the connection, though the agent was started
// anew meanwhile; and nobody else.
func TestWhatIsLeftIsEnded(t *testing.T) {
	f := newFollower(t)
	f.install(t)
	mine, yours := f.left(t, 7), f.left(t, 8)
	if !f.pam {
		// Without PAM only what is still below sshd can be told from others, and nothing is: so nothing may be touched.
		f.start(t)
		if e := f.order(t, 7); e.Found != 0 || e.By != control.ByTree || !runs(mine) || !runs(yours) {
			t.Errorf("%+v", e)
		}
		return
	}
	was := f.ending.logins.serials()
	f.hear(t)
	if now := f.ending.logins.serials(); !slices.Equal(now, []uint64{7, 8}) || !slices.Equal(was, now) {
		t.Errorf("after the agent started anew it follows %v; it followed %v", now, was)
	}
	f.start(t)
	f.saying(t, "two logins", func(s control.HostState) bool { return s.Ends && slices.Equal(s.Logins, []uint64{7, 8}) })
	e := f.order(t, 7)
	if e.Found != 2 || e.Detached != 2 || e.Killed == 0 || e.Left != 0 || e.By != control.ByAudit || e.Session != "S-7" || e.Seq != 9 {
		t.Errorf("%+v", e)
	}
	if runs(mine) || !runs(yours) {
		t.Errorf("of the one that was ended something runs: %v; the other runs: %v", runs(mine), runs(yours))
	}
	f.saying(t, "the other alone", func(s control.HostState) bool { return slices.Equal(s.Logins, []uint64{8}) })
}

func (f *follower) install(t testing.TB) {
	t.Helper()
	f.sshd.install(list(t, 1, time.Now()))
}

// While somebody is connected the connection ends too.
func TestAConnectionIsEnded(t *testing.T) {
	f := newFollower(t)
	f.install(t)
	f.start(t)
	done := make(chan error, 1)
	go func() { done <- f.sshd.run(7, "sleep 600") }()
	f.saying(t, "the login", func(s control.HostState) bool { return slices.Equal(s.Logins, []uint64{7}) })
	if e := f.order(t, 7); e.Found < 2 || e.Left != 0 {
		t.Errorf("%+v", e)
	}
	if err := <-done; err == nil {
		t.Error("ssh says that all was well")
	}
}

// What was known before the machine started anew is of processes that are no more.
func TestABootIsTheEndOfAllLogins(t *testing.T) {
	f := newFollower(t)
	f.install(t)
	f.left(t, 7)
	file := f.file("logins.json")
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	whole := read(t, file)
	put(t, file, strings.Replace(whole, f.ending.logins.boot, "another", 1))
	f.hear(t)
	if now := f.ending.logins.serials(); len(now) > 0 {
		t.Errorf("after a boot it follows %v", now)
	}
	put(t, file, whole[:len(whole)/2])
	f.hear(t)
	if now := f.ending.logins.serials(); len(now) > 0 || !strings.Contains(f.log.String(), "what was known of logins is lost") {
		t.Errorf("of a damaged file it follows %v", now)
	}
}

// Only sshd tells of logins, and only of those that it has.
func TestOnlySSHDTells(t *testing.T) {
	f := newFollower(t)
	f.install(t)
	signer := ssh.FingerprintSHA256(f.sshd.ca.PublicKey())
	// This test is started by no sshd.
	if err := tell(f.file("logins"), toldLogin{Serial: 7, Signer: signer}); err == nil || !strings.Contains(err.Error(), "is not sshd") {
		t.Errorf("a login of nobody's: %v", err)
	}
	stranger, _ := newSigner(t)
	if err := tell(f.file("logins"), toldLogin{Serial: 7, Signer: ssh.FingerprintSHA256(stranger.PublicKey())}); err == nil || !strings.Contains(err.Error(), "not by the session CA") {
		t.Errorf("a certificate of another CA: %v", err)
	}
	for _, nonsense := range []string{"", "{", strings.Repeat("[", 1<<16)} {
		conn, err := net.Dial("unix", f.file("logins"))
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(conn, nonsense)
		conn.(*net.UnixConn).CloseWrite()
		io.ReadAll(conn)
		conn.Close()
	}
	if os.Getuid() != 0 {
		t.Log("this test is not root, so every process here is of the user as whom sshd would run")
	} else {
		// nobody cannot connect, and is not believed where they can.
		told := func() string {
			cmd := exec.Command("/usr/bin/env", asProgram+"=1", f.reachable(t), "principals", "root", "--name", "phi1", "--tell", f.file("logins"), "--serial", "7", "--signer", signer)
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
			out, _ := cmd.CombinedOutput()
			return string(out)
		}
		for dir := filepath.Dir(f.file("logins")); dir != "/tmp" && dir != "/"; dir = filepath.Dir(dir) {
			os.Chmod(dir, 0o755)
		}
		if out := told(); !strings.Contains(out, "permission denied") || !strings.Contains(out, "root@phi1") {
			t.Errorf("nobody: %s", out)
		}
		os.Chmod(f.file("logins"), 0o666)
		if out := told(); !strings.Contains(out, "neither root nor ours") {
			t.Errorf("nobody, who can connect: %s", out)
		}
	}
	if now := f.ending.logins.serials(); len(now) > 0 {
		t.Errorf("it follows %v", now)
	}
}

// reachable is this test where everybody may run it.
func (f *follower) reachable(t *testing.T) string {
	t.Helper()
	me, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	to := f.file("program")
	if out, err := exec.Command("cp", me, to).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := os.Chmod(to, 0o755); err != nil {
		t.Fatal(err)
	}
	return to
}

// Where nothing can be ended the rest goes on, and the CA is told why.
func TestWhoCannotEndSaysSo(t *testing.T) {
	w := newAgent(t, time.Hour, false)
	w.ca.publish(list(t, 1, time.Now()), false)
	_, w.cannotEnd = w.hearLogins(t.TempDir(), t.TempDir())
	w.start(t)
	w.await(t, "revocation list is installed", 1)
	if s := w.saying(t, "anything", func(control.HostState) bool { return true }); !s.Ends || !strings.Contains(s.CannotEnd, "session_ca.pub") {
		t.Errorf("%+v", s)
	}
}

// What pam_exec runs has sshd for its parent, as root's shell has.
func TestOpenedIsLookedAtAtOnce(t *testing.T) {
	f := newFollower(t)
	f.install(t)
	me, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	l := f.ending.logins
	done := make(chan error, 1)
	go func() {
		done <- f.sshd.run(7, "until [ -e "+f.file("go")+" ]; do sleep 0.01; done; exec /usr/bin/env "+asProgram+"=1 "+me+" opened --tell "+f.file("logins"))
	}()
	settled := func() (all int) {
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, known := range l.known {
			if known.By() == lineage.ByAudit {
				known.Audit = lineage.NoAudit // as if nobody had looked
				all++
			}
		}
		return all
	}
	for f.pam && settled() == 0 {
		time.Sleep(time.Millisecond)
	}
	put(t, f.file("go"), "")
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if n := settled(); (n == 1) != f.pam {
		t.Errorf("%d logins have an audit session", n)
	}
}

// Without an agent people get in, a little later, and when it is stopped too: the kernel takes what sshd's command says, and nobody answers.
func TestLoginsDoNotNeedTheAgent(t *testing.T) {
	f := newFollower(t)
	f.install(t)
	os.Remove(f.file("logins"))
	if err := f.sshd.login(7); err != nil {
		t.Error(err)
	}
	stopped, err := f.ending.logins.listen(f.file("logins"), f.sshd.ca.PublicKey())
	if err != nil {
		t.Fatal(err)
	}
	defer stopped.Close()
	began := time.Now()
	err = tell(f.file("logins"), toldLogin{Serial: 7})
	if took := time.Since(began); !errors.Is(err, os.ErrDeadlineExceeded) || took < tellTime/2 || took > 20*tellTime {
		t.Errorf("after %s: %v", took, err)
	}
	if err := f.sshd.login(8); err != nil {
		t.Error(err)
	}
	if now := f.ending.logins.serials(); len(now) > 0 {
		t.Errorf("it follows %v", now)
	}
}

// When so many wait that the kernel takes no more, one that comes waits too, for as long as for an agent that starts.
func TestAFullQueueIsWaitedFor(t *testing.T) {
	path := filepath.Join(t.TempDir(), "logins")
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrUnix{Name: path}), unix.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		conn, err := net.Dial("unix", path)
		if err == nil {
			defer conn.Close()
			continue
		}
		if !starting(err) {
			t.Error(err)
		}
		return
	}
	t.Error("the queue is never full")
}

// The words of the two packages are the same.
func TestWordsForWhatIsKnown(t *testing.T) {
	if lineage.ByTree != control.ByTree || lineage.ByScope != control.ByScope || lineage.ByAudit != control.ByAudit {
		t.Error("they differ")
	}
	for _, test := range [][3]string{{"audit", "audit", "audit"}, {"audit", "tree", "tree"}, {"scope", "audit", "scope"}, {"scope", "tree", "tree"}} {
		if got := weaker(test[0], test[1]); got != test[2] {
			t.Errorf("%v: %s", test, got)
		}
	}
}

// The file is bounded, and a login of which nothing runs is forgotten in time.
func TestLoginsAreForgotten(t *testing.T) {
	f := newFollower(t)
	f.install(t)
	if err := f.sshd.login(7); err != nil {
		t.Fatal(err)
	}
	l := f.ending.logins
	l.log = slog.New(slog.DiscardHandler)
	now := time.Now()
	for _, step := range []struct {
		after time.Duration
		left  int
	}{{0, 1}, {rememberTime / 2, 1}, {rememberTime + time.Second, 0}} {
		if err := l.tidy(now.Add(step.after)); err != nil {
			t.Fatal(err)
		}
		if n := len(l.serials()); n != step.left {
			t.Errorf("after %s there are %d logins", step.after, n)
		}
	}
}
