package verify

import (
	"fmt"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/ca/auditlog"
	"postern/internal/control"
)

// verifier is the state that the leaves so far make.
type verifier struct {
	keys   Keys
	report Report
	at     int64     // index of the leaf that is looked at
	clock  time.Time // latest time of a leaf

	partial bool // leaves are missing between those that are looked at

	ca            string // name, from the genesis
	policy        policy // in force
	requests      map[string]*request
	sessions      map[string]*session
	order         []*session
	recordingKeys map[string]string // of every key that an auditor signed, what it is for
	dead          map[string]bool   // fingerprints of revoked keys
	cuts          map[uint64]struck
	revoked       map[string]uint64     // how often each target was
	holding       []control.Revocation  // those that kept something away for a time
	unclaimed     map[string]*claim     // session to its certificate, until the session leaf comes
	views         map[string]uint64     // how many of each person
	owing         map[string][]*request // emergencies of each person that were not reviewed
	looking       *looking              // the view that was logged right before
	custody       custody
	crossings     map[string]bool // session, limit and how often it was released before
	heldBack      map[string]int  // requests that limits hold, and how many
	halting       *control.Risk   // that was logged right before, with a hold
	crossed       *control.Risk   // whose revocation has to follow
}

// steppedBack is how far the CA's clock may be set back before it is worth a failure: times in the log decide what was
// in time.
const steppedBack = time.Minute

func (v *verifier) fail(format string, args ...any) {
	v.report.Failures = append(v.report.Failures, Failure{v.at, fmt.Sprintf(format, args...)})
}

func (v *verifier) note(leaf int64, format string, args ...any) {
	v.report.Notes = append(v.report.Notes, Failure{leaf, fmt.Sprintf(format, args...)})
}

func (v *verifier) entry(e auditlog.Entry) {
	if v.at == 0 && e.Type != auditlog.TypeGenesis {
		v.fail("the first leaf is not the genesis but %q", e.Type)
	}
	if e.At.Before(v.clock.Add(-steppedBack)) {
		v.fail("the CA's clock went back from %s to %s", v.clock.UTC().Format(time.RFC3339), e.At.UTC().Format(time.RFC3339))
	}
	if e.At.After(v.clock) {
		v.clock = e.At
	}
	if e.Type != auditlog.TypeCertificate || e.Certificate == nil || e.Certificate.CA != userCA || e.Certificate.Request != "" {
		v.looking = nil // what a view lets an auditor at follows it at once
	}
	if e.Type != auditlog.TypeHalt {
		v.halting = nil
	}
	v.followed(e.Revocation != nil, e.State != nil && e.State.State == control.Revoked)
	if err := signedOff(e); err != nil {
		v.fail("%v", err)
	}
	switch {
	case e.Type == auditlog.TypeGenesis && e.Genesis != nil:
		v.genesis(*e.Genesis)
	case e.Type == auditlog.TypePolicy && e.Policy != nil:
		v.newPolicy(*e.Policy, e.At)
	case e.Type == auditlog.TypeRequest && e.Request != nil:
		v.request(*e.Request)
	case e.Type == auditlog.TypeVote && e.Vote != nil:
		v.vote(*e.Vote, e.At)
	case e.Type == auditlog.TypeState && e.State != nil:
		v.state(*e.State, e.At)
	case e.Type == auditlog.TypeExtension && e.Extension != nil:
		v.extension(*e.Extension, e.Actor, e.At)
	case e.Type == auditlog.TypeHalt && e.Halt != nil:
		v.halt(*e.Halt, e.At)
	case e.Type == auditlog.TypeCertificate && e.Certificate != nil:
		v.certificate(*e.Certificate, e.Actor, e.At)
	case e.Type == auditlog.TypeRevocation && e.Revocation != nil:
		v.revocation(*e.Revocation, e.At)
	case e.Type == auditlog.TypeCut && e.Cut != nil:
		v.cutReceipt(*e.Cut, e.Actor)
	case e.Type == auditlog.TypeHostEnded && e.HostEnded != nil:
		v.hostEnded(*e.HostEnded, e.At)
	case e.Type == auditlog.TypeRisk && e.Risk != nil:
		v.risk(*e.Risk, e.Actor, e.At)
	case e.Type == auditlog.TypeSession && e.Session != nil:
		v.session(*e.Session, e.At)
	case e.Type == auditlog.TypeProgress && e.Progress != nil:
		v.progress(*e.Progress, e.Actor, e.At)
	case e.Type == auditlog.TypeRecordingKey && e.RecordingKey != nil:
		v.recordingKey(*e.RecordingKey)
	case e.Type == auditlog.TypeRewrap && e.Rewrap != nil:
		v.rewrap(*e.Rewrap, e.At)
	case e.Type == auditlog.TypeCustody && e.Custody != nil:
		v.decision(*e.Custody, e.At)
	case e.Type == auditlog.TypeDeletion && e.Deletion != nil:
		v.deletion(*e.Deletion, e.At)
	case e.Type == auditlog.TypeReceipt && e.Receipt != nil:
		v.receipt(*e.Receipt)
	case e.Type == auditlog.TypeOverdue && e.Overdue != nil:
		v.overdue(*e.Overdue, e.At)
	case e.Type == auditlog.TypeSheet && e.Sheet != nil:
		v.sheet(*e.Sheet, e.Actor)
	case e.Type == auditlog.TypeSheetUse && e.SheetUse != nil:
		v.sheetUse(*e.SheetUse, e.At)
	case e.Type == auditlog.TypeView && e.View != nil:
		v.view(*e.View, e.Actor, e.At)
	default:
		// What cannot be understood cannot be proven; a later version may know it.
		v.fail("an entry of type %q that this version cannot check", e.Type)
	}
}

func (v *verifier) genesis(g auditlog.Genesis) {
	if v.at != 0 {
		v.fail("a second genesis")
		return
	}
	v.ca = g.Name
	for _, k := range []struct {
		name, line string
		trusted    ssh.PublicKey
	}{
		{"user", g.UserCA, v.keys.User}, {"session", g.SessionCA, v.keys.Session},
		{"host", g.HostCA, v.keys.Host}, {"gateway", g.GatewayCA, v.keys.Gateway},
	} {
		if key, err := parseKey(k.line); err != nil || !same(key, k.trusted) {
			v.fail("the log is of another %s CA key than the one you trust", k.name)
		}
	}
}
