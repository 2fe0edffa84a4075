package store

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// found lists the files of dir that hold the bytes.
func found(t *testing.T, dir string, what []byte) (files []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if bytes.Contains(data, what) {
			files = append(files, filepath.Base(path))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

// What was destroyed is in no file any more, nor is what it was before it was overwritten; while others write, and after a restart.
func TestDestroy(t *testing.T) {
	dir := t.TempDir()
	db, err := Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	set := func(key string, value []byte) {
		t.Helper()
		if err := db.Update(func(tx *Tx) error { return tx.Set([]byte(key), value) }); err != nil {
			t.Fatal(err)
		}
	}
	first, second, kept := random(3000), random(3000), random(3000)
	set("box/a", first)
	for i := range 40 { // so that tables are made of it
		set(fmt.Sprintf("filler/%d", i), random(60<<10))
		if i%8 == 0 {
			if err := db.badger.Flatten(1); err != nil {
				t.Fatal(err)
			}
		}
	}
	set("box/a", second)
	set("box/b", kept)
	if len(found(t, dir, first)) == 0 || len(found(t, dir, second)) == 0 {
		t.Fatal("the test looks in the wrong place")
	}
	var others sync.WaitGroup
	others.Go(func() {
		for i := range 50 {
			if err := db.Update(func(tx *Tx) error { return tx.Set(fmt.Appendf(nil, "busy/%d", i), random(100)) }); err != nil {
				t.Error(err)
			}
		}
	})
	if err := db.Destroy([]byte("box/a")); err != nil {
		t.Fatal(err)
	}
	others.Wait()
	for range 2 {
		for name, secret := range map[string][]byte{"value": second, "value of before": first} {
			if files := found(t, dir, secret); len(files) > 0 {
				t.Errorf("the %s is in %v", name, files)
			}
		}
		err := db.View(func(tx *Tx) error {
			if there, err := tx.Has([]byte("box/a")); err != nil || there {
				t.Errorf("the row is there: %v, %v", there, err)
			}
			value, err := tx.Get([]byte("box/b"))
			if !bytes.Equal(value, kept) {
				t.Error("another row was destroyed")
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		if db, err = Open(dir, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
	if err := db.Destroy([]byte("box/b")); err != ErrClosed {
		t.Errorf("after the end: %v", err)
	}
}
