package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// disk is how files are replaced. Tests put a failing one in its place.
type disk struct {
	write   func(path string, data []byte, mode fs.FileMode) error // durable when it returns
	rename  func(from, to string) error
	syncDir func(dir string) error
}

var onDisk = disk{write: writeSynced, rename: os.Rename, syncDir: syncDir}

// replace makes path hold data, whole, or leaves it as it was, whatever happens meanwhile. sshd reads RevokedKeys at every
// login and takes a file that is cut in the right place for one that revokes less, so there must never be a moment at which
// path is not a whole file. What was written is read back, and given to check, before it gets its name.
func (d disk) replace(path string, data []byte, mode fs.FileMode, check func([]byte) error) error {
	// One fixed name, so that crashes do not pile up files.
	temporary := path + ".new"
	if err := d.write(temporary, data, mode); err != nil {
		return fmt.Errorf("%s stays as it is: %w", path, err)
	}
	back, err := os.ReadFile(temporary)
	if err != nil {
		return fmt.Errorf("%s stays as it is: read back: %w", path, err)
	}
	if !bytes.Equal(back, data) {
		return fmt.Errorf("%s stays as it is: %s holds other bytes than were written to it; is the disk broken?", path, temporary)
	}
	if check != nil {
		if err := check(back); err != nil {
			return fmt.Errorf("%s stays as it is: %w", path, err)
		}
	}
	if err := d.rename(temporary, path); err != nil {
		return fmt.Errorf("%s stays as it is: %w", path, err)
	}
	return d.syncDir(filepath.Dir(path))
}

func writeSynced(path string, data []byte, mode fs.FileMode) error {
	// A file or link of that name that is left over, or was put there, is not written into.
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(data); err != nil {
		return err
	}
	// The mode asked for, whatever the umask: sshd must be able to read it.
	if err := f.Chmod(mode); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return f.Close()
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
