package bastion

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"postern/internal/control"
)

// revocations is the set the CA streams and the index of live sessions it cuts. One lock covers both, so a session is either in the
// index when a revocation arrives or sees it when it registers.
type revocations struct {
	mu      sync.Mutex
	seq     uint64
	set     []*ruling
	live    map[*session]struct{}
	readers map[*reader]struct{}
	moved   map[string]time.Time // until when grants last that were extended
	ended   sync.WaitGroup
}

// ruling is a revocation as it is looked at for every session: one may hit as many requests as there are.
type ruling struct {
	control.Revocation
	target   control.Target
	requests map[string]bool
}

func know(r control.Revocation) *ruling {
	k := &ruling{r, r.Target(), make(map[string]bool, len(r.Requests))}
	for _, id := range r.Requests {
		k.requests[id] = true
	}
	return k
}

// Revoke adds a revocation to the set and cuts the sessions it hits, each on its own.
func (b *Bastion) Revoke(r control.Revocation) {
	b.prepare()
	began, k := time.Now(), know(r)
	v := &b.revoked
	v.mu.Lock()
	v.seq = max(v.seq, r.Seq)
	v.prune(b.Now())
	// One that was told before, or has a number from before because the CA came back from a backup, must hit all the same.
	v.set = append(slices.DeleteFunc(v.set, func(o *ruling) bool { return r.Seq != 0 && o.Seq == r.Seq }), k)
	var hit []*session
	for s := range v.live {
		if k.strikes(s, b.Now()) {
			hit = append(hit, s)
		}
	}
	readers := 0
	for reader := range v.readers {
		if reader.struckBy(k, b.Name) {
			readers++
			reader.end(errors.New(revokedText(r)))
		}
	}
	v.mu.Unlock()
	// Here, so that nothing passes once the revocation was taken; those who end already are not cut.
	go b.cutAll(r, stopAll(hit, "revoked", revokedText(r)), readers, began)
	if b.Sheets != nil {
		b.Sheets.remember()
	}
}

func stopAll(list []*session, reason, why string) (stopped []*ending) {
	for _, s := range list {
		if e := s.stop(reason, why); e != nil {
			stopped = append(stopped, e)
		}
	}
	return stopped
}

// Seq is the last revocation this bastion has: the stream resumes after it.
func (b *Bastion) Seq() uint64 {
	b.revoked.mu.Lock()
	defer b.revoked.mu.Unlock()
	return b.revoked.seq
}

// known is a copy of the set.
func (v *revocations) known() []control.Revocation {
	v.mu.Lock()
	defer v.mu.Unlock()
	list := make([]control.Revocation, len(v.set))
	for i, r := range v.set {
		list[i] = r.Revocation
	}
	return list
}

// prune forgets what hits nothing any more. A minute stays, for clocks that differ.
func (v *revocations) prune(now time.Time) {
	v.set = slices.DeleteFunc(v.set, func(r *ruling) bool {
		return !r.Until.IsZero() && now.After(r.Until.Add(time.Minute))
	})
}

// check refuses a certificate that the set names for certain. A revocation of a person or host is about what was granted until then, which
// the CA knows: it lists those requests, and it is asked before anything opens. One that holds for a time is about everything until then.
func (b *Bastion) check(g *grant) error {
	v := &b.revoked
	v.mu.Lock()
	defer v.mu.Unlock()
	now, all := b.Now(), g.traits(b.Name)
	certain := control.Traits{Request: g.request, Serials: all.Serials}
	for _, r := range v.set {
		if r.requests[g.request] || !r.target.Names("all") && r.target.Hits(certain) || now.Before(r.Holds) && r.hits(all) {
			return errors.New(revokedText(r.Revocation))
		}
	}
	return nil
}

var (
	errClosing = errors.New("this bastion is shutting down")
	errEnded   = errors.New("this session has ended")
	errHeld    = errors.New("this session crossed a limit, and nothing passes any more")
)

// register puts a session into the index, unless something hits it that the CA did not know yet when it decided.
func (b *Bastion) register(s *session) error {
	v := &b.revoked
	v.mu.Lock()
	defer v.mu.Unlock()
	if b.closing {
		return errClosing
	}
	if s.term = b.lease.current(); !s.grant.sealed && !b.lease.admits() {
		return errNoCA
	}
	if err := v.strikes(s, b.Now()); err != nil {
		return err
	}
	if v.live == nil {
		v.live = map[*session]struct{}{}
	}
	v.live[s] = struct{}{}
	s.lastUntil(v.moved[s.grant.request]) // the CA may have decided about the session before
	v.ended.Add(1)
	return nil
}

// strikes says why a session is revoked, if it is. It is called with mu held.
func (v *revocations) strikes(s *session, now time.Time) error {
	for _, r := range v.set {
		if r.strikes(s, now) {
			return errors.New(revokedText(r.Revocation))
		}
	}
	return nil
}

func (b *Bastion) unregister(s *session) {
	v := &b.revoked
	v.mu.Lock()
	defer v.mu.Unlock()
	if _, ok := v.live[s]; ok {
		delete(v.live, s)
		b.grants.leave(s.grant.request, s.ends())
		v.ended.Done()
	}
}

func (v *revocations) sessions() []*session {
	v.mu.Lock()
	defer v.mu.Unlock()
	list := make([]*session, 0, len(v.live))
	for s := range v.live {
		list = append(list, s)
	}
	return list
}

// strikes says whether a revocation cuts a session. One that the CA knew when it decided is about earlier grants, however late it comes here,
// unless it holds for a time; but what names the session's own request always does: the CA opens nothing for a request that it knows to be revoked,
// so its number can only be low because the CA came back from a backup.
func (k *ruling) strikes(s *session, now time.Time) bool {
	if k.requests[s.grant.request] {
		return true
	}
	return (k.Seq > s.reply.Seq || now.Before(k.Holds)) && k.hits(s.traits())
}

// hits is true for what this bastion cannot understand: a CA of another version means something by it.
func (k *ruling) hits(t control.Traits) bool { return k.target == nil || k.target.Hits(t) }

func revokedText(r control.Revocation) string {
	text := "revoked"
	if r.By != "" {
		text += " by " + r.By
	}
	if r.Reason != "" {
		text += ": " + oneLine(r.Reason)
	}
	return "your access was " + text
}

// oneLine makes a text of somebody else's fit for a terminal.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return ' '
		}
		return r
	}, s)
	if len(s) > 300 {
		s = strings.ToValidUTF8(s[:300], "") + "…"
	}
	return s
}

// Close ends every session, telling why, and waits for their recordings to end, but not longer than limit.
func (b *Bastion) Close(limit time.Duration) error {
	b.prepare()
	b.revoked.mu.Lock()
	b.closing = true
	b.revoked.mu.Unlock()
	go end(stopAll(b.revoked.sessions(), "bastion", "this bastion is shutting down"), nil)
	done := make(chan struct{})
	go func() {
		b.revoked.ended.Wait()
		if b.Sheets != nil {
			b.Sheets.flush()
		}
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-time.After(limit):
		return fmt.Errorf("%d sessions did not end in %s", len(b.revoked.sessions()), limit)
	}
}
