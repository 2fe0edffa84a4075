package ocsf

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/ca/auditlog"
	"postern/internal/control"
)

// schema is testdata/classes.json.
type schema struct {
	Every   []string            `json:"every"`
	Base    []string            `json:"base"`
	Objects map[string][]string `json:"objects"`
	OneOf   map[string][]string `json:"one_of"`
	Classes map[string]struct {
		Category   int      `json:"category"`
		Required   []string `json:"required"`
		OneOf      []string `json:"one_of"`
		Activities []int    `json:"activities"`
		Has        []string `json:"has"`
	} `json:"classes"`
}

func published(t testing.TB) (s schema) {
	t.Helper()
	b, err := os.ReadFile("testdata/classes.json")
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	if err != nil || len(s.Classes) == 0 {
		t.Fatal(err, len(s.Classes))
	}
	return s
}

// judge holds an event against the schema.
func (s schema) judge(t *testing.T, e Event) {
	t.Helper()
	b, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	var doc map[string]any
	if err := json.Unmarshal(b, &doc); err != nil {
		t.Fatal(err)
	}
	class, ok := s.Classes[strconv.Itoa(e.ClassUID)]
	switch {
	case !ok:
		t.Fatalf("class %d is not in the table", e.ClassUID)
	case e.CategoryUID != class.Category || e.TypeUID != e.ClassUID*100+e.ActivityID:
		t.Errorf("category %d, type %d of class %d, activity %d", e.CategoryUID, e.TypeUID, e.ClassUID, e.ActivityID)
	case !slices.Contains(class.Activities, e.ActivityID) || e.ActivityName == "":
		t.Errorf("class %d has no activity %d %q", e.ClassUID, e.ActivityID, e.ActivityName)
	case e.Severity == "" || e.Time == 0 || e.Message == "":
		t.Errorf("severity %q, time %d, message %q: %s", e.Severity, e.Time, e.Message, b)
	}
	for _, name := range append(slices.Clone(s.Every), class.Required...) {
		if doc[name] == nil {
			t.Errorf("class %d without %s: %s", e.ClassUID, name, b)
		}
	}
	if len(class.OneOf) > 0 && !slices.ContainsFunc(class.OneOf, func(name string) bool { return doc[name] != nil }) {
		t.Errorf("class %d without any of %v: %s", e.ClassUID, class.OneOf, b)
	}
	for name := range doc {
		if !slices.Contains(s.Every, name) && !slices.Contains(s.Base, name) && !slices.Contains(class.Has, name) {
			t.Errorf("class %d has no attribute %s: %s", e.ClassUID, name, b)
		}
	}
	for path, names := range s.Objects {
		for _, object := range at(doc, path) {
			for _, name := range names {
				if object[name] == nil {
					t.Errorf("%s without %s: %s", path, name, b)
				}
			}
		}
	}
	for path, names := range s.OneOf {
		for _, object := range at(doc, path) {
			if !slices.ContainsFunc(names, func(name string) bool { return object[name] != nil && object[name] != "" }) {
				t.Errorf("%s without any of %v: %s", path, names, b)
			}
		}
	}
}

// at finds the objects at a path of names.
func at(doc map[string]any, path string) (list []map[string]any) {
	name, rest, more := strings.Cut(path, ".")
	switch v := doc[name].(type) {
	case map[string]any:
		if more {
			return at(v, rest)
		}
		return []map[string]any{v}
	case []any:
		for _, item := range v {
			if object, ok := item.(map[string]any); ok {
				list = append(list, object)
			}
		}
	}
	return list
}

var began = time.Date(2026, 10, 5, 9, 0, 0, 0, time.UTC)

func certificate(t *testing.T, id string, principals ...string) string {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert := &ssh.Certificate{
		Key: signer.PublicKey(), CertType: ssh.UserCert, KeyId: id, ValidPrincipals: principals,
		ValidAfter: uint64(began.Unix()), ValidBefore: uint64(began.Add(time.Minute).Unix()),
	}
	if err := cert.SignCert(rand.Reader, signer); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(cert)))
}

