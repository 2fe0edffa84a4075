// Package lineage finds the processes on this host that came of one login through sshd, and ends them, also those that outlived the
// connection. Start with [Proc.Login] while sshd is logging somebody in, [Proc.Settle] until it has, and [Proc.End].
//
// It goes by what a process cannot change of itself: its audit session, which pam_loginuid sets at login and which children inherit whatever
// they do; the cgroup that logind puts a login in; and who started whom. It does not go by names, environments or lines of a log, which
// anybody can write. Root can leave an audit session and a cgroup, and anybody may ask another daemon (cron, at, systemd, a container
// engine) to run something: that is not of the login then.
package lineage

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

// The ways to know what is of a login, the surest last.
const (
	ByTree  = "tree"  // what the login's sshd started; what detached itself and lost its parent is not found
	ByScope = "scope" // the cgroup of logind as well
	ByAudit = "audit" // the audit session as well, and the cgroup if there is one
)

// Login is one login, from the moment at which sshd asked about its certificate.
type Login struct {
	Serial uint64 `json:"serial"` // of the certificate
	Leader ID     `json:"leader"` // sshd's process of this connection
	Audit  uint32 `json:"audit"`  // the audit session that this login began; NoAudit: none, or not yet
	Scope  string `json:"scope,omitempty"`

	// What sshd itself is in. Somebody may have started sshd by hand: all that they run would be of every login then.
	OutsideAudit uint32 `json:"outside_audit"`
	OutsideScope string `json:"outside_scope,omitempty"`
}

// By is how the login's processes are known.
func (l Login) By() string {
	switch {
	case l.Audit != NoAudit:
		return ByAudit
	case l.Scope != "":
		return ByScope
	}
	return ByTree
}

// Login is the login that sshd's process leader is about to admit. It is an error if that process cannot be one of sshd's.
func (p Proc) Login(leader int, serial uint64) (Login, error) {
	l := Login{Serial: serial, Audit: NoAudit}
	sshd, err := p.Look(leader)
	if err != nil {
		return l, err
	}
	uid, err := p.UID(leader)
	if err != nil {
		return l, err
	}
	if leader <= 1 || !strings.HasPrefix(sshd.Name, "sshd") || uid != 0 && uid != os.Getuid() {
		return l, fmt.Errorf("process %d (%.20q, of user %d) is not sshd", leader, sshd.Name, uid)
	}
	if p.ours()[leader] {
		return l, errors.New("this program was started in that login")
	}
	l.Leader = sshd.ID
	// The session is not open yet, so sshd's process is still in what sshd itself is in.
	l.OutsideAudit, l.OutsideScope = sshd.Audit, p.scope(leader)
	return l, nil
}

// Settle looks whether the login has an audit session and a cgroup of its own by now. alive is false when its sshd is gone.
func (p Proc) Settle(l *Login) (alive bool) {
	sshd, err := p.Look(l.Leader.PID)
	if err != nil || sshd.ID != l.Leader {
		return false
	}
	scope := p.scope(l.Leader.PID)
	// Only what was still this very process when its cgroup was read counts.
	if again, err := p.Look(l.Leader.PID); err != nil || again.ID != l.Leader {
		return false
	}
	if sshd.Audit != l.OutsideAudit {
		l.Audit = sshd.Audit
	}
	if scope != l.OutsideScope {
		l.Scope = scope
	}
	return sshd.running()
}

// ours is this program and everything that it was started by.
func (p Proc) ours() map[int]bool {
	list := map[int]bool{}
	for pid := os.Getpid(); pid > 0 && !list[pid]; {
		list[pid] = true
		me, err := p.Look(pid)
		if err != nil {
			break
		}
		pid = me.Parent
	}
	return list
}

// Alive tells of each login whether something of it may still run. One look at all processes does for all of them.
func (p Proc) Alive(logins []Login) ([]bool, error) {
	audits, scopes, ids := map[uint32]bool{}, map[string]bool{}, map[ID]bool{}
	err := p.each(func(process Process, _ bool) {
		if process.running() {
			audits[process.Audit], scopes[p.scope(process.PID)], ids[process.ID] = true, true, true
		}
	})
	if err != nil {
		return nil, err
	}
	alive := make([]bool, len(logins))
	for i, l := range logins {
		alive[i] = ids[l.Leader] || l.Audit != NoAudit && audits[l.Audit] || l.Scope != "" && scopes[l.Scope]
	}
	return alive, nil
}
