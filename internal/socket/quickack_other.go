//go:build !linux

package socket

import "syscall"

func quickAck(syscall.RawConn) {}

func cork(syscall.RawConn) {}
