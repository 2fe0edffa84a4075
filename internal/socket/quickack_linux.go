package socket

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// quickAck asks the kernel to acknowledge what arrived at once instead of up to 40 ms later. The kernel forgets it after a
// while, so it is asked for again after every small read: an SSH handshake is a dozen small writes, each of which a peer
// with Nagle's algorithm on (OpenSSH, until it is interactive) holds back until the one before is acknowledged.
func quickAck(raw syscall.RawConn) {
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_QUICKACK, 1)
	})
}

// cork has the kernel keep what is less than a full segment until the connection is closed, but no longer than 200 ms.
func cork(raw syscall.RawConn) {
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_CORK, 1)
	})
}