// story is a log with a leaf of every type.
func story(t *testing.T) []auditlog.Entry {
	session := control.Session{ID: "S-1", Request: "R-1", Person: "alice", Target: "postgres@ehr-db-1", Bastion: "bastion-1", Client: "192.0.2.7:4022", Started: began}
	return []auditlog.Entry{
		{Type: auditlog.TypeGenesis, Actor: "ca", Genesis: &auditlog.Genesis{Name: "postern-ca"}},
		{Type: auditlog.TypePolicy, Actor: "ca", Policy: &auditlog.Policy{Digest: "sha256:12"}},
		{Type: auditlog.TypeRecordingKey, Actor: "carol", RecordingKey: &control.RecordingKey{ID: "K-1", Month: "2026-10", Auditor: "carol"}},
		{Type: auditlog.TypeRequest, Actor: "alice", Request: &control.Request{ID: "R-1", Person: "alice", Targets: []string{"postgres@ehr-db-1"}, Capabilities: []string{"shell"}, Reason: "INC-1"}},
		{Type: auditlog.TypeVote, Actor: "bob", Vote: &auditlog.Vote{Request: "R-1", Vote: control.Vote{Decision: control.Approve, Person: "bob"}}},
		{Type: auditlog.TypeVote, Actor: "dana", Vote: &auditlog.Vote{Request: "R-2", Vote: control.Vote{Decision: control.Deny, Person: "dana"}}},
		{Type: auditlog.TypeState, Actor: "ca", State: &auditlog.State{Request: "R-1", State: control.Approved}},
		{Type: auditlog.TypeState, Actor: "ca", State: &auditlog.State{Request: "R-1", State: control.Granted, Why: "taken"}},
		{Type: auditlog.TypeExtension, Actor: "alice", Extension: &auditlog.Extension{Request: "R-1", Extension: control.Extension{Number: 1, State: control.Pending, Reason: "longer"}}},
		{Type: auditlog.TypeExtension, Actor: "ca", Extension: &auditlog.Extension{Request: "R-1", Extension: control.Extension{Number: 1, State: control.Granted, Reason: "longer"}}},
		{Type: auditlog.TypeCertificate, Actor: "alice", Certificate: &auditlog.Certificate{CA: "user", Serial: 1, Request: "R-1", Line: certificate(t, "alice R-1", "postgres@ehr-db-1")}},
		{Type: auditlog.TypeCertificate, Actor: "bastion-1", Certificate: &auditlog.Certificate{CA: "session", Serial: 1, Request: "R-1", Session: "S-1", Line: certificate(t, "alice R-1 S-1", "postgres@ehr-db-1")}},
		{Type: auditlog.TypeCertificate, Actor: "ehr-db-1", Certificate: &auditlog.Certificate{CA: "host", Serial: 1, Line: "nonsense"}},
		{Type: auditlog.TypeSession, Actor: "bastion-1", Session: &session},
		{Type: auditlog.TypeRisk, Actor: "bastion-1", Risk: &control.Risk{Session: "S-1", Request: "R-1", Person: "alice", Bastion: "bastion-1", Limit: "denied 5 log", Count: 6, Action: "log"}},
		{Type: auditlog.TypeHalt, Actor: "ca", Halt: &auditlog.Halt{Request: "R-1", Halt: control.Halt{Number: 1, State: control.Pending, Session: "S-1", Limit: "denied 5 hold", Count: 6}}},
		{Type: auditlog.TypeProgress, Actor: "bastion-1", Progress: &control.Progress{Session: "S-1", Frames: 4}},
		{Type: auditlog.TypeRevocation, Actor: "olga", Revocation: &control.Revocation{Kind: "request", Value: "R-1", By: "olga", Reason: "wrong host", Requests: []string{"R-1"}}},
		{Type: auditlog.TypeRevocation, Actor: "olga", Revocation: &control.Revocation{Kind: "host", Value: "ehr-db-1", By: "olga", Reason: "stolen"}},
		{Type: auditlog.TypeCut, Actor: "bastion-1", Cut: &control.CutReceipt{Seq: 2, Bastion: "bastion-1", Parts: 1, Sessions: []control.CutSession{{Session: "S-1", Closed: 300}}}},
		{Type: auditlog.TypeHostEnded, Actor: "ehr-db-1", HostEnded: &control.HostEnded{Seq: 2, Session: "S-1", Host: "ehr-db-1", By: control.ByAudit, Found: 3, Left: 1}},
		{Type: auditlog.TypeState, Actor: "ca", State: &auditlog.State{Request: "R-1", State: control.Revoked}},
		{Type: auditlog.TypeProgress, Actor: "bastion-1", Progress: &control.Progress{Session: "S-1", Frames: 9, End: "revoked", Sealed: true}},
		{Type: auditlog.TypeProgress, Actor: "bastion-1", Progress: &control.Progress{Session: "S-0", Frames: 9, End: "lost", Interrupted: true, Sealed: true}},
		{Type: auditlog.TypeView, Actor: "carol", View: &auditlog.View{Kind: "replay", Sessions: []string{"S-1"}, Reason: "review"}},
		{Type: auditlog.TypeRewrap, Actor: "carol", Rewrap: &control.Rewrap{Key: "K-1", Reason: "a new auditor"}},
		{Type: auditlog.TypeCustody, Actor: "carol", Custody: &control.Custody{Act: control.Shred, Scope: "session:S-1", Reason: "its time"}},
		{Type: auditlog.TypeDeletion, Actor: "ca", Deletion: &control.Deletion{Session: "S-1"}},
		{Type: auditlog.TypeReceipt, Actor: "bastion-1", Receipt: &control.Receipt{Session: "S-1"}},
		{Type: auditlog.TypeReceipt, Actor: "bastion-1", Receipt: &control.Receipt{Session: "S-1", Declined: "a hold"}},
		{Type: auditlog.TypeOverdue, Actor: "ca", Overdue: &control.Overdue{Request: "R-1", Person: "alice"}},
		{Type: auditlog.TypeSheet, Actor: "alice", Sheet: &auditlog.Sheet{Request: "R-3"}},
		{Type: auditlog.TypeSheetUse, Actor: "bastion-1", SheetUse: &control.SheetUse{Request: "R-3", Person: "adam", Target: "root@phi1"}},
		{Type: "of the future", Actor: "somebody"},
	}
}

