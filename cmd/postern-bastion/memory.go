package main

import (
	"os"
	"runtime/debug"

	"golang.org/x/sys/unix"
)

// tuneMemory lets garbage grow to ten times what lives, within an eighth of the machine's memory but at least a gigabyte: a relay's garbage
// is packets, its cost is the collector's rounds, and rare rounds took a quarter of the processor time off a gigabyte. GOGC and GOMEMLIMIT,
// if set, are obeyed instead; a bastion for thousands of sessions at once needs a higher GOMEMLIMIT.
func tuneMemory() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(1000)
	}
	if os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) == nil {
		debug.SetMemoryLimit(max(1<<30, int64(uint64(info.Totalram)*uint64(info.Unit)/8)))
	}
}
