package main

import (
	"os"
	"runtime/debug"

	"golang.org/x/sys/unix"
)

// tuneMemory lets garbage grow to ten times what lives, within half of the machine's memory: a relay's garbage is packets, its cost is the
// collector's rounds, and rare rounds took a quarter of the processor time off a gigabyte. GOGC and GOMEMLIMIT, if set, are obeyed instead.
func tuneMemory() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(1000)
	}
	if os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) == nil {
		debug.SetMemoryLimit(int64(uint64(info.Totalram) * uint64(info.Unit) / 2))
	}
}
