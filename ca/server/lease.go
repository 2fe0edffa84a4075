package server

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"postern/ca"
	"postern/internal/control"
)

// Leases are for how long an answer to a ping lets a bastion do without another one.
type Leases struct {
	Admit time.Duration // whom it lets in; 10 s
	Keep  time.Duration // whom it has let in; 30 s. No revoked user is in for longer, whatever happens to the network

	WhenFull bool // they are renewed also while the CA could not make a revocation durable
}

// DefaultLeases hold where nothing else is said.
var DefaultLeases = Leases{Admit: 10 * time.Second, Keep: 30 * time.Second}

// Check refuses lengths that would let everybody notice a lost packet, or a revoked user stay for days.
func (l Leases) Check() error {
	switch {
	case l.Admit < 2*time.Second || l.Admit > time.Minute:
		return fmt.Errorf("to admit for %s is not between 2s and 1m", l.Admit)
	case l.Keep < l.Admit || l.Keep > 12*time.Hour:
		return fmt.Errorf("to keep for %s is not between %s, as it admits, and 12h", l.Keep, l.Admit)
	}
	return nil
}

// lending is what the CA knows of the bastions' leases. A bastion counts from when it sent its ping, which was before we read it: what is written
// here is never too early.
type lending struct {
	mu     sync.Mutex
	before time.Time // when what earlier processes lent has ended
	by     map[string]control.BastionLease
}

// answers notes that a ping of a bastion is about to be answered.
func (l *lending) answers(bastion string, keep time.Duration) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.by == nil {
		l.by = map[string]control.BastionLease{}
	}
	l.by[bastion] = control.BastionLease{Bastion: bastion, Heard: now, Keeps: now.Add(keep)}
}

// of lists those bastions and whoever else has been heard.
func (l *lending) of(names []string) (list []control.BastionLease) {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := maps.Clone(l.by)
	if all == nil {
		all = map[string]control.BastionLease{}
	}
	for _, name := range names {
		if _, heard := all[name]; !heard {
			all[name] = control.BastionLease{Bastion: name, Keeps: l.before}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		lease := all[name]
		lease.Heard, lease.Keeps, lease.Now = lease.Heard.UTC(), lease.Keeps.UTC(), time.Now().UTC()
		list = append(list, lease)
	}
	return list
}

func bastions(_ context.Context, c *call) error {
	if !c.ca.May(c.caller, "audit") && !c.ca.May(c.caller, "revoke") && !c.ca.May(c.caller, "operate") {
		return &ca.Refused{Message: c.caller.Name + " may not see how the bastions stand: no rule permits audit, revoke or operate"}
	}
	return rows(c, c.lent.of(c.ca.Bastions()), "BASTION\tLAST WORD\tITS SESSIONS END", func(l control.BastionLease) string {
		word := "never"
		if !l.Heard.IsZero() {
			word = l.Heard.Format(time.RFC3339)
		}
		return strings.Join([]string{l.Bastion, word, l.Keeps.Format(time.RFC3339)}, "\t")
	})
}
