package main

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"postern/internal/search"
)

// searchBar is a line on the terminal that says how far a search is. What is printed meanwhile goes above it.
type searchBar struct {
	of int // sessions

	mu    sync.Mutex
	on    bool
	shown bool
	last  time.Time
}

const barEvery = 100 * time.Millisecond

func newSearchBar(sessions int) *searchBar {
	return &searchBar{of: sessions, on: term.IsTerminal(int(os.Stderr.Fd())) && os.Getenv("TERM") != "dumb"}
}

func (b *searchBar) show(p search.Progress) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.on || time.Since(b.last) < barEvery {
		return
	}
	b.last, b.shown = time.Now(), true
	const width = 20
	full := width * p.Sessions / max(b.of, 1)
	fmt.Fprintf(os.Stderr, "\r[%s%s] %d of %s, %s, %s\x1b[K", strings.Repeat("=", full), strings.Repeat(" ", width-full), p.Sessions, many(b.of, "session"),
		megabytes(p.Bytes), many(p.Hits, "hit"))
}

// clear makes room for a line.
func (b *searchBar) clear() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.shown {
		fmt.Fprint(os.Stderr, "\r\x1b[K")
		b.shown = false
	}
}

func megabytes(n uint64) string {
	switch {
	case n >= 1e9:
		return fmt.Sprintf("%.1f GB", float64(n)/1e9)
	case n >= 1e6:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	}
	return fmt.Sprintf("%d KB", (n+999)/1000)
}

// many is a number of things.
func many(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
