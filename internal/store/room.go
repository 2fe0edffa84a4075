package store

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Room is how many bytes must be free where a store lies before it writes anything. Badger writes through memory that is mapped over files with holes,
// so a full disk is no error there but SIGBUS, and the end of the process; and what a small write sets off (the next log, a memtable that becomes a
// table, tables that are merged) writes some ten megabytes at any later time. Nothing that was acknowledged is lost by such an end, but nobody is served.
const Room = 64 << 20

// ErrFull is what a store says that would write to a disk without [Room].
var ErrFull = errors.New("not enough space")

// roomIn is nil while there is room in a directory, and so many bytes besides.
func roomIn(dir string, more int64) error {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	if free := int64(st.Bavail) * st.Bsize; free < Room+more {
		return fmt.Errorf("%w: %s has %d MB free and needs %d MB; make room there", ErrFull, dir, free>>20, (Room+more)>>20)
	}
	return nil
}
