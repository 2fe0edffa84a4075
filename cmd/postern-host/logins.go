package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"postern/internal/lineage"
)

const (
	// settleTime is how long sshd may take to log somebody in, after it asked about the certificate; its LoginGraceTime is two minutes.
	settleTime = 150 * time.Second
	// firstLook and longLook are between two looks whether the session is open. One that ends at once must not be missed.
	firstLook = 2 * time.Millisecond
	longLook  = 250 * time.Millisecond
	// rememberTime is how long a login of which nothing runs is remembered, so that a revocation that ends it has an answer: nothing was left.
	rememberTime = time.Minute
	// mostLogins bounds what is remembered; who has as many on one host has other worries.
	mostLogins = 20000
)

// logins are those that sshd told of: which process of sshd's each has, and what marks what it started. They are on disk, because the
// connection may be gone, and this program started anew, when a login is revoked.
type logins struct {
	path string
	boot string // what is on disk counts until the machine starts anew
	proc lineage.Proc
	log  *slog.Logger

	news chan struct{} // somebody logged in

	mu    sync.Mutex
	known map[lineage.ID]*login
}

// login is one of them.
type login struct {
	lineage.Login
	Quiet time.Time `json:"quiet,omitzero"` // since when nothing of it runs

	ending bool
}

// ledger is the file.
type ledger struct {
	Boot   string   `json:"boot"`
	Logins []*login `json:"logins"`
}

// readLogins reads what was known before this program was started anew.
func readLogins(path string, proc lineage.Proc, log *slog.Logger) (*logins, error) {
	boot, err := proc.Boot()
	if err != nil {
		return nil, err
	}
	l := &logins{path: path, boot: boot, proc: proc, log: log, known: map[lineage.ID]*login{}, news: make(chan struct{}, 1)}
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return l, nil
	}
	if err != nil {
		return nil, err
	}
	var was ledger
	if err := json.Unmarshal(b, &was); err != nil {
		log.Error("what was known of logins is lost; what they left running is not ended", "file", path, "error", err)
		return l, nil
	}
	if was.Boot != boot {
		return l, nil
	}
	for _, known := range was.Logins {
		if known.Leader.PID > 1 {
			l.known[known.Leader] = known
			if known.By() == lineage.ByTree {
				go l.settle(known.Leader)
			}
		}
	}
	return l, nil
}

// save writes the file, whole or not at all. It is not forced to the disk: after a power cut nothing of it is true.
func (l *logins) save() error {
	out := ledger{Boot: l.boot, Logins: []*login{}}
	for _, known := range l.known {
		out.Logins = append(out.Logins, known)
	}
	b, err := json.Marshal(out)
	if err != nil {
		return err
	}
	temporary := l.path + ".new"
	if err := os.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.WriteFile(temporary, b, 0o600); err != nil {
		return err
	}
	return os.Rename(temporary, l.path)
}

// told takes what sshd's process says of a certificate that it is looking at. It may look at several before it admits somebody, and asks
// about the one that it admits last.
func (l *logins) told(leader int, serial uint64) error {
	fresh, err := l.proc.Login(leader, serial)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	known := l.known[fresh.Leader]
	switch {
	case known != nil && known.By() != lineage.ByTree:
		return fmt.Errorf("process %d of sshd has logged somebody in already", leader)
	case known != nil:
		if known.Serial == serial {
			return nil
		}
		known.Serial = serial
		return l.save()
	case len(l.known) >= mostLogins:
		return fmt.Errorf("%d logins are known, and no more fit", mostLogins)
	}
	l.known[fresh.Leader] = &login{Login: fresh}
	go l.settle(fresh.Leader)
	select {
	case l.news <- struct{}{}:
	default:
	}
	return l.save()
}

// settle waits until the login's session is open, which is when what it starts can be told from everything else. What it does every few
// milliseconds it does without mu, and reads two open files: where there is no PAM it waits in vain.
func (l *logins) settle(leader lineage.ID) {
	watch, err := l.proc.Watch(lineage.Login{Leader: leader})
	if err == nil {
		defer watch.Close()
	}
	pause := firstLook
	look := true // what changed before the watch began is not its news
	for end := time.Now().Add(settleTime); time.Now().Before(end); time.Sleep(pause) {
		if look || err != nil || watch.News() {
			if l.settled(leader) {
				return
			}
			look = false
		}
		pause = min(pause*21/20, longLook)
	}
}

// settled looks once, and says whether there is nothing more to wait for.
func (l *logins) settled(leader lineage.ID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	known := l.known[leader]
	if known == nil {
		return true
	}
	alive := l.look(known)
	return !alive || known.By() == lineage.ByAudit
}

// look saves what is new. It is called with mu.
func (l *logins) look(known *login) (alive bool) {
	was := known.Login
	alive = l.proc.Settle(&known.Login)
	if known.Login == was {
		return alive
	}
	if err := l.save(); err != nil {
		l.log.Error("a login is known until this program ends, and no longer", "error", err)
	}
	return alive
}

// tidy forgets what has ended long ago, and looks again at what was not settled.
func (l *logins) tidy(now time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := make([]lineage.Login, 0, len(l.known))
	for _, known := range l.known {
		if known.By() != lineage.ByAudit {
			l.look(known)
		}
		list = append(list, known.Login)
	}
	if len(list) == 0 {
		return nil
	}
	alive, err := l.proc.Alive(list)
	if err != nil {
		return err
	}
	changed := false
	for i, was := range list {
		known := l.known[was.Leader]
		switch {
		case alive[i] && known.Quiet.IsZero():
			continue
		case alive[i]:
			known.Quiet = time.Time{}
		case known.Quiet.IsZero():
			known.Quiet = now.UTC()
		case now.Sub(known.Quiet) > rememberTime && !known.ending:
			delete(l.known, was.Leader)
		default:
			continue
		}
		changed = true
	}
	if !changed {
		return nil
	}
	return l.save()
}

// serials lists the certificates of the logins that are known.
func (l *logins) serials() []uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := []uint64{}
	for _, known := range l.known {
		list = append(list, known.Serial)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// take hands out the logins of a certificate that nobody is ending yet.
func (l *logins) take(serial uint64) []lineage.Login {
	l.mu.Lock()
	defer l.mu.Unlock()
	var list []lineage.Login
	for _, known := range l.known {
		if known.Serial == serial && !known.ending {
			l.look(known) // its session may have opened this very moment
			known.ending = true
			list = append(list, known.Login)
		}
	}
	return list
}

// release gives a login back: over and forgotten, or to be ended again.
func (l *logins) release(leader lineage.ID, over bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	known := l.known[leader]
	if known == nil {
		return
	}
	known.ending = false
	if !over {
		return
	}
	delete(l.known, leader)
	if err := l.save(); err != nil {
		l.log.Error("the file of logins stays as it was", "error", err)
	}
}
