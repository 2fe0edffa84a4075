package sftp

import (
	"testing"

	"postern/bastion/meter"
)

// A download as OpenSSH's client makes it, and as it arrives: packets in pieces of 32 KiB that never end where a packet does.
func BenchmarkDownload(b *testing.B) {
	for _, keep := range []string{meter.Hash, meter.Head, meter.Full} {
		for _, size := range []int{32 << 10, 255 << 10} {
			b.Run(keep+map[bool]string{true: "/32K", false: "/255K"}[size == 32<<10], func(b *testing.B) { download(b, keep, size) })
		}
	}
}

func download(b *testing.B, keep string, size int) {
	const requests = 64
	var log meter.Log
	d := New(Config{Read: true, Keep: keep}, &log)
	dst := make([]byte, 0, 512<<10)
	pass := func(take func(dst, b []byte) (meter.Step, error), p []byte) {
		for len(p) > 0 {
			n := min(len(p), 32<<10)
			log.Reset()
			if _, err := take(dst, p[:n]); err != nil {
				b.Fatal(err)
			}
			p = p[n:]
		}
	}
	pass(d.Client, hello)
	pass(d.Host, helloBack)
	pass(d.Client, packet(typeOpen, requests, "a", openRead, 0))
	pass(d.Host, handleIs(requests, "h"))
	var asked, answers []byte
	data := string(contents(size))
	for i := range requests {
		answers = append(answers, packet(typeData, i, data)...)
	}
	b.SetBytes(int64(len(answers)))
	b.ReportAllocs()
	offset := uint64(0)
	for b.Loop() {
		asked = asked[:0]
		for i := range requests {
			asked = append(asked, packet(typeRead, i, "h", offset, size)...)
			offset += uint64(size)
		}
		pass(d.Client, asked)
		pass(d.Host, answers)
	}
}
