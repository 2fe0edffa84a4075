package ca

import (
	"errors"
	"slices"
	"strings"
	"time"

	"postern/ca/auditlog"
	"postern/ca/statement"
	"postern/internal/control"
	"postern/internal/store"
	"postern/policy"
)

// A person's emergencies that were used and not reviewed: name / R-… A request leaves when its review is complete, or when it is over unused.
const reviewRows = "review/"

// urge makes a request an emergency: it owes a review, and what is typed is recorded if there is a key for it. Who owes an overdue
// review has no other emergency.
func (ca *CA) urge(tx *store.Tx, r *request, owed *policy.Review) error {
	if err := ca.owesNothing(tx, r.Person); err != nil {
		return err
	}
	r.Emergency = true
	r.Owes = &control.ReviewOf{By: r.Created.Add(owed.Within), Needs: needs(owed.Needs)}
	_, err := ca.currentKey(tx, control.Keystrokes)
	var none *Refused
	if err != nil && !errors.As(err, &none) {
		return err
	}
	r.Record.Keystrokes = r.Record.Keystrokes || err == nil
	return tx.Set(reviewRow(r.Person, r.ID), nil)
}

func reviewRow(person, id string) []byte { return key(reviewRows, person+"/"+id) }

// owesNothing refuses who has an overdue review, and names it.
func (ca *CA) owesNothing(tx *store.Tx, person string) error {
	now := ca.now()
	return eachReview(tx, reviewRows+person+"/", func(r request) error {
		if !r.Overdue(now) {
			return nil
		}
		_, have := ca.reviewed(r)
		return refuse("the review of %s, an emergency of %s's, was due %s; until it is signed there is no other one. It waits for %s: postern review %s",
			r.ID, person, r.Owes.By.Format(time.RFC3339), missing(have), r.ID)
	})
}

// eachReview calls fn with every request whose review is open, of one person or, for the prefix reviewRows, of all.
func eachReview(tx *store.Tx, prefix string, fn func(request) error) error {
	return tx.Scan([]byte(prefix), func(k, _ []byte) error {
		r, err := load(tx, string(k[strings.LastIndexByte(string(k), '/')+1:]))
		if err == nil {
			err = fn(r)
		}
		return err
	})
}

// reviewed says whether the reviews there are fill what is owed, and who stands for what.
func (ca *CA) reviewed(r request) (bool, []control.Need) {
	var reviewers []string
	for _, v := range r.Votes {
		if v.Decision == control.Review && v.Person != r.Person && v.Person != r.Owing() {
			reviewers = append(reviewers, v.Person)
		}
	}
	return assign(r.Owes.Needs, reviewers, ca.policy.Load().InGroup)
}

// Review takes the signed review of an emergency that is over.
func (ca *CA) Review(c Caller, id, because string, signature []byte) (control.Request, error) {
	because, err := ca.because(control.Review, because)
	if err != nil {
		return control.Request{}, err
	}
	var r request
	err = ca.db.Update(func(tx *store.Tx) error {
		if r, err = ca.visible(tx, c, id); err != nil {
			return err
		}
		if err := ca.expire(tx, r.ID); err != nil { // that its time passed comes first in the log
			return err
		}
		if r, err = load(tx, r.ID); err != nil {
			return err
		}
		if err := ca.mayReview(c, r); err != nil {
			return err
		}
		if err := ca.held(tx, control.Traits{Person: c.Name, Keys: []string{c.Key}, Approvers: []string{c.Name}}); err != nil {
			return err
		}
		text := statement.About(r.Request, ca.keys.Name, control.Review, c.Name, because).Text()
		vote, err := ca.signed(tx, c, r, control.Review, text, signature)
		if err != nil {
			return err
		}
		r.Votes = append(r.Votes, vote)
		if done, _ := ca.reviewed(r); done {
			r.Owes.Done = vote.At
			if err := tx.Delete(reviewRow(r.Owing(), r.ID)); err != nil {
				return err
			}
		}
		err = ca.record(tx, auditlog.Entry{Type: auditlog.TypeVote, Actor: c.Name, Vote: &auditlog.Vote{Request: r.ID, Vote: vote}})
		if err != nil {
			return err
		}
		return r.save(tx)
	})
	return ca.shown(r).Request, err
}

