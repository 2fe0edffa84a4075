package main

import (
	"os"
	"runtime/debug"
	"strconv"
	"strings"

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
	if all := memory(); all > 0 {
		debug.SetMemoryLimit(max(512<<20, int64(all/32)))
	}
}

// heapLimit is where connections are closed to save the others: a quarter of the memory, but not before the collector has worked its hardest.
func heapLimit() uint64 {
	goal := uint64(debug.SetMemoryLimit(-1))
	if goal > 1<<62 { // GOMEMLIMIT=off
		goal = 0
	}
	return max(memory()/4, goal)
}

// memory is that of the machine, or what the control group lets this process have of it; 0: nobody says.
func memory() uint64 {
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) != nil {
		return 0
	}
	all := uint64(info.Totalram) * uint64(info.Unit)
	if text, err := os.ReadFile("/sys/fs/cgroup/memory.max"); err == nil {
		if most, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64); err == nil {
			return min(all, most)
		}
	}
	return all
}
