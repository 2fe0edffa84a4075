package store

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dgraph-io/badger/v4"
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
			db.room = full
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
	db.room = full
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
	db.room = full
	fit := func(leave int64) (n int) {
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
	if some, rest := fit(512<<10), fit(0); some < 45 || some > 52 || rest < 45 || rest > 52 {
		t.Errorf("%d and then %d updates fit", some, rest)
	}
	if spare, err := db.Room(); spare > 20<<10 || !errors.Is(err, ErrFull) {
		t.Errorf("%d are left, %v", spare, err)
	}
	db.room = roomy
	if err := put(db, false, "r/more", "x"); err != nil {
		t.Fatal(err)
	}
	if spare, err := db.Room(); spare < 1000<<10 || err != nil || len(db.parked) > 0 {
		t.Errorf("with room %d are left, %v", spare, err)
	}
}

// full and roomy are disks.
func full(string, int64) error  { return ErrFull }
func roomy(string, int64) error { return nil }

// What Badger took, and the file still holds because it could not be emptied, is not read again; and nothing is written behind it, where nobody would read it.
func TestReserveThatCannotBeEmptied(t *testing.T) {
	dir := t.TempDir()
	db := filled(t, dir, nil)
	db.room = full
	if err := put(db, true, "r/a", "old"); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(filepath.Join(dir, reserveFile))
	if err != nil {
		t.Fatal(err)
	}
	db.spare.file.Close() // as a disk that breaks
	db.room = roomy
	if err := put(db, false, "r/a", "new"); err != nil {
		t.Errorf("with room: %v", err)
	}
	db.room = full
	if err := put(db, true, "r/b", "lost"); err == nil {
		t.Error("taken by a file that is broken")
	}
	if spare, _ := db.Room(); spare != 0 {
		t.Errorf("%d are left of it", spare)
	}
	db.room = roomy
	if err := os.WriteFile(filepath.Join(dir, reserveFile), whole, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := db.Reserve(1 << 20); err != nil { // mended
		t.Error(err)
	}
	if left, err := os.ReadFile(filepath.Join(dir, reserveFile)); err != nil || bytes.Contains(left, whole[:64]) {
		t.Errorf("what it held is left of it: %v", err)
	}
	db.room = full
	if err := put(db, true, "r/c", "kept"); err != nil {
		t.Error(err)
	}
	db.room = roomy
	db.Close()
	db = filled(t, dir, nil)
	defer db.Close()
	if got := rows(t, db, "r/"); got != "r/a=new r/c=kept " {
		t.Errorf("afterwards: %s", got)
	}
}

// A file that somebody deleted takes nothing, for the next process would not find it. What it took before is laid over Badger's rows still.
func TestReserveDeleted(t *testing.T) {
	dir := t.TempDir()
	db := filled(t, dir, nil)
	defer db.Close()
	db.room = full
	if err := errors.Join(put(db, true, "r/a", "kept"), os.Remove(filepath.Join(dir, reserveFile))); err != nil {
		t.Fatal(err)
	}
	if err := put(db, true, "r/b", "lost"); err == nil {
		t.Error("taken by a file that is gone")
	}
	db.room = roomy
	if err := errors.Join(db.Reserve(1<<20), put(db, false, "r/c", "new")); err != nil {
		t.Error(err)
	}
	if got := rows(t, db, "r/"); got != "r/a=kept r/c=new " {
		t.Errorf("afterwards: %s", got)
	}
	if spare, _ := db.Room(); spare == 0 {
		t.Error("it was not made anew")
	}
}

// A record that was altered, with another behind it, is no end.
func TestReserveAltered(t *testing.T) {
	dir := t.TempDir()
	db := filled(t, dir, nil)
	db.room = full
	if err := errors.Join(put(db, true, "r/a", "x"), put(db, true, "r/b", "x"), put(db, true, "r/c", "x")); err != nil {
		t.Fatal(err)
	}
	end := db.spare.used
	db.room = roomIn
	db.Close()
	file := filepath.Join(dir, reserveFile)
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for record := range int64(3) {
		altered := bytes.Clone(whole)
		altered[record*end/3+recordHead] ^= 1
		if err := os.WriteFile(file, altered, 0o600); err != nil {
			t.Fatal(err)
		}
		db, err := Open(dir, nil)
		if record < 2 && (err == nil || !strings.Contains(err.Error(), fmt.Sprintf("record %d of it was altered", record))) {
			t.Errorf("record %d: %v", record, err)
		}
		if record == 2 {
			if err != nil {
				t.Fatal(err)
			}
			if got := rows(t, db, "r/"); got != "r/a=x r/b=x " {
				t.Errorf("the last one, of which nobody may have been told: %s", got)
			}
			db.Close()
		}
	}
}

// However many rows the reserve holds, and however small they are, Badger takes them. Until it has room for all the disk counts as full.
func TestReserveOfManyRows(t *testing.T) {
	db := open(t, t.TempDir(), nil)
	defer db.Close()
	if err := db.Reserve(8 << 20); err != nil {
		t.Fatal(err)
	}
	db.room = full
	const parts, each = 6, 10_000
	for part := range parts {
		if err := db.Update(func(tx *Tx) (err error) {
			tx.FromReserve(0)
			for n := range each {
				err = errors.Join(err, tx.Set(fmt.Appendf(nil, "r/%d/%d", part, n), nil))
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	held := db.spare.used
	db.room = func(_ string, more int64) error {
		if more < 3*held {
			t.Errorf("%d more for %d that are held", more, held)
		}
		return nil
	}
	if err := put(db, false, "s", "x"); err != nil || len(db.parked) > 0 {
		t.Fatalf("with room %d are left, %v", len(db.parked), err)
	}
	db.room = roomy
	n := 0
	if err := db.View(func(tx *Tx) error {
		return tx.Scan([]byte("r/"), func(_, _ []byte) error { n++; return nil })
	}); err != nil || n != parts*each {
		t.Errorf("%d rows: %v", n, err)
	}
}

// A reserve is not made where the disk would be full by it.
func TestReserveWantsRoomBesides(t *testing.T) {
	db := open(t, t.TempDir(), nil)
	defer db.Close()
	db.room = func(_ string, more int64) error {
		if more > 1<<20-1 {
			return ErrFull
		}
		return nil
	}
	if err := db.Reserve(1 << 20); !errors.Is(err, ErrFull) {
		t.Errorf("made: %v", err)
	}
	if err := put(db, false, "a", "x"); err != nil {
		t.Errorf("without one: %v", err)
	}
	db.room = roomy
	if err := db.Reserve(1 << 20); err != nil {
		t.Error(err)
	}
	if info, err := os.Stat(filepath.Join(db.dir, reserveFile)); err != nil || info.Mode() != 0o600 || info.Size() != 1<<20 {
		t.Errorf("%v %v", info, err)
	}
}

// What is in the file goes to Badger once more when a process died on the way, and not when it was through: then Badger has what is newer.
func TestReserveOfADeadProcess(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, reserveFile)
	db := filled(t, dir, nil)
	if err := errors.Join(put(db, false, "r/a", "first"), put(db, false, "r/b", "first")); err != nil {
		t.Fatal(err)
	}
	db.room = full
	if err := errors.Join(put(db, true, "r/a", "old"), put(db, true, "r/b", ""), put(db, true, "r/c", "old")); err != nil {
		t.Fatal(err)
	}
	if err := db.badger.Update(func(txn *badger.Txn) error { return tell(txn, "r/a", []byte("old")) }); err != nil { // a part of it
		t.Fatal(err)
	}
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	db.room = roomIn
	db.Close()
	db = filled(t, dir, nil)
	if got := rows(t, db, "r/"); got != "r/a=old r/c=old " {
		t.Errorf("died on the way: %s", got)
	}
	if err := errors.Join(put(db, false, "r/a", "new"), put(db, false, "r/b", "new"), put(db, false, "r/c", "")); err != nil {
		t.Fatal(err)
	}
	db.Close()
	if err := os.WriteFile(file, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	db = filled(t, dir, nil)
	defer db.Close()
	if got := rows(t, db, "r/"); got != "r/a=new r/b=new " {
		t.Errorf("died before the file was emptied: %s", got)
	}
	if left, err := os.ReadFile(file); err != nil || len(bytes.Trim(left, "\x00")) > 0 {
		t.Errorf("what it held is left of it: %v", err)
	}
}
