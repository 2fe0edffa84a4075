package ca

import (
	"fmt"
	"strings"
	"time"

	"postern/internal/control"
	"postern/internal/store"
)

// unfit is a grant that is alive and that the policy in force would not give.
type unfit struct {
	request
	why  string
	live int // sessions, which go on
}

// SayUnfit logs what a policy that came into force leaves behind. Such a grant opens nothing and gets no certificate any more, but what is live of
// it goes on to its end: the people in it were let in by the rules of then. Who wants it to end now revokes it.
func (ca *CA) SayUnfit() error {
	list, err := ca.unfit()
	for _, u := range list {
		ca.log.Warn("the policy in force would not give this grant; what is live of it goes on to its end unless you revoke it",
			"request", u.ID, "person", u.Person, "targets", strings.Join(u.Targets, " "), "live", u.live, "ends", u.Ends.UTC().Format(time.RFC3339),
			"why", u.why, "revoke", "postern revoke "+u.ID+" --reason 'not by the new policy'")
	}
	if err != nil {
		return fmt.Errorf("which grants the policy would not give: %w", err)
	}
	return nil
}

func (ca *CA) unfit() (list []unfit, err error) {
	err = ca.db.View(func(tx *store.Tx) error {
		return eachLive(tx, func(r request) error {
			if r.State != control.Granted || !ca.now().Before(r.Ends) {
				return nil
			}
			_, no := ca.stillApproved(tx, r)
			if no == nil {
				return nil
			}
			live, err := hitSessions(tx, nil, []request{r})
			list = append(list, unfit{r, no.Error(), len(live)})
			return err
		})
	})
	return list, err
}
