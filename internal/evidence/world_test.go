package evidence

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/ca"
	"postern/ca/auditlog"
	"postern/ca/keys"
	"postern/internal/control"
	"postern/internal/sshsig"
	"postern/internal/store"
	"postern/internal/verify"
	"postern/policy"
	"postern/recorder"
)

// world is a real CA and a real recorder in which two requests were approved and used for a session each.
type world struct {
	*ca.CA
	t        *testing.T
	clock    time.Time
	signers  map[string]ssh.Signer
	bastion  ed25519.PrivateKey
	store    *recorder.Store
	sealed   chan recorder.Progress
	private  recorder.PrivateKey
	public   recorder.PublicKey
	requests []string
	sessions []string
}

const rules = `
@id("dba") @approve("1 of privacy, 1 of owners") @max("30m")
permit (principal in Group::"dba", action in Action::"connect", resource in Host::"phi1");
@id("audit") permit (principal in Group::"auditors", action in [Action::"audit", Action::"recording-key"], resource);
@id("revoke") permit (principal in Group::"privacy", action == Action::"revoke", resource);
`

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, clock: time.Now().UTC(), signers: map[string]ssh.Signer{}, sealed: make(chan recorder.Progress, 100)}
	for _, name := range []string{"alice", "bob", "dana", "carol", "host"} {
		w.signers[name], _ = newSigner(t)
	}
	w.signers["bastion-1"], w.bastion = newSigner(t)
	w.openCA()
	w.private, w.public = recorder.NewKey()
	w.recordingKey()
	w.openStore()
	for i := range 2 {
		w.story(fmt.Sprintf("the patient is in bed %d\n", 7+i))
	}
	return w
}

func newSigner(t *testing.T) (ssh.Signer, ed25519.PrivateKey) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return s, private
}

func line(key ssh.PublicKey) string { return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))) }

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func (w *world) openCA() {
	dir := w.t.TempDir()
	if err := keys.Init(dir, "postern-ca", nil); err != nil {
		w.t.Fatal(err)
	}
	set := must(keys.Open(dir, nil))(w.t)
	db := must(store.Open(filepath.Join(dir, "state"), set.Store))(w.t)
	w.t.Cleanup(func() { db.Close() })
	if err := ca.Found(set, db); err != nil {
		w.t.Fatal(err)
	}
	w.CA = must(ca.New(ca.Config{Keys: set, DB: db, Policy: w.policy(), Now: func() time.Time { return w.clock }}))(w.t)
}

func (w *world) policy() *policy.Set {
	people := "groups: [dba, privacy, owners, auditors]\npeople:\n"
	for name, group := range map[string]string{"alice": "dba", "bob": "privacy", "dana": "owners", "carol": "auditors"} {
		people += fmt.Sprintf("  %s:\n    groups: [%s]\n    keys:\n      - %s\n", name, group, line(w.signers[name].PublicKey()))
	}
	hosts := fmt.Sprintf("hosts:\n  phi1:\n    address: 127.0.0.1:2200\n    accounts: [root]\n    host_key: %s\n"+
		"bastions:\n  bastion-1:\n    address: 127.0.0.1:2022\n    sources: [127.0.0.1]\n    key: %s\n", line(w.signers["host"].PublicKey()), line(w.signers["bastion-1"].PublicKey()))
	return must(policy.Load(fstest.MapFS{"people.yaml": {Data: []byte(people)}, "hosts.yaml": {Data: []byte(hosts)}, "rules.cedar": {Data: []byte(rules)}}))(w.t)
}

func (w *world) who(name string) ca.Caller {
	c := must(w.Identify(w.signers[name].PublicKey()))(w.t)
	c.Address = "127.0.0.1"
	return c
}

func (w *world) recordingKey() {
	box := []byte("box")
	k := control.RecordingKey{ID: w.public.ID(), Month: w.clock.Format("2006-01"), Public: w.public.Marshal(), Auditor: "carol",
		AuditKey: line(w.signers["carol"].PublicKey()), Box: box, BoxSum: control.BoxSum(box)}
	k.Signature = string(must(sshsig.Sign(w.signers["carol"], control.RecordingKeyNamespace, []byte(k.Statement())))(w.t))
	must(w.AddRecordingKey(w.who("carol"), k))(w.t)
}

func (w *world) openStore() {
	w.store = must(recorder.OpenStore(recorder.Config{Dir: w.t.TempDir(), Signer: w.bastion, FileSize: 1 << 20, LowSpace: -1, Sealed: func(p recorder.Progress) { w.sealed <- p }}))(w.t)
	w.t.Cleanup(func() { w.store.Close() })
}

