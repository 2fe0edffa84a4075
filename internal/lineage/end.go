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
	longGlance = 100 * time.Millisecond
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

// End asks all processes of the logins to end, kills after the grace what did not, and what that started meanwhile, until nothing is left or
// it makes no sense to try longer. Many logins cost as much as one, since all processes of the machine are looked at each time.
func (p Proc) End(logins []Login, grace time.Duration) []Ended {
	began := time.Now()
	c := p.crew(logins)
	c.sweep()
	c.signal(unix.SIGHUP, unix.SIGTERM, unix.SIGCONT)
	for pause := glance; c.recount() > 0 && time.Since(began) < grace; pause = min(2*pause, longGlance) {
		time.Sleep(min(pause, grace-time.Since(began)))
	}
	for i := range c.ended {
		c.ended[i].Killed = c.ended[i].Left
	}
	c.kill()
	for i := range c.ended {
		c.ended[i].Took = time.Since(began)
	}
	return c.ended
}

// crew is what is known of the processes of some logins while they are ended.
type crew struct {
	Proc
	logins []Login
	ended  []Ended // of each
	audits map[uint32]int
	scopes map[string]int
	ours   map[int]bool
	known  map[ID]int // all that were found, and of which login
	ran    map[ID]bool
	swept  bool
	denied bool // we may not signal one of them, so there is no sense in trying for long
}

func (p Proc) crew(logins []Login) *crew {
	c := &crew{Proc: p, logins: logins, ended: make([]Ended, len(logins)), ours: p.ours(),
		audits: map[uint32]int{}, scopes: map[string]int{}, known: map[ID]int{}, ran: map[ID]bool{}}
	for i, l := range logins {
		c.ended[i].By = l.By()
		c.known[l.Leader] = i
		if l.Audit != NoAudit {
			c.audits[l.Audit] = i
		}
		if l.Scope != "" {
			c.scopes[l.Scope] = i
		}
	}
	return c
}

// kill stops everything before it kills anything. What is stopped starts nothing, and what is killed makes room for something else: so a
// program that forks without end is caught. It is over when several looks at everything in a row found nothing.
func (c *crew) kill() {
	for quiet, end := 0, time.Now().Add(persistence); quiet < certainty; quiet++ {
		if c.sweep(unix.SIGSTOP) == 0 {
			continue
		}
		quiet = -1
		for before, n := 0, 0; before != len(c.ran) && n < stopping; n++ {
			before = len(c.ran)
			c.sweep(unix.SIGSTOP)
		}
		c.signal(unix.SIGKILL)
		for pause := glance; c.recount() > 0 && !c.denied && time.Now().Before(end); pause = min(2*pause, longGlance) {
			time.Sleep(pause)
		}
		if c.denied || time.Now().After(end) {
			return
		}
	}
}

// signal sends to all that were found and still run.
func (c *crew) signal(signals ...unix.Signal) {
	for id := range c.ran {
		if process, err := c.Look(id.PID); err == nil && process.ID == id {
			c.send(process, signals)
		}
	}
}

// recount says how many of those that were found still run, without looking for others.
func (c *crew) recount() (running int) {
	for i := range c.ended {
		c.ended[i].Left = 0
	}
	for id := range c.ran {
		if process, err := c.Look(id.PID); err == nil && process.ID == id && process.running() {
			running++
			c.ended[c.known[id]].Left++
		}
	}
	return running
}

// sweep finds the logins' processes, sends each the signals, and says how many run. What its audit session or its cgroup gives away gets the
// signal at once, before it can be another process; the rest when it is clear whose child it is.
func (c *crew) sweep(signals ...unix.Signal) (running int) {
	for i := range c.ended {
		c.ended[i].Left = 0
	}
	var others []Process
	here := map[int]Process{} // the logins' processes by number
	found := func(process Process, of int) {
		here[process.PID], c.known[process.ID] = process, of
		if process.running() {
			running++
			c.count(process.ID, of)
		}
	}
	err := c.each(func(process Process, late bool) {
		of, ok := c.of(process)
		switch {
		case process.PID <= 1 || c.ours[process.PID] || c.listener(process):
			return
		case !ok:
			others = append(others, process)
			return
		}
		c.send(process, signals)
		if !late || !c.thread(process.PID) {
			found(process, of)
		}
	})
	for again := true; again; {
		again = false
		for _, process := range others {
			parent, ok := here[process.Parent]
			if _, counted := here[process.PID]; ok && !counted && c.still(parent.ID) {
				c.send(process, signals)
				found(process, c.known[parent.ID])
				again = true
			}
		}
	}
	if !c.swept {
		c.swept = true
		c.astray(here)
	}
	if err != nil { // we cannot see, so we do not say that nothing is left
		running++
		for i := range c.ended {
			c.ended[i].Left++
		}
	}
	return running
}

func (c *crew) count(id ID, of int) {
	c.ended[of].Left++
	if !c.ran[id] {
		c.ran[id] = true
		c.ended[of].Found++
	}
}

// astray counts what runs and is not below its login's sshd.
func (c *crew) astray(here map[int]Process) {
	for _, process := range here {
		of := c.known[process.ID]
		leader := c.logins[of].Leader
		at, ok := process, true
		for steps := 0; ok && at.ID != leader && steps < len(here); steps++ {
			at, ok = here[at.Parent]
		}
		if process.running() && at.ID != leader {
			c.ended[of].Detached++
		}
	}
}

// listener says whether a process is sshd as it waits for everybody. Without systemd an admin who restarts it does so within their login, and its end
// would lock everybody out. Root can pass for it, as root can leave the login by other ways.
func (c *crew) listener(process Process) bool {
	_, known := c.known[process.ID]
	if process.Parent != 1 || process.Name != "sshd" || known {
		return false
	}
	uid, err := c.UID(process.PID)
	return err == nil && uid == 0
}

// of says to which login a process certainly belongs, whoever its parent is.
func (c *crew) of(process Process) (int, bool) {
	if of, ok := c.known[process.ID]; ok {
		return of, true
	}
	if of, ok := c.audits[process.Audit]; ok {
		return of, true
	}
	if len(c.scopes) == 0 {
		return 0, false
	}
	of, ok := c.scopes[c.scope(process.PID)]
	return of, ok && c.still(process.ID) // the number was not given to another before its cgroup was read
}

// still says whether the number names that process. If a child named it as its parent before, it was the parent.
func (c *crew) still(id ID) bool {
	now, err := c.Look(id.PID)
	return err == nil && now.ID == id
}

// send reaches this process or none: the descriptor is of one process, and it is looked at after it was opened.
func (c *crew) send(process Process, signals []unix.Signal) {
	if len(signals) == 0 || !process.running() {
		return
	}
	fd, err := unix.PidfdOpen(process.PID, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	if !c.still(process.ID) {
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
