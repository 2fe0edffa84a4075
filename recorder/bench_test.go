package recorder

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// BenchmarkDurable is a writer that waits for each frame, as a person who types does, and many of them.
func BenchmarkDurable(b *testing.B) {
	for _, writers := range []int{1, 8, 64, 1000} {
		b.Run(fmt.Sprintf("%d", writers), func(b *testing.B) {
			s := newBench(b, func(c *Config) { c.FileSize = 64 << 20; c.SegmentAge = time.Hour })
			var all []*Writer
			for i := range writers {
				all = append(all, s.create(b, fmt.Sprintf("S-%d", i)))
			}
			text := []byte("some 40 bytes, as the echo of a command.")
			b.ReportAllocs()
			b.ResetTimer()
			var wait sync.WaitGroup
			for i, w := range all {
				wait.Go(func() {
					for n := i; n < b.N; n += writers {
						c, err := w.Append(Frame{Type: TypeData, Stream: Stdout, Data: text})
						if err == nil {
							err = c.Err()
						}
						if err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wait.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "frames/s")
			b.StopTimer()
		})
	}
}

// BenchmarkBulk is a download: frames of 32 KiB, 2 MiB of them on their way, sealing beside it.
func BenchmarkBulk(b *testing.B) {
	for _, kind := range []string{"text", "noise"} {
		b.Run(kind, func(b *testing.B) {
			s := newBench(b, func(c *Config) { c.FileSize = 64 << 20 })
			w := s.create(b, "S-1")
			content := sample(kind, 32<<10)
			b.SetBytes(int64(len(content)))
			b.ReportAllocs()
			b.ResetTimer()
			begin := cpu()
			flying := make(chan *Commit, 64)
			failed := make(chan error, 1)
			go func() {
				for c := range flying {
					if err := c.Err(); err != nil {
						failed <- err
						return
					}
				}
				failed <- nil
			}()
			for range b.N {
				c, err := w.Append(Frame{Type: TypeData, Stream: Stdout, Data: content})
				if err != nil {
					b.Fatal(err)
				}
				flying <- c
			}
			close(flying)
			if err := <-failed; err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			hot := cpu() - begin
			w.Close("closed")
			<-s.sealed
			b.ReportMetric(hot.Seconds()*1e9/float64(b.N)/float64(len(content)), "cpu-s/GB")
			b.ReportMetric((cpu()-begin).Seconds()*1e9/float64(b.N)/float64(len(content)), "sealed-cpu-s/GB")
		})
	}
}

// BenchmarkSeal is what comes after a transfer: sealing of what piled up while it went on.
func BenchmarkSeal(b *testing.B) {
	for _, kind := range []string{"text", "noise"} {
		b.Run(kind, func(b *testing.B) {
			s := newBench(b, func(c *Config) { c.FileSize = 64 << 20 })
			w := s.create(b, "S-1")
			s.sealer.hold(b)
			content := sample(kind, 32<<10)
			random := rand.NewChaCha8([32]byte{1})
			for range b.N {
				if kind == "noise" { // else the compressor finds what it saw before
					random.Read(content)
				}
				if _, err := w.Append(Frame{Type: TypeData, Stream: Stdout, Data: content}); err != nil {
					b.Fatal(err)
				}
			}
			if err := w.Close("closed"); err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(content)))
			b.ResetTimer()
			begin := cpu()
			s.sealer.unhold()
			<-s.sealed
			b.ReportMetric((cpu()-begin).Seconds()*1e9/float64(b.N)/float64(len(content)), "cpu-s/GB")
		})
	}
}

// BenchmarkEncrypt is a frame's way through encryption and chain, on one core.
func BenchmarkEncrypt(b *testing.B) {
	var root [32]byte
	r, err := newRatchet(root[:], root)
	if err != nil {
		b.Fatal(err)
	}
	k, err := r.next()
	if err != nil {
		b.Fatal(err)
	}
	for _, size := range []int{40, 32 << 10} {
		b.Run(fmt.Sprintf("%d", size), func(b *testing.B) {
			c := newChain(0, root)
			f := Frame{Type: TypeData, Data: make([]byte, size)}
			space := make([]byte, 0, size+frameHead+gcmTag)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				c.seal(k.frame, appendFrame(space, f))
			}
		})
	}
}

// cpu is the processor time of this process. It means more than the clock on a machine that others use too.
func cpu() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func sample(kind string, n int) []byte {
	if kind == "text" {
		var b []byte
		for i := 0; len(b) < n; i++ {
			b = fmt.Appendf(b, "%s phi1 postgres[%d]: LOG: checkpoint %d complete: wrote %d buffers\n", time.Unix(int64(i*7919), 0).UTC().Format(time.RFC3339), 1000+i%17, i, i*i%9973)
		}
		return b[:n]
	}
	b := make([]byte, n)
	x := uint64(88172645463325252)
	for i := range b {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b[i] = byte(x)
	}
	return b
}

// BenchmarkIdle is what a thousand sessions that do nothing keep in memory.
func BenchmarkIdle(b *testing.B) {
	s := newBench(b, func(c *Config) { c.FileSize = 64 << 20; c.SegmentAge = time.Hour })
	var before, after runtime.MemStats
	for i := range b.N {
		runtime.GC()
		runtime.ReadMemStats(&before)
		all := make([]*Writer, 1000)
		for j := range all {
			all[j] = s.create(b, fmt.Sprintf("S-%d-%d", i, j))
			if _, err := all[j].Append(data(0, Stdout, "$ ")); err != nil {
				b.Fatal(err)
			}
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(int64(after.HeapAlloc)-int64(before.HeapAlloc))/1000, "B/session")
		for _, w := range all {
			w.Close("closed")
		}
	}
}
