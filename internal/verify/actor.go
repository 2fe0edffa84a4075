package verify

import (
	"fmt"

	"postern/ca/auditlog"
	"postern/internal/control"
)

// clockwork is the actor of what happens because time passes.
const clockwork = "ca"

// signedOff makes sure that a leaf names as its cause whom its content names: reports are made from either.
func signedOff(e auditlog.Entry) error {
	want := e.Actor
	switch {
	case e.Genesis != nil, e.Policy != nil, e.State != nil, e.Overdue != nil, e.Halt != nil:
		want = clockwork
	case e.Request != nil:
		want = e.Request.Person
	case e.Vote != nil:
		want = e.Vote.Person
	case e.Extension != nil && e.Extension.State != control.Pending:
		want = clockwork
	case e.Revocation != nil:
		want = e.Revocation.By
	case e.Risk != nil:
		want = e.Risk.Bastion
	case e.Cut != nil:
		want = e.Cut.Bastion
	case e.HostEnded != nil:
		want = e.HostEnded.Host
	case e.Session != nil:
		want = e.Session.Bastion
	case e.SheetUse != nil:
		want = e.SheetUse.Bastion
	case e.RecordingKey != nil:
		want = e.RecordingKey.Auditor
	case e.Rewrap != nil:
		want = e.Rewrap.Auditor
	case e.Custody != nil:
		want = e.Custody.Auditor
	case e.Receipt != nil && e.Receipt.Key == "":
		want = e.Receipt.Bastion
	case e.Receipt != nil:
		want = clockwork
	}
	if e.Actor != want {
		return fmt.Errorf("it is logged as of %.60q, and it is of %.60q", e.Actor, want)
	}
	return nil
}
