package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
)

func open(t *testing.T, dir string, key []byte) *DB {
	t.Helper()
	db, err := Open(dir, key)
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func TestReadYourWritesAcrossABatch(t *testing.T) {
	db := open(t, t.TempDir(), nil)
	defer db.Close()
	const writers, each = 32, 50
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for range each {
				if err := db.Update(increment); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if got := counter(t, db); got != writers*each {
		t.Fatalf("counter is %d after %d increments", got, writers*each)
	}
}

func increment(tx *Tx) error {
	v, err := tx.Get([]byte("n"))
	if errors.Is(err, ErrNotFound) {
		v = make([]byte, 8)
	} else if err != nil {
		return err
	}
	return tx.Set([]byte("n"), binary.BigEndian.AppendUint64(nil, binary.BigEndian.Uint64(v)+1))
}

func counter(t *testing.T, db *DB) (n uint64) {
	t.Helper()
	err := db.View(func(tx *Tx) error {
		v, err := tx.Get([]byte("n"))
		if err == nil {
			n = binary.BigEndian.Uint64(v)
		}
		return err
	})
	if err != nil && !errors.Is(err, ErrNotFound) {
		t.Fatal(err)
	}
	return n
}

func TestARefusedUpdateLeavesNothing(t *testing.T) {
	db := open(t, t.TempDir(), nil)
	defer db.Close()
	no := errors.New("no")
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			err := db.Update(func(tx *Tx) error {
				tx.Set(fmt.Appendf(nil, "k%03d", i), []byte("v"))
				switch i % 3 {
				case 1:
					return no
				case 2:
					panic("boom")
				}
				return nil
			})
			if (i%3 == 0) != (err == nil) {
				t.Errorf("update %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	n := 0
	db.View(func(tx *Tx) error {
		return tx.Scan([]byte("k"), func(k, v []byte) error { n++; return nil })
	})
	if n != 67 {
		t.Fatalf("%d rows, want the 67 that were accepted", n)
	}
}

func TestOverlayDeleteAndScan(t *testing.T) {
	db := open(t, t.TempDir(), nil)
	defer db.Close()
	err := db.Update(func(tx *Tx) error {
		tx.Set([]byte("a/1"), nil)
		tx.Set([]byte("a/2"), []byte("two"))
		tx.Set([]byte("b/1"), []byte("x"))
		if v, err := tx.Get([]byte("a/1")); err != nil || len(v) != 0 {
			return fmt.Errorf("empty value reads as %q, %v", v, err)
		}
		tx.Delete([]byte("b/1"))
		if _, err := tx.Get([]byte("b/1")); !errors.Is(err, ErrNotFound) {
			return fmt.Errorf("deleted row: %v", err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	db.View(func(tx *Tx) error {
		return tx.ScanFrom([]byte("a/"), []byte("a/2"), func(k, v []byte) error { keys = append(keys, string(k)+string(v)); return nil })
	})
	if strings.Join(keys, " ") != "a/2two" {
		t.Fatal(keys)
	}
}

func TestEncryptedAtRest(t *testing.T) {
	dir, key := t.TempDir(), bytes.Repeat([]byte{7}, 32)
	db := open(t, dir, key)
	secret := []byte("the reason is restore failed")
	if err := db.Update(func(tx *Tx) error { return tx.Set([]byte("row"), secret) }); err != nil {
		t.Fatal(err)
	}
	db.Close()
	if err := db.Update(increment); !errors.Is(err, ErrClosed) {
		t.Fatalf("update after close: %v", err)
	}
	files, _ := os.ReadDir(dir)
	for _, f := range files {
		b, err := os.ReadFile(dir + "/" + f.Name())
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(b, secret) {
			t.Fatalf("%s holds the plaintext", f.Name())
		}
	}
	if _, err := Open(dir, bytes.Repeat([]byte{8}, 32)); err == nil {
		t.Fatal("opened with the wrong key")
	}
}

// A process that is killed while many goroutines write must have kept every update it acknowledged.
func TestKill9KeepsWhatWasAcknowledged(t *testing.T) {
	if dir := os.Getenv("STORE_VICTIM"); dir != "" {
		victim(dir)
		return
	}
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run", "^TestKill9KeepsWhatWasAcknowledged$")
	cmd.Env = append(os.Environ(), "STORE_VICTIM="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var acked uint64
	buf := make([]byte, 8)
	for acked < 2000 {
		if _, err := out.Read(buf[:8]); err != nil {
			t.Fatal(err)
		}
		acked++
	}
	cmd.Process.Kill()
	for { // what it said before it died counts too
		if _, err := out.Read(buf[:8]); err != nil {
			break
		}
		acked++
	}
	cmd.Wait()
	db := open(t, dir, nil)
	defer db.Close()
	if got := counter(t, db); got < acked {
		t.Fatalf("%d acknowledged, %d kept", acked, got)
	}
}

func victim(dir string) {
	db, err := Open(dir, nil)
	if err != nil {
		panic(err)
	}
	for range 16 {
		go func() {
			for {
				if db.Update(increment) == nil {
					os.Stdout.Write([]byte("12345678"))
				}
			}
		}()
	}
	select {}
}

func BenchmarkUpdate(b *testing.B) {
	db, err := Open(b.TempDir(), nil)
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := db.Update(increment); err != nil {
				b.Error(err)
			}
		}
	})
}

// What costs no more than the limit is taken, and long values cost nothing.
func TestLimitOfAnUpdate(t *testing.T) {
	db, err := Open(t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	write := func(cost, long int) error {
		return db.Update(func(tx *Tx) error {
			for i := 0; cost > 0; i++ {
				key := fmt.Appendf(nil, "row/%08d", i)
				n := min(cost, MostCost(len(key))-1)
				if err := tx.Set(key, make([]byte, n-len(key))); err != nil {
					return err
				}
				if Cost(len(key), n-len(key)) != n {
					t.Fatalf("a row of %d costs %d", n, Cost(len(key), n-len(key)))
				}
				cost -= n
			}
			for i := range long {
				if err := tx.Set(fmt.Appendf(nil, "long/%d", i), make([]byte, 256<<10)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := write(MaxUpdate-64*8, 64); err != nil {
		t.Errorf("what fits: %v", err)
	}
	if err := write(MaxUpdate+1, 0); err == nil {
		t.Error("what does not fit was taken")
	}
	if Cost(3, 256<<10) != 3 {
		t.Errorf("a long value costs %d", Cost(3, 256<<10))
	}
}
