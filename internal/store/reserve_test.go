package store

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// filled opens a store with a reserve, on a disk that the test says is full or not.
func filled(t *testing.T, dir string, key []byte) *DB {
	t.Helper()
	db := open(t, dir, key)
	if err := db.Reserve(1 << 20); err != nil {
		t.Fatal(err)
	}
	return db
}

// put writes a row as one that may go into the reserve, or as any.
func put(db *DB, may bool, key, value string) error {
	return db.Update(func(tx *Tx) error {
		if may {
			tx.FromReserve(0)
		}
		if value == "" {
			return tx.Delete([]byte(key))
		}
		return tx.Set([]byte(key), []byte(value))
	})
}

func rows(t *testing.T, db *DB, prefix string) string {
	t.Helper()
	var out string
	if err := db.View(func(tx *Tx) error {
		return tx.Scan([]byte(prefix), func(k, v []byte) error {
			got, err := tx.Get(k)
			if !bytes.Equal(got, v) {
				t.Errorf("%s reads as %q and is scanned as %q", k, got, v)
			}
			out += fmt.Sprintf("%s=%s ", k, v)
			return err
		})
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

// What may is taken on a full disk, survives the end of the process there, and is Badger's with room again. What may not is refused.
func TestReserve(t *testing.T) {
	for name, key := range map[string][]byte{"plain": nil, "encrypted": bytes.Repeat([]byte{7}, 32)} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			db := filled(t, dir, key)
			for _, k := range []string{"a", "c", "e"} {
				if err := put(db, false, "r/"+k, "old"); err != nil {
					t.Fatal(err)
				}
			}
			db.room = func(string) error { return ErrFull }
			if err := put(db, false, "r/x", "no"); !errors.Is(err, ErrFull) {
				t.Errorf("what may not: %v", err)
			}
			if err := errors.Join(put(db, true, "r/b", "new"), put(db, true, "r/c", "new"), put(db, true, "r/e", ""), put(db, true, "r/f", "new")); err != nil {
				t.Fatal(err)
			}
			const want = "r/a=old r/b=new r/c=new r/f=new "
			if got := rows(t, db, "r/"); got != want {
				t.Errorf("on the full disk: %s", got)
			}
			db.room = roomIn // else the files stay open, for the next process
			db.Close()
			for range 2 {
				db = filled(t, dir, key)
				if got := rows(t, db, "r/"); got != want || len(db.parked) > 0 {
					t.Errorf("afterwards: %s", got)
				}
				db.Close()
			}
		})
	}
}

// A record that was cut short is nothing, those before it are whole; what is left of earlier contents is nothing either.
func TestReserveCutAnywhere(t *testing.T) {
	dir := t.TempDir()
	db := filled(t, dir, nil)
	db.room = func(string) error { return ErrFull }
	for i := range 3 {
		if err := put(db, true, fmt.Sprintf("r/%d", i), fmt.Sprint("value ", i)); err != nil {
			t.Fatal(err)
		}
	}
	end := db.spare.used
	db.room = roomIn
	db.Close()
	whole, err := os.ReadFile(filepath.Join(dir, reserveFile))
	if err != nil {
		t.Fatal(err)
	}
	for cut := range end {
		short := append(bytes.Clone(whole[:cut]), bytes.Repeat([]byte{0xff}, int(end-cut))...)
		if err := os.WriteFile(filepath.Join(dir, reserveFile), short, 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := openReserve(dir, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		got, err := r.read()
		if want := int(cut / (end / 3)); err != nil || len(got) != want {
			t.Fatalf("cut at %d of %d: %d rows and not %d: %v", cut, end, len(got), want, err)
		}
		r.epoch, r.count, r.used = 1, 0, 0 // as if Badger had it already
		if got, err := r.read(); err != nil || len(got) > 0 {
			t.Fatalf("what went to Badger is read once more: %v %v", got, err)
		}
		r.file.Close()
	}
}

// When the reserve is used up nothing is taken, and with room everything goes on. What leaves some of it for others is refused before.
func TestReserveUsedUp(t *testing.T) {
	dir := t.TempDir()
	db := filled(t, dir, nil)
	defer db.Close()
	db.room = func(string) error { return ErrFull }
	full := func(leave int64) (n int) {
		for value := string(make([]byte, 10<<10)); ; n++ {
			err := db.Update(func(tx *Tx) error {
				tx.FromReserve(leave)
				return tx.Set(fmt.Appendf(nil, "r/%d/%d", leave, n), []byte(value))
			})
			if errors.Is(err, ErrFull) {
				return n
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	if some, rest := full(512<<10), full(0); some < 45 || some > 52 || rest < 45 || rest > 52 {
		t.Errorf("%d and then %d updates fit", some, rest)
	}
	if spare, err := db.Room(); spare > 20<<10 || !errors.Is(err, ErrFull) {
		t.Errorf("%d are left, %v", spare, err)
	}
	db.room = func(string) error { return nil }
	if err := put(db, false, "r/more", "x"); err != nil {
		t.Fatal(err)
	}
	if spare, err := db.Room(); spare < 1000<<10 || err != nil || len(db.parked) > 0 {
		t.Errorf("with room %d are left, %v", spare, err)
	}
}
