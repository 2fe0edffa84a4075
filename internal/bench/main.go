// Command bench is scripts/bench: it brings a lab up, adds two plain sshd to compare with, and measures what a recorded
// session costs: throughput, time to open, delay of a keystroke, durable frames, and how fast a revocation cuts.
// Runs of the paths are interleaved, so that a busy moment of the machine hits all of them; medians are printed.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"postern/internal/lab"
)

type options struct {
	size     int64
	rounds   int
	sessions int
	bastions int
	cuts     int
	hosts    string
	only     string
}

func main() {
	var o options
	size := flag.String("size", "1G", "bytes each way: 64M, 1G")
	flag.IntVar(&o.rounds, "rounds", 3, "transfers of each path, and five times as many logins")
	flag.IntVar(&o.sessions, "sessions", 100, "live sessions that the revocation cuts")
	flag.IntVar(&o.bastions, "bastions", 5, "among so many bastions")
	flag.IntVar(&o.cuts, "cuts", 5, "so many times")
	flag.StringVar(&o.hosts, "hosts", "light,sshd", "behind the bastions: light,sshd")
	flag.StringVar(&o.only, "only", "", "these parts only: transfer,open,keys,frames,cut")
	light := flag.String("light-host", "", "be the light host at that `ADDRESS`; bench starts it itself")
	dir, account := flag.String("lab", "", "its lab"), flag.String("account", "", "and who logs in")
	flag.Parse()
	if *light != "" {
		if err := serveLightHost(*light, *dir, *account); err != nil {
			fmt.Fprintln(os.Stderr, "bench: light host:", err)
			os.Exit(1)
		}
		return
	}
	n, err := parseSize(*size)
	if err == nil {
		o.size = n
		err = run(o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func parseSize(s string) (int64, error) {
	var n int64
	var unit string
	fmt.Sscanf(s, "%d%s", &n, &unit)
	shift, ok := map[string]uint{"": 0, "K": 10, "M": 20, "G": 30}[strings.ToUpper(unit)]
	if n <= 0 || !ok {
		return 0, fmt.Errorf("size %q: write it as 64M or 1G", s)
	}
	return n << shift, nil
}

func run(o options) error {
	dir, err := os.MkdirTemp("", "postern-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	r, err := newRig(dir)
	if r != nil {
		defer r.close()
	}
	if err != nil {
		return err
	}
	go func() { // the lab is made of daemons: they would stay
		stop := make(chan os.Signal, 1)
		signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
		fmt.Fprintln(os.Stderr, "bench:", <-stop)
		r.close()
		os.RemoveAll(dir)
		os.Exit(130)
	}()
	printMachine()
	parts := []struct {
		name string
		do   func(*rig, options) error
	}{{"transfer", transfer}, {"open", open}, {"keys", keystrokes}, {"frames", frames}, {"cut", cut}}
	for _, part := range parts {
		if o.only != "" && !strings.Contains(","+o.only+",", ","+part.name+",") {
			continue
		}
		if err := part.do(r, o); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
	}
	return nil
}

func labConfig(dir string) lab.Config {
	return lab.Config{Dir: dir, Root: ".", Bin: os.Getenv("POSTERN_LAB_BIN")}
}
