package lab

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Process is one daemon of the lab.
type Process struct {
	PID     int      `json:"pid"`
	Started uint64   `json:"started"` // clock ticks after boot: a process that took over the number has another
	Log     string   `json:"log"`
	Command []string `json:"command"`
}

// spawn starts a daemon with its own session and log, and waits until ready says so.
func (l *Lab) spawn(name string, argv []string, env []string, ready func() bool) error {
	logFile := l.path("log", name+".log")
	out, err := os.OpenFile(logFile, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir, cmd.Env = l.Dir, append(environment(), env...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	gone := make(chan struct{})
	go func() { // reaps it while we live; init does so afterwards
		cmd.Wait()
		close(gone)
	}()
	pid := cmd.Process.Pid
	started := startOf(pid)
	l.Processes[name] = Process{PID: pid, Started: started, Log: logFile, Command: argv}
	l.PIDs[name] = pid
	if err := l.save(); err != nil {
		return err
	}
	return l.await(name, gone, ready)
}

func (l *Lab) await(name string, gone <-chan struct{}, ready func() bool) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	late := time.After(patience)
	for {
		select {
		case <-gone:
			return fmt.Errorf("%s ended at once; its log %s ends:\n%s", name, l.Processes[name].Log, tail(l.Processes[name].Log))
		case <-late:
			return fmt.Errorf("%s did not come up in %s; its log %s ends:\n%s", name, patience, l.Processes[name].Log, tail(l.Processes[name].Log))
		case <-tick.C:
			if ready() {
				return nil
			}
		}
	}
}

// Down ends every process of the lab, what its hosts run for a session included, and removes the sockets.
// The last one up goes first, so that the bastion can still tell the CA how its sessions ended.
func (l *Lab) Down() error {
	doomed := slices.SortedFunc(maps.Values(l.Processes), func(a, b Process) int {
		return cmp.Or(cmp.Compare(b.Started, a.Started), cmp.Compare(b.PID, a.PID))
	})
	for _, p := range doomed {
		if p.alive() {
			end(append(descendants(p.PID), p))
		}
	}
	end(l.orphans())
	if left := l.running(); len(left) > 0 {
		return fmt.Errorf("processes of the lab in %s are still there: %v", l.Dir, left)
	}
	l.Processes, l.PIDs = map[string]Process{}, map[string]int{}
	for _, guard := range l.guards {
		syscall.Close(guard)
	}
	l.guards = nil
	sockets, _ := filepath.Glob(filepath.Join(l.Sockets, "*.sock"))
	for _, s := range sockets {
		os.Remove(s)
	}
	if l.Sockets != l.path("run") {
		os.Remove(l.Sockets)
	}
	return l.save()
}

// end asks first.
func end(doomed []Process) {
	for _, step := range []struct {
		sig      syscall.Signal
		patience time.Duration
	}{{syscall.SIGTERM, 10 * time.Second}, {syscall.SIGKILL, patience}} {
		for _, p := range doomed {
			if p.alive() {
				syscall.Kill(p.PID, step.sig)
				syscall.Kill(p.PID, syscall.SIGCONT) // one that is stopped would not hear it
			}
		}
		if settled(doomed, step.patience) {
			return
		}
	}
}

func settled(all []Process, patience time.Duration) bool {
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if !slices.ContainsFunc(all, Process.alive) {
			return true
		}
	}
	return false
}

// Kill ends a process of the lab the hard way and waits until it is gone.
func (l *Lab) Kill(name string) error {
	p, ok := l.Processes[name]
	if !ok || !p.alive() {
		return fmt.Errorf("%s does not run", name)
	}
	if err := syscall.Kill(p.PID, syscall.SIGKILL); err != nil {
		return err
	}
	if !settled([]Process{p}, patience) { // it may be in the middle of a flush to a slow disk
		return fmt.Errorf("%s outlived SIGKILL", name)
	}
	return nil
}

