package recorder

import (
	"os"

	"golang.org/x/sys/unix"
)

// Disk is what the journal asks of its disk. Tests replace members to make it full or broken; nil members are the real thing.
type Disk struct {
	Allocate func(f *os.File, size int64) error                   // fallocate
	Write    func(f *os.File, parts [][]byte, offset int64) error // all parts, one after the other
	Sync     func(f *os.File) error                               // fdatasync
	Free     func(dir string) (int64, error)                      // bytes an ordinary user may still write
}

func (d Disk) orReal() Disk {
	if d.Allocate == nil {
		d.Allocate = allocate
	}
	if d.Write == nil {
		d.Write = writeParts
	}
	if d.Sync == nil {
		d.Sync = syncData
	}
	if d.Free == nil {
		d.Free = freeBytes
	}
	return d
}

func allocate(f *os.File, size int64) error {
	return retry(func() error { return unix.Fallocate(int(f.Fd()), 0, 0, size) })
}

func syncData(f *os.File) error {
	return retry(func() error { return unix.Fdatasync(int(f.Fd())) })
}

func freeBytes(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := retry(func() error { return unix.Statfs(dir, &st) }); err != nil {
		return 0, &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	return int64(st.Bavail) * st.Bsize, nil
}

// writeParts is one pwritev unless the kernel writes less than it was given, which ends in the error that explains it.
func writeParts(f *os.File, parts [][]byte, offset int64) error {
	left := append([][]byte(nil), parts...)
	for len(left) > 0 {
		n := 0
		err := retry(func() (err error) {
			n, err = unix.Pwritev(int(f.Fd()), left, offset)
			return err
		})
		if err != nil {
			return &os.PathError{Op: "write", Path: f.Name(), Err: err}
		}
		offset += int64(n)
		for len(left) > 0 && n >= len(left[0]) {
			n -= len(left[0])
			left = left[1:]
		}
		if len(left) > 0 {
			left[0] = left[0][n:]
		}
	}
	return nil
}

func retry(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}
