package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"
)

func printMachine() {
	openssh, _ := exec.Command("ssh", "-V").CombinedOutput()
	kernel, _ := exec.Command("uname", "-sr").Output()
	fmt.Printf("machine   %s, %d CPUs\n", processor(), runtime.NumCPU())
	fmt.Printf("kernel    %s\n", strings.TrimSpace(string(kernel)))
	fmt.Printf("go        %s\n", runtime.Version())
	fmt.Printf("openssh   %s\n", strings.TrimSpace(string(openssh)))
}

func processor() string {
	b, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(b)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

// printTable prints the medians of the paths, each against the first and against the second.
func printTable(title string, paths []path, taken map[string][]time.Duration, show func(time.Duration) string) {
	fmt.Printf("\n%s\n", title)
	direct, jump := quantile(taken[paths[0].name], 50), quantile(taken[paths[1].name], 50)
	for _, p := range paths {
		d := quantile(taken[p.name], 50)
		fmt.Printf("  %-14s %-20s %.2f × direct   %.2f × ssh -J\n", p.name, show(d), d.Seconds()/direct.Seconds(), d.Seconds()/jump.Seconds())
	}
}

// quantile is the smallest value that at least percent of all do not exceed.
func quantile(all []time.Duration, percent int) time.Duration {
	if len(all) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(all))
	return sorted[max(0, (len(sorted)*percent+99)/100-1)]
}