// Every leaf becomes an event that the published schema takes, and of the class that it should be.
func TestEveryLeaf(t *testing.T) {
	s, m := published(t), Mapper{}
	var types []int
	for i, entry := range story(t) {
		entry.At = began.Add(time.Duration(i) * time.Second)
		data, err := json.Marshal(entry)
		if err != nil {
			t.Fatal(err)
		}
		e := m.Event(Leaf{Index: int64(i), Data: data})
		s.judge(t, e)
		types = append(types, e.TypeUID)
		if want := fmt.Sprintf("postern-ca/%d", i); e.Metadata.UID != want || e.Metadata.EventCode != entry.Type {
			t.Errorf("uid %s, code %s; want %s, %s", e.Metadata.UID, e.Metadata.EventCode, want, entry.Type)
		}
		if b, _ := json.Marshal(m); len(b) > 0 { // and with what is kept between two runs
			m = Mapper{}
			if err := json.Unmarshal(b, &m); err != nil {
				t.Fatal(err)
			}
		}
	}
	want := []int{300401, 300403, 300401, 300401, 300403, 300403, 300403, 300501, 300403, 300501, 300301, 300301, 300401, 400701, 300403, 300403, 400706, 300502, 300404, 300403, 300403, 300403, 400703, 400704,
		300402, 300403, 300404, 300404, 300404, 300404, 300403, 300403, 300403, 99}
	if !slices.Equal(types, want) {
		t.Errorf("types are\n%v, want\n%v", types, want)
	}
	if len(m.Requests)+len(m.Sessions) > 0 {
		t.Errorf("what ended is remembered: %v %v", m.Requests, m.Sessions)
	}
}

// The types of package auditlog are all in the story: whoever adds one says what it is to a SIEM.
func TestEveryTypeIsTold(t *testing.T) {
	source, err := os.ReadFile("../../ca/auditlog/events.go")
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	for _, e := range story(t) {
		told = append(told, e.Type)
	}
	found := 0
	for line := range strings.Lines(string(source)) {
		words := strings.Fields(line)
		if len(words) > 2 && strings.HasPrefix(words[0], "Type") && words[1] == "=" {
			found++
			if name := strings.Trim(words[2], `"`); !slices.Contains(told, name) {
				t.Errorf("no event for leaves of type %s: give it a class in place.go", name)
			}
		}
	}
	if found < 10 {
		t.Errorf("only %d types found", found)
	}
}

func TestWhatIsNoEntry(t *testing.T) {
	s, m := published(t), Mapper{Origin: "postern-ca"}
	for _, data := range []string{"", "[]", "{", `"text"`} {
		e := m.Event(Leaf{Index: 3, Data: []byte(data)})
		e.Time = 1 // there is none to tell
		s.judge(t, e)
	}
	e := m.Event(Leaf{Index: 4, Data: []byte(`{"type":"session","at":"0001-01-01T00:00:00Z","session":{"id":"S-9","target":"x","client":"?"}}`)})
	e.Time = 1
	s.judge(t, e)
}

// docs/reports.md says which event comes of which entry.
func TestDocumentNamesEveryEvent(t *testing.T) {
	doc, err := os.ReadFile("../../docs/reports.md")
	if err != nil {
		t.Fatal(err)
	}
	m := Mapper{}
	for i, entry := range story(t) {
		entry.At = began
		data, err := json.Marshal(entry)
		if err != nil {
			t.Fatal(err)
		}
		e, found := m.Event(Leaf{Index: int64(i), Data: data}), false
		for line := range strings.Lines(string(doc)) {
			cells := strings.Split(line, "|")
			found = found || len(cells) == 5 && slices.Contains(strings.FieldsFunc(cells[3], func(r rune) bool { return r == ' ' || r == ',' }), strconv.Itoa(e.TypeUID)) &&
				(strings.Contains(cells[1], "`"+entry.Type+"`") || e.ClassUID == classBase) && strings.Contains(cells[2], e.ClassName) && strings.Contains(cells[2], e.ActivityName)
		}
		if !found && e.ClassUID != classBase {
			t.Errorf("docs/reports.md has no line for %s: %s, %s, %d", entry.Type, e.ClassName, e.ActivityName, e.TypeUID)
		}
	}
}
