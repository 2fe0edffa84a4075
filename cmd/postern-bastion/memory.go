package main

import (
	"os"
	"runtime/debug"

	"golang.org/x/sys/unix"
)

// tuneMemory lets garbage grow to ten times what lives, up to a thirty-second of the machine's memory but at least half a gigabyte: a
// relay's garbage is packets, its cost is the collector's rounds, and rare rounds took a quarter of the processor time off a gigabyte. Beyond
// that the collector works harder instead. GOGC and GOMEMLIMIT, if set, are obeyed; thousands of sessions at once need a higher GOMEMLIMIT.
func tuneMemory() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(1000)
	}
	if os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) == nil {
		debug.SetMemoryLimit(max(512<<20, int64(uint64(info.Totalram)*uint64(info.Unit)/32)))
	}
}
