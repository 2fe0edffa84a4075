package screen

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// plain is a log of about a megabyte.
func plain() []byte {
	var b strings.Builder
	for i := 0; b.Len() < 1<<20; i++ {
		fmt.Fprintf(&b, "2026-01-02T03:04:05Z host unit[%d]: request %d of the queue took %d ms\r\n", i%977, i, i*7%1009)
	}
	return []byte(b.String())
}

// drawn is what a program like top prints: places, colours, short pieces.
func drawn() []byte {
	r := rand.New(rand.NewPCG(1, 2))
	var b strings.Builder
	for b.Len() < 1<<20 {
		b.WriteString("\x1b[H\x1b[?25l")
		for y := range 40 {
			fmt.Fprintf(&b, "\x1b[%d;1H\x1b[38;5;%dm%5d\x1b[39m \x1b[1m%-8s\x1b[0m \x1b[48;2;1;2;%dm│%s▒\x1b[m\x1b[K", y+1, r.IntN(256), r.IntN(30000), "user", y, strings.Repeat("|", r.IntN(30)))
		}
	}
	return []byte(b.String())
}

func BenchmarkPlain(b *testing.B) { benchmark(b, plain()) }
func BenchmarkDrawn(b *testing.B) { benchmark(b, drawn()) }

func benchmark(b *testing.B, data []byte) {
	s := New(120, 40)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		s.Write(data)
	}
}

func BenchmarkClone(b *testing.B) {
	s := New(120, 40)
	s.Write(drawn())
	for b.Loop() {
		s.Clone()
	}
}
