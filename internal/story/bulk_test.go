package story

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

const (
	block = 64 << 10 // what the programs below write and read at once

	// mostAhead is how far a sender may be ahead of a reader that does not read: a few windows of 2 MiB, and buffers.
	mostAhead = 24 << 20
)

// sender writes blocks that are all different, says in a file how many, and at the end their checksum.
const sender = `exec /usr/bin/python3 -c '
import hashlib, os, sys
count, progress, total = int(sys.argv[1]), os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT), hashlib.sha256()
filler = os.urandom(65536)
for n in range(count):
    b = n.to_bytes(8, "big") + filler[8:]
    total.update(b)
    while b:
        b = b[os.write(1, b):]
    os.pwrite(progress, b"%20d" % (n + 1), 0)
sys.stderr.write(total.hexdigest())
'`

// receiver reads one block, waits for a file, reads the rest and says its checksum.
const receiver = `exec /usr/bin/python3 -c '
import hashlib, os, sys, time
total = hashlib.sha256(sys.stdin.buffer.read(65536))
while not os.path.exists(sys.argv[1]):
    time.sleep(0.02)
while b := sys.stdin.buffer.read(65536):
    total.update(b)
print(total.hexdigest(), end="")
'`

// TestSlowReaders lets much pass in each direction to a reader that stops in the middle: the sender has to wait, and the bastion must not
// keep what comes meanwhile. Keys are exchanged anew all the while.
func TestSlowReaders(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	before := p.memory("bastion")
	often := func(c *ssh.ClientConfig) { c.RekeyThreshold = 1 << 20 }
	for i, w := range p.ways("phi1", "")[1:] {
		t.Run(strings.ReplaceAll(w.name, " ", "-"), func(t *testing.T) {
			blocks := []int{120 << 20, 60 << 20}[i] / block
			download(t, w.dial(), filepath.Join(p.Dir, "down-"+w.name[:2]), blocks)
			upload(t, w.dial(often), filepath.Join(p.Dir, "up-"+w.name[:2]), blocks/4)
			download(t, w.dial(often), filepath.Join(p.Dir, "again-"+w.name[:2]), blocks/4)
		})
	}
	grown, most := p.memory("bastion")-before, mostMemory(t)
	t.Logf("the bastion grew by %d MiB, and may by %d", grown>>20, most>>20)
	if grown > most {
		t.Error("that is too much")
	}
}

func download(t *testing.T, c *ssh.Client, progress string, blocks int) {
	t.Helper()
	s, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	s.Stderr = &said
	out, err := s.StdoutPipe()
	if err == nil {
		err = s.Start(fmt.Sprintf("%s %d %s", sender, blocks, progress))
	}
	total := sha256.New()
	if err == nil {
		_, err = io.CopyN(total, out, block)
	}
	if err != nil {
		t.Fatal(err)
	}
	stalls(t, blocks*block, func() int64 {
		b, _ := os.ReadFile(progress)
		n, _ := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
		return n * block
	})
	n, err := io.Copy(total, out)
	if err == nil {
		err = s.Wait()
	}
	if got := hex.EncodeToString(total.Sum(nil)); err != nil || got != said.String() || n != int64(blocks-1)*block {
		t.Errorf("%d bytes %s, sent were %s: %v", n, got, &said, err)
	}
}

func upload(t *testing.T, c *ssh.Client, goOn string, blocks int) {
	t.Helper()
	s, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	s.Stdout = &said
	in, err := s.StdinPipe()
	if err == nil {
		err = s.Start(receiver + " " + goOn)
	}
	if err != nil {
		t.Fatal(err)
	}
	total := sha256.New()
	var sent atomic.Int64
	written := make(chan error, 1)
	go func() {
		b := bytes.Repeat([]byte("filler"), block)[:block]
		for i := range blocks {
			copy(b, fmt.Sprintf("%8d", i))
			total.Write(b)
			if _, err := in.Write(b); err != nil {
				written <- err
				return
			}
			sent.Add(block)
		}
		written <- in.Close()
	}()
	stalls(t, blocks*block, sent.Load)
	if err := os.WriteFile(goOn, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	err = <-written
	if err == nil {
		err = s.Wait()
	}
	if want := hex.EncodeToString(total.Sum(nil)); err != nil || said.String() != want {
		t.Errorf("received %s, sent were %s: %v", &said, want, err)
	}
}

// stalls waits until a sender gets no further, and judges how far it got.
func stalls(t *testing.T, all int, progress func() int64) {
	t.Helper()
	last, still := int64(-1), 0
	for end := time.Now().Add(patience); still < 25; time.Sleep(20 * time.Millisecond) {
		now := progress()
		if now == last && now > 0 {
			still++
		} else {
			last, still = now, 0
		}
		if time.Now().After(end) {
			t.Fatalf("the sender still goes on, at %d bytes", now)
		}
	}
	if last >= int64(min(all, mostAhead)) {
		t.Errorf("the sender was ahead by %d MiB", last>>20)
	}
	t.Logf("the sender waits at %d MiB", last>>20)
}

// memory is the most that a process of the lab had resident.
func (p *place) memory(name string) int64 {
	return kilobytes(p.t, fmt.Sprintf("/proc/%d/status", p.PIDs[name]), "VmHWM:")
}

// mostMemory is what the bastion may grow by: it lets garbage grow to a 32nd of the machine's memory.
func mostMemory(t *testing.T) int64 { return kilobytes(t, "/proc/meminfo", "MemTotal:")/32 + 200<<20 }

func kilobytes(t *testing.T, file, field string) int64 {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), field)
	var kb int64
	if _, err := fmt.Sscan(rest, &kb); err != nil {
		t.Fatalf("%s in %s: %v", field, file, err)
	}
	return kb << 10
}