// story is a request that is approved and used for a session that is recorded.
func (w *world) story(output string) {
	r := must(w.Ask(w.who("alice"), ca.Ask{Targets: []string{"root@phi1"}, For: 15 * time.Minute, Reason: "INC-4412"}))(w.t)
	for _, name := range []string{"bob", "dana"} {
		text := must(w.Statement(w.who(name), control.Approve, r.ID, ""))(w.t)
		signature := must(sshsig.Sign(w.signers[name], control.Namespace, []byte(text)))(w.t)
		must(w.Vote(w.who(name), r.ID, control.Approve, "", signature))(w.t)
		w.clock = w.clock.Add(time.Second)
	}
	cert := must(w.Certificate(w.who("alice"), r.ID, w.signers["alice"].PublicKey()))(w.t)
	reply := must(w.OpenSession(w.who("bastion-1"), control.OpenRequest{Certificate: cert.Certificate, Target: "root@phi1", SessionKey: line(w.signers["host"].PublicKey()), Client: "127.0.0.1:5000"}))(w.t)
	w.requests, w.sessions = append(w.requests, r.ID), append(w.sessions, reply.Session.ID)
	w.record(reply.Session.ID, output)
}

func (w *world) record(session, output string) {
	writer := must(w.store.Create(recorder.Header{Session: session, Person: "alice", Account: "root", Host: "phi1", Bastion: "bastion-1", Started: w.clock}, w.public))(w.t)
	for range 3 {
		must(writer.Append(recorder.Frame{Type: recorder.TypeData, Stream: recorder.Stdout, Data: []byte(output)}))(w.t)
		// Incompressible, so that there are several segments.
		noise := make([]byte, 100_000)
		for i := range noise {
			noise[i] = byte(i * i >> 3)
		}
		must(writer.Append(recorder.Frame{Type: recorder.TypeData, Stream: recorder.Stdout, Data: noise}))(w.t)
	}
	if err := writer.Close("closed"); err != nil {
		w.t.Fatal(err)
	}
	for p := range w.sealed {
		w.clock = w.clock.Add(time.Second)
		told := control.Progress{Session: session, Frames: p.Frames, Head: hex.EncodeToString(p.Head[:]), Segments: p.Segments, SealedHead: hex.EncodeToString(p.SealedHead[:]), Sealed: p.Sealed}
		if p.Sealed {
			told.End = "closed"
		}
		if err := w.Progress(w.who("bastion-1"), told); err != nil {
			w.t.Fatal(err)
		}
		if p.Sealed {
			return
		}
	}
}

func (w *world) exported(session string) []byte {
	var out bytes.Buffer
	if err := w.store.Export(session, &out); err != nil {
		w.t.Fatal(err)
	}
	return out.Bytes()
}

func section(b []byte) *io.SectionReader {
	return io.NewSectionReader(bytes.NewReader(b), 0, int64(len(b)))
}

// source is the log as it stands.
func (w *world) source() Source {
	s := Source{CA: w.Name(), Keys: w.keys(), Checkpoint: must(w.Checkpoint())(w.t)}
	if err := w.Leaves(0, 0, func(l control.Leaf) error { s.Leaves = append(s.Leaves, slices.Clone(l.Data)); return nil }); err != nil {
		w.t.Fatal(err)
	}
	return s
}

func (w *world) keys() verify.Keys {
	trust := must(w.Trust())(w.t)
	key := func(text string) ssh.PublicKey {
		k, _, _, _, err := ssh.ParseAuthorizedKey([]byte(text))
		if err != nil {
			w.t.Fatal(err)
		}
		return k
	}
	return verify.Keys{User: key(trust.UserCA), Session: key(trust.SessionCA), Host: key(trust.HostCA), Gateway: key(trust.GatewayCA), Log: trust.Log}
}

// bundle is the file, as Write makes it.
func (w *world) bundle(c Contents) []byte {
	w.t.Helper()
	var out bytes.Buffer
	must(Write(&out, c))(w.t)
	return out.Bytes()
}

// check opens and checks a bundle; what is wrong comes as one error.
func (w *world) check(bundle []byte, witnesses ...*auditlog.Witness) (*Report, error) {
	b, err := Open(bytes.NewReader(bundle), int64(len(bundle)))
	if err != nil {
		return nil, err
	}
	r, err := b.Check(w.keys(), witnesses)
	if err == nil && len(r.Findings) > 0 {
		err = fmt.Errorf("%v", r.Findings)
	}
	return r, err
}
