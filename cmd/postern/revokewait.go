package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"postern/internal/control"
)

// receiptTime is how long somebody who revokes waits to see what the bastions did, and whether the hosts know, unless they say
// otherwise; longestWait is the most that the CA lets them wait.
const (
	receiptTime = 3 * time.Second
	longestWait = time.Minute
)

// sessionLife is how long a certificate for a host is good: what was signed before a revocation opens nothing after it.
const sessionLife = 2 * time.Minute

// awaitReceipts shows what the bastions did with the sessions that were live, the hosts with what ran for them, and which hosts have not heard. The
// revocation stands whether they tell or not.
func (c *client) awaitReceipts(ctx context.Context, cut control.Revocation, reach control.Reach, patience time.Duration) error {
	began := time.Now()
	w := newAwaited(reach)
	if err := c.await(ctx, cut, w, patience); err != nil {
		return err
	}
	if err := c.sayMissing(ctx, w); err != nil {
		return err
	}
	return c.awaitHosts(ctx, cut, reach, patience-time.Since(began))
}

// awaited is who has still to tell what they did.
type awaited struct {
	live    map[string]int  // sessions by bastion
	onHosts map[string]bool // sessions whose programs hosts follow
}

func newAwaited(reach control.Reach) awaited {
	w := awaited{map[string]int{}, map[string]bool{}}
	maps.Copy(w.live, reach.Live)
	for _, s := range reach.Followed {
		w.onHosts[s] = true
	}
	return w
}

func (w awaited) none() bool { return len(w.live)+len(w.onHosts) == 0 }

func (w awaited) tells(r control.Told) {
	switch {
	case r.HostEnded != nil:
		delete(w.onHosts, r.HostEnded.Session)
	case r.Part == r.Parts-1:
		delete(w.live, r.Bastion)
	}
}

func (c *client) await(ctx context.Context, cut control.Revocation, w awaited, patience time.Duration) error {
	if w.none() {
		return nil
	}
	stream, err := c.Stream(ctx, "receipts", strconv.FormatUint(cut.Seq, 10), "--wait", patience.String())
	if err != nil {
		return err
	}
	defer stream.Close()
	for !w.none() {
		var r control.Told
		if err := stream.Next(&r); err != nil {
			break // the time is over, or the connection is lost: what is missing is said
		}
		printTold(r)
		w.tells(r)
	}
	return nil
}

func (c *client) sayMissing(ctx context.Context, w awaited) error {
	if len(w.onHosts) > 0 {
		fmt.Println(colour(yellow, fmt.Sprintf("hosts have not told yet what they ended of %s; see later with: postern revocations --receipts", count(len(w.onHosts), "session"))))
	}
	if len(w.live) == 0 {
		return nil
	}
	leases, err := c.bastionLeases(ctx)
	for _, bastion := range slices.Sorted(maps.Keys(w.live)) {
		fmt.Println(colour(yellow, fmt.Sprintf("%s has not told what it cut of %s; %s. See later with: postern revocations --receipts",
			word(bastion), count(w.live[bastion], "live session"), endsWithLease(leases[bastion]))))
	}
	return err
}

func (c *client) bastionLeases(ctx context.Context) (map[string]control.BastionLease, error) {
	list, err := control.List[control.BastionLease](ctx, c.Client, "bastions")
	leases := map[string]control.BastionLease{}
	for _, l := range list {
		leases[l.Bastion] = l
	}
	return leases, err
}

// endsWithLease says until when a bastion that does not hear the CA can keep a session, as the CA knows it.
func endsWithLease(l control.BastionLease) string {
	now := l.Now
	switch {
	case l.Keeps.IsZero():
		return "the CA does not know its lease"
	case !now.Before(l.Keeps):
		return "its lease ended " + clockTime(l.Keeps, now) + ", and they with it"
	case l.Heard.IsZero():
		return "the CA has not heard it since it was started; they end with its lease, at the latest " + clockTime(l.Keeps, now)
	}
	return fmt.Sprintf("it was heard %s; they end with its lease, at the latest %s", since(l.Heard, now), clockTime(l.Keeps, now))
}

// clockTime is a moment to the second, in a zone that everybody has.
func clockTime(t, now time.Time) string {
	t, now = t.UTC(), now.UTC()
	if t.YearDay() == now.YearDay() && t.Year() == now.Year() {
		return "at " + t.Format("15:04:05Z")
	}
	return "on " + t.Format("2006-01-02 15:04:05Z")
}

// awaitHosts names the hosts it is about whose sshd does not know of it yet.
func (c *client) awaitHosts(ctx context.Context, cut control.Revocation, reach control.Reach, limit time.Duration) error {
	hit := map[string]bool{}
	for _, host := range reach.Hosts {
		hit[host] = true
	}
	if len(hit) == 0 {
		return nil
	}
	var behind []control.HostStatus
	for end := time.Now().Add(limit); ; {
		hosts, err := control.List[control.HostStatus](ctx, c.Client, "hosts")
		if err != nil {
			return err
		}
		behind = slices.DeleteFunc(hosts, func(h control.HostStatus) bool {
			return !hit[h.Host] || h.State == control.HostUnmanaged || h.KRLVersion >= cut.Seq && !h.KRLMissing
		})
		if len(behind) == 0 || time.Now().After(end) {
			break
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
	for _, h := range behind {
		fmt.Println(colour(yellow, behindText(h, cut, time.Now())))
	}
	return nil
}

func behindText(h control.HostStatus, cut control.Revocation, now time.Time) string {
	text := "sshd on " + word(h.Host) + " may not know of it yet: the host has never said a word"
	if !h.At.IsZero() {
		text = fmt.Sprintf("sshd on %s may not know of it yet: it has revocation %d of %d, as it said %s", word(h.Host), h.KRLVersion, cut.Seq, since(h.At, now))
	}
	if h.KRLMissing && !h.At.IsZero() {
		return "sshd on " + word(h.Host) + " has no revocation list, and refuses every key. See: postern hosts"
	}
	return fmt.Sprintf("%s; what was signed for it before opens something there for the last time %s. See: postern hosts", text, clockTime(cut.At.Add(sessionLife), now))
}
