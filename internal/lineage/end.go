package lineage

import (
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// glance is between two looks while processes are left to end by themselves.
	glance = 5 * time.Millisecond
	// longGlance is between two looks at what a SIGKILL has not ended yet: it waits for a disk.
	longGlance = 200 * time.Millisecond
	// persistence is how long it is tried after the grace.
	persistence = 5 * time.Second
	// stopping is how many passes at most only stop: what forks faster than that is killed while it runs.
	stopping = 50
	// certainty is how many looks must find nothing before it is said that nothing is left.
	certainty = 3
)

// Ended is what became of the processes of a login.
type Ended struct {
	By       string
	Found    int // processes that ran, sshd's own included
	Detached int // of them were not below the login's sshd any more: nohup, setsid, a terminal multiplexer
	Killed   int // of them did not end when they were asked to
	Left     int // of them run on
	Took     time.Duration
}

// End asks all processes of the login to end, kills after the grace what did not, and what that started meanwhile, until nothing is left or
// it makes no sense to try longer.
func (p Proc) End(l Login, grace time.Duration) Ended {
	began := time.Now()
	c := &crew{Proc: p, login: l, known: map[ID]bool{}, ours: p.ours()}
	c.sweep() // who is whose child is clear as long as nobody was sent anything
	left := c.sweep(unix.SIGHUP, unix.SIGTERM, unix.SIGCONT)
	out := Ended{By: l.By(), Detached: c.detached}
	for left > 0 && time.Since(began) < grace {
		time.Sleep(min(glance, grace))
		left = c.sweep()
	}
	out.Killed = left
	out.Left = c.kill()
	out.Found, out.Took = c.ran, time.Since(began)
	return out
}

// crew is what is known of the processes of a login while they are ended.
type crew struct {
	Proc
	login    Login
	ours     map[int]bool
	known    map[ID]bool // all that were found; true: it ran then
	ran      int         // how many of them ran
	detached int         // of those that the first sweep found
	swept    bool
	denied   bool // we may not signal one of them, so there is no sense in trying for long
}

// kill stops everything before it kills anything. What is stopped starts nothing, and what is killed makes room for something else: so a
// program that forks without end is caught.
func (c *crew) kill() (left int) {
	quiet, pause := 0, glance
	for end := time.Now().Add(persistence); ; {
		for before, n := -1, 0; before != c.ran && n < stopping; n++ {
			before = c.ran
			c.sweep(unix.SIGSTOP)
		}
		left = c.sweep(unix.SIGKILL)
		if quiet++; left > 0 {
			quiet = 0
		}
		if quiet == certainty || c.denied || time.Now().After(end) {
			return left
		}
		if left > 0 {
			time.Sleep(pause)
			pause = min(2*pause, longGlance)
		}
	}
}

// sweep finds the login's processes, sends each the signals, and says how many run. What its audit session or its cgroup gives away gets the
// signal at once, before it can be another process; the rest when it is clear whose child it is.
func (c *crew) sweep(signals ...unix.Signal) (running int) {
	var others []Process
	here := map[int]Process{} // the login's processes by number
	found := func(process Process, late bool) {
		if process.running() {
			c.send(process.ID, signals)
		}
		if late && c.thread(process.PID) {
			return
		}
		here[process.PID] = process
		if !process.running() {
			c.known[process.ID] = c.known[process.ID]
			return
		}
		running++
		if !c.known[process.ID] {
			c.known[process.ID] = true
			c.ran++
		}
	}
	err := c.each(func(process Process, late bool) {
		switch {
		case process.PID <= 1 || c.ours[process.PID] || c.listener(process):
		case c.marked(process):
			found(process, late)
		default:
			others = append(others, process)
		}
	})
	if err != nil {
		return 1 // we cannot see, so we do not say that nothing is left
	}
	for again := true; again; {
		again = false
		for _, process := range others {
			parent, ok := here[process.Parent]
			if _, counted := here[process.PID]; ok && !counted && c.still(parent.ID) {
				found(process, false)
				again = true
			}
		}
	}
	if !c.swept {
		c.swept, c.detached = true, c.astray(here)
	}
	return running
}

// astray counts what runs and is not below the login's sshd.
func (c *crew) astray(here map[int]Process) (n int) {
	for _, process := range here {
		at, ok := process, true
		for steps := 0; ok && at.ID != c.login.Leader && steps < len(here); steps++ {
			at, ok = here[at.Parent]
		}
		if process.running() && at.ID != c.login.Leader {
			n++
		}
	}
	return n
}

// listener says whether a process is sshd as it waits for everybody. Without systemd an admin who restarts it does so within their login, and its end
// would lock everybody out. Root can pass for it, as root can leave the login by other ways.
func (c *crew) listener(process Process) bool {
	if process.Parent != 1 || process.Name != "sshd" || process.ID == c.login.Leader {
		return false
	}
	uid, err := c.UID(process.PID)
	return err == nil && uid == 0
}

// marked says whether a process is certainly of the login, whoever its parent is.
func (c *crew) marked(process Process) bool {
	switch {
	case process.ID == c.login.Leader:
		return true
	case c.has(process.ID):
		return true
	case c.login.Audit != NoAudit && process.Audit == c.login.Audit:
		return true
	case c.login.Scope == "" || c.scope(process.PID) != c.login.Scope:
		return false
	}
	return c.still(process.ID) // the number was not given to another before its cgroup was read
}

func (c *crew) has(id ID) bool {
	_, known := c.known[id]
	return known
}

// still says whether the number names that process. If a child named it as its parent before, it was the parent.
func (c *crew) still(id ID) bool {
	now, err := c.Look(id.PID)
	return err == nil && now.ID == id
}

// send reaches this process or none: the descriptor is of one process, and it is looked at after it was opened.
func (c *crew) send(id ID, signals []unix.Signal) {
	if len(signals) == 0 {
		return
	}
	fd, err := unix.PidfdOpen(id.PID, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	if !c.still(id) {
		return
	}
	for _, s := range signals {
		if unix.PidfdSendSignal(fd, s, nil, 0) == unix.EPERM { // it is counted as left
			c.denied = true
			return
		}
	}
}

// Able says why this program cannot end the processes of others; nil: it can.
func (p Proc) Able() error {
	fd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		return errNoPidfd
	}
	unix.Close(fd)
	if _, err := p.Look(1); err != nil {
		return errNoSight
	}
	if unix.Kill(1, 0) != nil {
		return errNoKill
	}
	return nil
}

var (
	errNoPidfd = errors.New("this kernel has no pidfd_open (Linux 5.3), so a signal could reach another process")
	errNoSight = errors.New("/proc hides the processes of others from it (hidepid); give its unit ProtectProc=default")
	errNoKill  = errors.New("it may not signal the processes of others; give it CAP_KILL, as postern-host.service does")
)
