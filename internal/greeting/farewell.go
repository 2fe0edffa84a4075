package greeting

import (
	"reflect"

	"golang.org/x/crypto/ssh"
)

// Farewell lets go of what golang.org/x/crypto holds of a connection that has ended: of a server that has called [Conn.Begun], or of one that
// was handed out. The TCP connection, or what is in its place, must be closed, and the channels of the connection with it.
//
// Up to 0.58 the library leaves its reading goroutine waiting for ever when it stops in the middle of what a client sent: that has room for
// sixteen packets and nobody takes the seventeenth. A packet may have 256 KiB, and it takes no login to send the library something that it
// stops at, so a stranger could fill the memory. There is no way in but to take the packets oneself.
func Farewell(conn ssh.ConnMetadata) {
	for range unread(conn) { // the reader finds the connection closed then, and closes this
	}
}

// unread is the library's queue of packets; nil, which nobody waits for, is a library that has become another.
func unread(conn ssh.ConnMetadata) <-chan []byte {
	if server, ok := conn.(*ssh.ServerConn); ok {
		conn = server.Conn
	}
	v := field(reflect.ValueOf(conn), "transport")
	if v.Kind() == reflect.Interface {
		v = v.Elem()
	}
	queue := field(v, "incoming")
	if !queue.IsValid() || queue.Type() != reflect.TypeFor[chan []byte]() {
		closed := make(chan []byte)
		close(closed)
		return closed
	}
	return *(*chan []byte)(queue.Addr().UnsafePointer())
}

func field(v reflect.Value, name string) reflect.Value {
	if v.Kind() != reflect.Pointer || v.Elem().Kind() != reflect.Struct {
		return reflect.Value{}
	}
	return v.Elem().FieldByName(name)
}
