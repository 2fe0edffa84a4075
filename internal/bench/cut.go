package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/internal/control"
	"postern/internal/sshsig"
)

const (
	cutTime      = time.Minute      // for the last session to end
	receiptsTime = 59 * time.Second // for the last receipt to be in the log
)

// cut opens many sessions of one person under several grants, revokes that person, and measures from the moment the signed revocation leaves
// the operator until each client's TCP connection is closed. With every session there is a connection of a real SSH client through a real
// bastion, and a program that runs on a host.
func cut(r *rig, o options) error {
	ca, operator, err := r.operator()
	if err != nil {
		return err
	}
	defer ca.Close()
	addresses, err := r.bastions(o.bastions)
	if err != nil {
		return err
	}
	for _, h := range hostsOf(o.hosts) {
		if err := h.begin(r); err != nil {
			return err
		}
		c := &cutting{r: r, ca: ca, operator: operator, addresses: addresses, host: h}
		if err := errors.Join(c.rounds(o), h.end(r)); err != nil {
			return fmt.Errorf("%s: %w", h.name, err)
		}
	}
	return nil
}

// cutting is what the rounds have in common.
type cutting struct {
	r         *rig
	ca        *control.Client
	operator  ssh.Signer
	addresses []string
	host      *hostKind
	warm      bool
}

func (r *rig) operator() (*control.Client, ssh.Signer, error) {
	operator, err := readSigner(filepath.Join(r.lab.Dir, "olga", "id_ed25519"))
	if err != nil {
		return nil, nil, err
	}
	ca, err := control.Dial(context.Background(), control.Config{Address: r.lab.Addresses["ca"], Signers: []ssh.Signer{operator},
		KnownHosts: filepath.Join(r.lab.Dir, "trust", "known_hosts")})
	return ca, operator, err
}

// round is what one revocation of all sessions showed.
type round struct {
	ended  []time.Duration // of each session: its client's connection, since the revocation left the operator
	killed []time.Duration // each program: since then
	heard  []time.Duration // each bastion: since then
	memory int64           // bytes that all bastions together grew by, for each session
	closed []time.Duration // each session, as the receipts in the log say: since its bastion heard
}

func (c *cutting) rounds(o options) error {
	if err := c.hitNobody(); err != nil {
		return err
	}
	var all round
	var last, lastKilled []time.Duration
	for range o.cuts {
		one, err := c.once(o.sessions)
		if err != nil {
			return err
		}
		all.ended, all.killed = append(all.ended, one.ended...), append(all.killed, one.killed...)
		all.memory = max(all.memory, one.memory)
		all.heard, all.closed = append(all.heard, one.heard...), append(all.closed, one.closed...)
		last, lastKilled = append(last, quantile(one.ended, 100)), append(lastKilled, quantile(one.killed, 100))
	}
	fmt.Printf("\nrevocation to cut, %d live sessions on %d bastions, %d times\n", o.sessions, len(c.addresses), o.cuts)
	fmt.Printf("  hosts: %s\n", c.host.says)
	show := func(what string, d []time.Duration) {
		fmt.Printf("  %-46s p50 %7.1f ms   p99 %7.1f ms   max %7.1f ms\n", what, milliseconds(quantile(d, 50)), milliseconds(quantile(d, 99)), milliseconds(quantile(d, 100)))
	}
	show("the last session's connection closed", last)
	show("each session's connection closed", all.ended)
	show("each bastion heard of it", all.heard)
	show("  and closed each connection after", all.closed)
	if c.host.light {
		show("the last program was told to end", lastKilled)
	}
	fmt.Printf("  the bastions grew by %d KiB (resident) for each session\n", all.memory>>10)
	fmt.Printf("  every one of %d sessions ended, its client had read why, and a receipt in the log names it\n", len(all.ended))
	return nil
}

// hitNobody revokes once before anything is measured: the first command of a connection has more to do than the others.
func (c *cutting) hitNobody() error {
	if c.warm {
		return nil
	}
	c.warm = true
	_, _, err := c.revoke("person:adam")
	return err
}

func (c *cutting) once(n int) (round, error) {
	before := c.r.memory()
	live, err := c.r.openSessions(c.addresses, n)
	defer live.close()
	if err != nil {
		return round{}, err
	}
	c.host.forget()
	live.arm()
	held := c.r.memory()
	began, rev, err := c.revoke("person:alice")
	if err != nil {
		return round{}, err
	}
	one := round{memory: max(0, held-before) / int64(n)}
	if one.ended, err = live.ends(began); err != nil {
		return one, err
	}
	if err := live.reasons("revoked by olga: measuring"); err != nil {
		return one, err
	}
	if err := c.receipts(&one, rev, began, n); err != nil {
		return one, err
	}
	if one.killed, err = c.host.kills(began, n); err != nil {
		return one, err
	}
	_, err = c.r.settle()
	return one, err
}

// revoke says when the signed revocation left.
func (c *cutting) revoke(target string) (began time.Time, rev control.Revocation, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), cutTime)
	defer cancel()
	statement, err := c.ca.Run(ctx, nil, "show", target, "--statement", "--decision", control.Revoke, "--reason", "measuring")
	if err != nil {
		return began, rev, err
	}
	signature, err := sshsig.Sign(c.operator, control.Namespace, statement)
	if err != nil {
		return began, rev, err
	}
	began = time.Now()
	out, err := c.ca.Run(ctx, strings.NewReader(string(signature)), "revoke", target, "--reason", "measuring", "--json")
	if err == nil {
		err = json.Unmarshal(out, &rev)
	}
	return began, rev, err
}

// receipts waits until those of all bastions are in the log, and checks that they name each session once.
func (c *cutting) receipts(one *round, rev control.Revocation, began time.Time, n int) error {
	ctx, cancel := context.WithTimeout(context.Background(), receiptsTime+time.Second)
	defer cancel()
	stream, err := c.ca.Stream(ctx, "receipts", strconv.FormatUint(rev.Seq, 10), "--wait", receiptsTime.String())
	if err != nil {
		return err
	}
	defer stream.Close()
	named := map[string]bool{}
	parts := map[string]int{}
	complete := func() bool {
		left := slices.DeleteFunc(slices.Collect(maps.Values(parts)), func(n int) bool { return n == 0 })
		return len(parts) == len(c.addresses) && len(left) == 0
	}
	for !complete() {
		var receipt control.CutReceipt
		if err := stream.Next(&receipt); errors.Is(err, io.EOF) {
			return fmt.Errorf("the receipts name %d of %d sessions %s after the cut", len(named), n, receiptsTime)
		} else if err != nil {
			return err
		}
		if _, ok := parts[receipt.Bastion]; !ok {
			parts[receipt.Bastion] = receipt.Parts
			one.heard = append(one.heard, receipt.Heard.Sub(began))
		}
		parts[receipt.Bastion]--
		for _, s := range receipt.Sessions {
			if named[s.Session] {
				return fmt.Errorf("two receipts name %s", s.Session)
			}
			named[s.Session] = true
			one.closed = append(one.closed, time.Duration(s.Closed)*time.Microsecond)
		}
	}
	if len(named) != n {
		return fmt.Errorf("the receipts name %d sessions of %d", len(named), n)
	}
	return nil
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