// Signal sends a signal to a process of the lab.
func (l *Lab) Signal(name string, sig syscall.Signal) error {
	p, ok := l.Processes[name]
	if !ok || !p.alive() {
		return fmt.Errorf("%s does not run", name)
	}
	return syscall.Kill(p.PID, sig)
}

func (l *Lab) running() []string {
	var names []string
	for name, p := range l.Processes {
		if p.alive() {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// alive says whether this very process runs, not a later one with its number. A process whose first thread is a zombie
// runs on, and keeps its files locked, until the last of its threads has ended.
func (p Process) alive() bool {
	fields := stat(p.PID)
	if len(fields) < 20 || fields[19] != strconv.FormatUint(p.Started, 10) {
		return false
	}
	return fields[0] != "Z" && fields[0] != "X" || fields[17] != "1"
}

// startOf is when a process started, 0 when there is none of that number.
func startOf(pid int) uint64 {
	fields := stat(pid)
	if len(fields) < 20 {
		return 0
	}
	started, _ := strconv.ParseUint(fields[19], 10, 64)
	return started
}

// stat is what /proc/PID/stat says after the name, which may hold spaces and parentheses: what counts follows the last ")".
// Here 0 is the state, 1 the parent, 17 the number of threads, 19 the start.
func stat(pid int) []string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil
	}
	return strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
}

// descendants finds the sessions of an sshd and what they run: they outlive the listener.
func descendants(pid int) []Process {
	children := map[int][]int{}
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		if child, err := strconv.Atoi(e.Name()); err == nil {
			if fields := stat(child); len(fields) > 1 {
				parent, _ := strconv.Atoi(fields[1])
				children[parent] = append(children[parent], child)
			}
		}
	}
	var found []Process
	for queue := children[pid]; len(queue) > 0; queue = queue[1:] {
		started := startOf(queue[0])
		found = append(found, Process{PID: queue[0], Started: started})
		queue = append(queue, children[queue[0]]...)
	}
	return found
}

// orphans finds what sessions on the hosts left running: a command without a terminal outlives its connection. It is known
// by the SSH_CONNECTION that only an sshd of this lab can have given it.
func (l *Lab) orphans() []Process {
	var found []Process
	environments, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, file := range environments {
		b, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		for _, name := range Hosts {
			ours := regexp.MustCompile(fmt.Sprintf(`(?:^|\x00)SSH_CONNECTION=127\.0\.0\.1 \d+ 127\.0\.0\.1 %d\x00`, l.Ports[name]))
			if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file))); err == nil && ours.Match(b) {
				started := startOf(pid)
				found = append(found, Process{PID: pid, Started: started})
			}
		}
	}
	return found
}

// reservePort picks a port below the range that the kernel takes for outgoing connections, and binds it without listening: no other lab picks it
// while we live, though a daemon of ours may be down. With SO_REUSEADDR, which is set after that, the daemon can listen there, as servers set it too.
func reservePort() (port, guard int, err error) {
	guard, err = syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, 0, err
	}
	for range 200 {
		port = 10000 + rand.IntN(20000)
		if syscall.Bind(guard, &syscall.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}) == nil {
			return port, guard, syscall.SetsockoptInt(guard, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1)
		}
	}
	syscall.Close(guard)
	return 0, 0, errors.New("no free port on 127.0.0.1")
}

func answers(network, address string) func() bool {
	return func() bool {
		conn, err := net.DialTimeout(network, address, time.Second)
		if err != nil {
			return false
		}
		conn.Close()
		return true
	}
}

func exists(paths ...string) func() bool {
	return func() bool {
		for _, p := range paths {
			if info, err := os.Stat(p); err != nil || info.Mode().IsRegular() && info.Size() == 0 {
				return false
			}
		}
		return true
	}
}

func tail(file string) string {
	b, _ := os.ReadFile(file)
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return "  " + strings.Join(lines[max(0, len(lines)-8):], "\n  ")
}
