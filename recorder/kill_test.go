package recorder

import (
	"bufio"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

const childVariable = "POSTERN_RECORDER_TEST_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childVariable); dir != "" {
		fmt.Fprintln(os.Stderr, hammer(dir))
		os.Exit(1)
	}
	if dir := os.Getenv(cramVariable); dir != "" {
		if err := cram(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// hammer is the process that gets killed: eight writers that tell their parent of every frame once it is durable.
func hammer(dir string) error {
	seed, err := os.ReadFile(filepath.Join(dir, "identity"))
	if err != nil {
		return err
	}
	key, err := os.ReadFile(filepath.Join(dir, "key"))
	if err != nil {
		return err
	}
	to, err := ParsePublicKey(key)
	if err != nil {
		return err
	}
	s, err := OpenStore(Config{
		Dir: filepath.Join(dir, "recordings"), Signer: ed25519.NewKeyFromSeed(seed),
		FileSize: 1 << 20, Capacity: 8 << 20, SegmentAge: 20 * time.Millisecond, LowSpace: -1,
	})
	if err != nil {
		return err
	}
	var out sync.Mutex
	failed := make(chan error)
	for i := range 8 {
		go func() {
			for round := 0; ; round++ {
				if err := oneSession(s, to, fmt.Sprintf("S-%d-%d-%d", os.Getpid(), i, round), &out); err != nil {
					failed <- err
				}
			}
		}()
	}
	return <-failed
}

// oneSession records up to 200 frames, some of them large.
func oneSession(s *Store, to PublicKey, session string, out *sync.Mutex) error {
	w, err := s.Create(Header{Session: session}, to)
	if err != nil {
		return err
	}
	noise := sample("noise", 60_000)
	for range rand.IntN(200) {
		size := rand.IntN(100)
		if size == 0 {
			size = 60_000
		}
		c, err := w.Append(Frame{Type: TypeData, Stream: Stdout, Data: noise[:size]})
		if err != nil {
			return err
		}
		if err := c.Err(); err != nil {
			return err
		}
		frames, head := w.Head()
		out.Lock()
		fmt.Printf("%s %d %x\n", session, frames, head)
		out.Unlock()
	}
	if err := w.Close("closed"); err != nil {
		return err
	}
	out.Lock()
	fmt.Printf("%s closed\n", session)
	out.Unlock()
	return nil
}

// A process killed at any moment has in its recordings everything it ever called durable.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	private, public := NewKey()
	_, identity, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(os.WriteFile(filepath.Join(dir, "identity"), identity.Seed(), 0o600),
		os.WriteFile(filepath.Join(dir, "key"), public.Marshal(), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	told := map[string][]logged{}
	closed := map[string]bool{}
	for range 4 {
		hammered(t, dir, 200+rand.IntN(2000), told, closed)
	}
	b := &bench{private: private, bastion: identity.Public().(ed25519.PublicKey)}
	b.cfg = Config{Dir: filepath.Join(dir, "recordings"), Signer: identity, FileSize: 1 << 20, LowSpace: -1}
	b.reopen(t)
	defer b.Close()
	if len(told) < 16 {
		t.Fatalf("only %d sessions", len(told))
	}
	for session, heads := range told {
		frames, sum, err := b.play(b.export(t, session), heads...)
		if err != nil || uint64(len(frames)) < heads[len(heads)-1].count || !sum.Sealed {
			t.Errorf("%s: %d frames of %d: %v", session, len(frames), heads[len(heads)-1].count, err)
		}
		if closed[session] && sum.Interrupted {
			t.Errorf("%s was closed and is called interrupted", session)
		}
	}
	if len(b.Recovered) < len(told) { // nobody called Told
		t.Errorf("%d of %d recordings are to be reported to the CA", len(b.Recovered), len(told))
	}
}

// hammered runs a child until it has told that many lines, kills it, and notes what it told.
func hammered(t *testing.T, dir string, lines int, told map[string][]logged, closed map[string]bool) {
	t.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), childVariable+"="+dir)
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewScanner(out)
	for n := 0; in.Scan(); n++ {
		if n == lines {
			child.Process.Kill()
		}
		var session, head string
		var frames uint64
		if s, ok := strings.CutSuffix(in.Text(), " closed"); ok {
			closed[s] = true
		} else if k, _ := fmt.Sscanf(in.Text(), "%s %d %s", &session, &frames, &head); k == 3 && len(head) == 64 {
			sum, err := hex.DecodeString(head)
			if err != nil {
				t.Fatal(err)
			}
			told[session] = append(told[session], logged{frames, [32]byte(sum)})
		}
	}
	if err := child.Wait(); err == nil || child.ProcessState.Exited() {
		t.Fatalf("the child ended by itself: %v", err)
	}
}
