package lineage

import (
	"bytes"
	"errors"

	"golang.org/x/sys/unix"
)

// Watch is a look at a login that costs next to nothing, to be had every few milliseconds on a machine that may be at its limit. It says only that
// [Proc.Settle] has something to find. Its files are open, so they stay those of this process, whoever gets its number.
type Watch struct {
	fds [2]int
	was [2][]byte
}

// The files whose change tells that a login has begun an audit session or a cgroup.
var watched = [2]string{"sessionid", "cgroup"}

// Watch begins at what the login's process is in now.
func (p Proc) Watch(l Login) (*Watch, error) {
	w := &Watch{fds: [2]int{-1, -1}}
	for i, name := range watched {
		fd, err := unix.Open(p.file(l.Leader.PID, name), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if errors.Is(err, unix.ENOENT) { // a kernel without audit has no sessionid
			continue
		}
		if err != nil {
			w.Close()
			return nil, err
		}
		w.fds[i] = fd
		w.was[i], _ = reread(fd, make([]byte, 4096))
	}
	return w, nil
}

// News says whether something is not as it was when this was last asked, or the process is gone.
func (w *Watch) News() bool {
	var room [4096]byte
	news := w.fds == [2]int{-1, -1}
	for i, fd := range w.fds {
		if fd < 0 {
			continue
		}
		now, err := reread(fd, room[:])
		if err != nil {
			return true
		}
		if !bytes.Equal(now, w.was[i]) {
			w.was[i], news = bytes.Clone(now), true
		}
	}
	return news
}

// reread reads a file of proc anew from its beginning.
func reread(fd int, room []byte) ([]byte, error) {
	n, err := unix.Pread(fd, room, 0)
	return room[:max(n, 0)], err
}

// Close ends the watch.
func (w *Watch) Close() {
	for _, fd := range w.fds {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}
