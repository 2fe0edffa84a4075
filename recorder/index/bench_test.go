package index

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"postern/recorder"
)

// sample is what hosts print, of a kind.
func sample(kind string, size int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	var b bytes.Buffer
	for n := 0; b.Len() < size; n++ {
		switch kind {
		case "log":
			fmt.Fprintf(&b, "Nov 22 10:%02d:%02d phi1 postgres[%d]: LOG:  duration: %d.%03d ms  statement: select id, name from patients where id = %d\r\n", n/60%60, n%60, r.IntN(9999), r.IntN(90), r.IntN(999), r.IntN(1e7))
		case "colour":
			fmt.Fprintf(&b, "\x1b[01;34m%x\x1b[0m  \x1b[01;32m%x.sh\x1b[0m  %x\r\n", r.IntN(1e6), r.IntN(1e9), r.IntN(1e9))
		case "vim":
			fmt.Fprintf(&b, "\x1b[%d;%dH\x1b[38;5;%dmfunc\x1b[m name%d\x1b[K", r.IntN(24)+1, r.IntN(60)+1, r.IntN(255), r.IntN(1e6))
		case "japanese":
			for range 40 {
				b.WriteRune(rune(0x3041 + r.IntN(80)))
			}
			b.WriteString("\r\n")
		default:
			b.WriteByte(byte(r.Uint32()))
		}
	}
	return b.Bytes()[:size]
}

// BenchmarkIndex is the work of a bastion on a segment of 256 KiB, beside sealing it.
func BenchmarkIndex(b *testing.B) {
	for _, kind := range []string{"log", "colour", "vim", "noise", "japanese"} {
		for _, terminal := range []bool{true, false} {
			b.Run(fmt.Sprintf("%s/terminal=%v", kind, terminal), func(b *testing.B) {
				text := sample(kind, 256<<10)
				var frames []recorder.Frame
				for i := 0; i < len(text); i += 32 << 10 {
					frames = append(frames, out(0, time.Duration(i)*time.Microsecond, string(text[i:i+32<<10])))
				}
				x := new(Indexer)
				x.Segment(0, []recorder.Frame{open(0, "session")})
				if terminal {
					x.Segment(1, []recorder.Frame{pty(0)})
				}
				b.SetBytes(int64(len(text)))
				b.ReportAllocs()
				var n int
				begin := cpu()
				for b.Loop() {
					n = len(x.Segment(2, frames))
				}
				b.ReportMetric(float64(cpu()-begin)/float64(b.N)/float64(len(text)), "cpu-ns/byte")
				b.ReportMetric(100*float64(n)/float64(len(text)), "%size")
			})
		}
	}
}

func cpu() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
