package store

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// ErrTaken is what a store says that another process has open.
var ErrTaken = errors.New("in use")

// taken says who has the store open, or nil when nobody has. Badger tells its lock from other errors by words alone.
func taken(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return nil
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); !errors.Is(err, unix.EWOULDBLOCK) {
		return nil
	}
	return fmt.Errorf("%w by %s; only one can have it: stop that one first, or name another directory", ErrTaken, holder(dir))
}

// holder is the process that says it has the store, if it is there: the file may be from another machine, or of a process that is gone.
func holder(dir string) string {
	text, _ := os.ReadFile(filepath.Join(dir, "LOCK"))
	pid, err := strconv.Atoi(string(bytes.TrimSpace(text)))
	if err != nil {
		return "another process"
	}
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		return "another process"
	}
	return fmt.Sprintf("%s, process %d", bytes.TrimSpace(name), pid)
}