// mayReview says whether this review is the caller's to sign, before any signature is looked at.
func (ca *CA) mayReview(c Caller, r request) error {
	switch {
	case r.Owes == nil:
		return refuse("%s is no emergency; only those are reviewed", r.ID)
	case c.Name == r.Person || c.Name == r.Owing():
		return refuse("%s was %s's own emergency; nobody reviews their own, with any key", r.ID, c.Name)
	case r.live():
		return refuse("%s is %s; an emergency is reviewed when it is over", r.ID, r.State)
	case r.Began.IsZero():
		return refuse("%s was never used; there is nothing to review", r.ID)
	case !r.Owes.Done.IsZero():
		return refuse("the review of %s is complete", r.ID)
	case slices.ContainsFunc(r.Votes, func(v control.Vote) bool { return v.Decision == control.Review && v.Person == c.Name }):
		return refuse("%s has reviewed %s already", c.Name, r.ID)
	}
	set := ca.policy.Load()
	if !slices.ContainsFunc(r.Owes.Needs, func(n control.Need) bool { return set.InGroup(c.Name, n.Group) }) {
		return refuse("%s is in none of the groups that review %s (%s)", c.Name, r.ID, wanted(r.Owes.Needs))
	}
	return nil
}

// Reviews lists the emergencies whose review is open and that the caller may see, the most urgent first.
func (ca *CA) Reviews(c Caller) ([]control.Request, error) {
	var list []control.Request
	err := ca.db.View(func(tx *store.Tx) error {
		return eachReview(tx, reviewRows, func(r request) error {
			if ca.sees(c, r) {
				list = append(list, ca.shown(r).Request)
			}
			return nil
		})
	})
	slices.SortFunc(list, func(a, b control.Request) int { return a.Owes.By.Compare(b.Owes.By) })
	return list, err
}

// sweepReviews logs what is overdue, once, and forgets emergencies that were never used.
func (ca *CA) sweepReviews(now time.Time) error {
	var unused, late []request
	err := ca.db.View(func(tx *store.Tx) error {
		return eachReview(tx, reviewRows, func(r request) error {
			switch {
			case r.Began.IsZero() && !r.live():
				unused = append(unused, r)
			case r.Overdue(now) && !r.Late:
				late = append(late, r)
			}
			return nil
		})
	})
	if err != nil || len(unused)+len(late) == 0 {
		return err
	}
	return ca.db.Update(func(tx *store.Tx) error {
		for _, r := range unused {
			if err := tx.Delete(reviewRow(r.Owing(), r.ID)); err != nil {
				return err
			}
		}
		for _, r := range late {
			if err := ca.late(tx, r.ID); err != nil {
				return err
			}
		}
		return nil
	})
}

// late logs that a review did not come in time, unless it came since.
func (ca *CA) late(tx *store.Tx, id string) error {
	r, err := load(tx, id)
	if err != nil || r.Late || !r.Overdue(ca.now()) {
		return err
	}
	r.Late = true
	if err := r.save(tx); err != nil {
		return err
	}
	return ca.record(tx, auditlog.Entry{Type: auditlog.TypeOverdue, Actor: "ca",
		Overdue: &control.Overdue{Request: r.ID, Person: r.Owing(), By: r.Owes.By}})
}

// emergencies are the rules of a policy that grant at once, as the log has them.
func emergencies(set *policy.Set) map[string]auditlog.Emergency {
	rules := map[string]auditlog.Emergency{}
	for id, review := range set.Emergencies() {
		rules[id] = auditlog.Emergency{MaxSeconds: int64(review.Max / time.Second), ReviewSeconds: int64(review.Within / time.Second), Needs: needs(review.Needs)}
	}
	return rules
}
