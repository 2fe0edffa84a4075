// Package durable replaces files so that a power cut leaves the old one or the new one, whole.
package durable

import (
	"errors"
	"os"
	"path/filepath"
)

// Replace makes path hold data, for its owner alone, and returns when it stays so through a power cut. An error leaves path as it was, but for one of
// the directory's, after which it may be either.
func Replace(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // 0600
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// SyncDir makes the names in a directory durable.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
