package lineage

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Proc is where processes are read, such as /proc.
type Proc struct{ Root string }

// ID names a process for as long as this machine is up: a number is given again, with another start.
type ID struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // clock ticks after boot
}

// NoAudit is the audit session of what no login started.
const NoAudit = math.MaxUint32

// Process is one, as it was when it was looked at.
type Process struct {
	ID
	Name   string // what it calls itself: any process may call itself anything
	Parent int
	State  byte
	Audit  uint32
}

// running says whether it still does something: a zombie only waits for its parent.
func (p Process) running() bool { return p.State != 'Z' && p.State != 'X' }

// Look reads one process.
func (p Proc) Look(pid int) (Process, error) {
	stat, err := slurp(p.file(pid, "stat"))
	if err != nil {
		return Process{}, err
	}
	out, err := parseStat(stat)
	if err != nil || out.PID != pid {
		return Process{}, fmt.Errorf("%s: what is this: %.200q", p.file(pid, "stat"), stat)
	}
	out.Audit = NoAudit
	if b, err := slurp(p.file(pid, "sessionid")); err == nil { // a kernel without audit has none
		if n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 32); err == nil {
			out.Audit = uint32(n)
		}
	}
	return out, nil
}

func (p Proc) file(pid int, name string) string {
	return p.Root + "/" + strconv.Itoa(pid) + "/" + name
}

// slurp reads a short file of proc. All processes are read each time somebody is looked for, on a machine that may be at its limit, and os.ReadFile
// asks the kernel twice as often. A line that does not fit is cut, and then is no line of a process.
func slurp(path string) ([]byte, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	b := make([]byte, 4096)
	n, err := unix.Read(fd, b)
	return b[:max(n, 0)], err
}

// parseStat reads a line of proc(5). The name stands in parentheses, and may hold parentheses and line ends itself.
func parseStat(line []byte) (Process, error) {
	var p Process
	open, closed := bytes.IndexByte(line, '('), bytes.LastIndexByte(line, ')')
	if open < 1 || closed < open {
		return p, fmt.Errorf("no name")
	}
	words := strings.Fields(string(line[closed+1:]))
	if len(words) < 20 || len(words[0]) != 1 {
		return p, fmt.Errorf("%d words", len(words))
	}
	p.Name, p.State = string(line[open+1:closed]), words[0][0]
	var err error
	if p.PID, err = strconv.Atoi(strings.TrimSpace(string(line[:open]))); err != nil {
		return p, err
	}
	if p.Parent, err = strconv.Atoi(words[1]); err != nil {
		return p, err
	}
	p.Start, err = strconv.ParseUint(words[19], 10, 64)
	return p, err
}

// chases is how often a look at everything goes on to what was started meanwhile.
const chases = 20

// each calls fn with every process, in the order of their numbers, and then with what was started since it began. A program that forks and
// leaves its number to its child moves ahead of whoever reads the list; it is met at the end of it. Those that come late may be threads.
func (p Proc) each(fn func(process Process, late bool)) error {
	list, err := p.pids()
	if err != nil {
		return err
	}
	last, _ := p.last()
	for _, pid := range list {
		if process, err := p.Look(pid); err == nil {
			fn(process, false)
		}
	}
	for range chases {
		now, err := p.last()
		if err != nil || now < last || now-last > len(list)+1000 { // numbers begin again when they run out
			return nil
		}
		for pid := last + 1; pid <= now; pid++ {
			if process, err := p.Look(pid); err == nil {
				fn(process, true)
			}
		}
		last = now
	}
	return nil
}

// last is the number that was given last.
func (p Proc) last() (int, error) {
	b, err := slurp(p.Root + "/loadavg")
	if err != nil {
		return 0, err
	}
	words := strings.Fields(string(b))
	if len(words) != 5 {
		return 0, fmt.Errorf("loadavg has %d words", len(words))
	}
	return strconv.Atoi(words[4])
}

// pids lists what runs now, in the order of the numbers.
func (p Proc) pids() ([]int, error) {
	dir, err := os.Open(p.Root)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	var list []int
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			list = append(list, pid)
		}
	}
	slices.Sort(list)
	return list, nil
}

// UID is the real user of a process.
func (p Proc) UID(pid int) (int, error) { return p.status(pid, "Uid:") }

// thread says whether a number is that of a thread of another number's process: proc shows those to who asks.
func (p Proc) thread(pid int) bool {
	process, err := p.status(pid, "Tgid:")
	return err == nil && process != pid
}

func (p Proc) status(pid int, name string) (int, error) {
	b, err := os.ReadFile(p.file(pid, "status"))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if words := strings.Fields(line); len(words) > 1 && words[0] == name {
			return strconv.Atoi(words[1])
		}
	}
	return 0, fmt.Errorf("%s has no line %s", p.file(pid, "status"), name)
}

// Boot names the time since this machine started: what is known of processes is void after the next start.
func (p Proc) Boot() (string, error) {
	b, err := os.ReadFile(filepath.Join(p.Root, "sys/kernel/random/boot_id"))
	return strings.TrimSpace(string(b)), err
}

var sessionScope = regexp.MustCompile(`^session-[A-Za-z0-9]+\.scope$`)

// scope is the cgroup that logind made for the login that a process is of; empty: none.
func (p Proc) scope(pid int) string {
	b, err := slurp(p.file(pid, "cgroup"))
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(b)) {
		// 0::/user.slice/user-0.slice/session-7.scope, or with the old hierarchies 1:name=systemd:/user.slice/…
		words := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(words) != 3 || words[0] != "0" && words[1] != "name=systemd" {
			continue
		}
		for at := words[2]; at != "/" && at != "." && at != ""; at = path.Dir(at) {
			if sessionScope.MatchString(path.Base(at)) {
				return at
			}
		}
	}
	return ""
}
