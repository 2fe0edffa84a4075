package server

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"golang.org/x/crypto/ssh"

	"postern/ca"
	"postern/ca/keys"
	"postern/internal/control"
	"postern/internal/store"
	"postern/policy"
)

const streamRules = `@id("connect") permit (principal in Group::"dba", action in Action::"connect", resource in Host::"phi1");
@id("audit") permit (principal in Group::"auditors", action == Action::"audit", resource);
`

func newKey(t *testing.T) ssh.PublicKey {
	t.Helper()
	public, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// people is a policy of a bastion and of carol, who may audit if auditor says so.
func people(t *testing.T, bastion string, key, carol ssh.PublicKey, auditor bool) *policy.Set {
	t.Helper()
	group := "dba"
	if auditor {
		group = "auditors"
	}
	line := func(k ssh.PublicKey) string { return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(k))) }
	set, err := policy.Load(fstest.MapFS{
		"people.yaml": {Data: fmt.Appendf(nil, "groups: [dba, auditors]\npeople:\n  carol:\n    groups: [%s]\n    keys:\n      - %s\n", group, line(carol))},
		"hosts.yaml": {Data: fmt.Appendf(nil, "hosts:\n  phi1:\n    address: 127.0.0.1:22\n    accounts: [root]\n    trust: host-ca\n"+
			"bastions:\n  %s:\n    address: 127.0.0.1:2022\n    sources: [127.0.0.1]\n    key: %s\n", bastion, line(key))},
		"rules.cedar": {Data: []byte(streamRules)},
	})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func authority(t *testing.T, set *policy.Set) *ca.CA {
	t.Helper()
	dir := t.TempDir()
	if err := keys.Init(dir, "postern-ca", nil); err != nil {
		t.Fatal(err)
	}
	k, err := keys.Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	db, err := store.Open(filepath.Join(dir, "state"), k.Store)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	if err := ca.Found(k, db); err != nil {
		t.Fatal(err)
	}
	authority, err := ca.New(ca.Config{Keys: k, DB: db, Policy: set})
	if err != nil {
		t.Fatal(err)
	}
	return authority
}

// stream is a client of the revocations; end is what the command returned.
type stream struct {
	pings  *io.PipeWriter
	events *json.Decoder
	end    chan error
}

func follow(t *testing.T, from *ca.CA, key ssh.PublicKey) *stream {
	t.Helper()
	caller, err := from.Identify(key)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	in, pings := io.Pipe()
	events, out := io.Pipe()
	s := &stream{pings, json.NewDecoder(events), make(chan error, 1)}
	t.Cleanup(func() { cancel(); events.Close(); pings.Close() })
	c := &call{ca: from, caller: caller, key: key, in: in, out: out, leases: DefaultLeases, lent: &lending{}, options: map[string]string{"ping": "", "json": ""}}
	go func() {
		err := revocations(ctx, c)
		out.Close()
		s.end <- err
	}()
	return s
}

// until reads events up to one that is wanted.
func (s *stream) until(t *testing.T, what string, wanted func(control.Event) bool) {
	t.Helper()
	for {
		var e control.Event
		if err := s.events.Decode(&e); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if wanted(e) {
			return
		}
	}
}

// A stream outlives the policy it began under: who is not in it any more, or may not read it, hears that and renews no lease.
func TestAStreamEndsWithThePolicy(t *testing.T) {
	bastion, carol := newKey(t), newKey(t)
	from := authority(t, people(t, "bastion-1", bastion, carol, true))
	machine, auditor := follow(t, from, bastion), follow(t, from, carol)
	fmt.Fprintln(machine.pings, `{"ping":1}`)
	machine.until(t, "a ping", func(e control.Event) bool { return e.Pong == 1 })
	auditor.until(t, "the policy", func(e control.Event) bool { return e.Policy != "" })

	next := people(t, "bastion-1", newKey(t), carol, false)
	if err := from.SetPolicy(next); err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]*stream{"a bastion": machine, "an auditor": auditor} {
		s.until(t, name+" hears of it", func(e control.Event) bool { return e.Policy == next.Digest() })
		go fmt.Fprintln(s.pings, `{"ping":2}`)
		var e control.Event
		for s.events.Decode(&e) == nil {
			if e.Pong == 2 {
				t.Errorf("%s: its lease is renewed", name)
			}
		}
		var no *ca.Refused
		if err := <-s.end; !errors.As(err, &no) {
			t.Errorf("%s: the stream ended with %v", name, err)
		}
	}
}

// What people read of machines and of one another draws nothing on their terminals.
func TestTextForTerminals(t *testing.T) {
	var out bytes.Buffer
	c := &call{out: &out, options: map[string]string{}}
	list := []control.Session{{ID: "S-1", End: "closed\x1b[2J\nS-2 \u202e"}}
	err := rows(c, list, "SESSION\tEND", func(s control.Session) string { return s.ID + "\t" + s.End })
	if err == nil {
		err = c.answer(nil, "%s\n", "\x1b]0;title\a")
	}
	if want := "SESSION  END\nS-1      closed\ufffd[2J S-2 \ufffd\n\ufffd]0;title\ufffd\n"; err != nil || out.String() != want {
		t.Errorf("%q, %v", out.String(), err)
	}
}
