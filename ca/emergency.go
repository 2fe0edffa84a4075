package ca

import (
	"cmp"
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

// A person's emergencies that owe something: name / R-… A request leaves when its review is complete, and cleared if it was misused; or when it is over unused.
const reviewRows = "review/"

// urge makes a request an emergency: it owes a review, and what is typed is recorded if there is a key for it. Who owes an overdue
// review, or misused one, has no other emergency.
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

// owesNothing refuses who has an overdue review, or misused an emergency, and names it.
func (ca *CA) owesNothing(tx *store.Tx, person string) error {
	now := ca.now()
	return eachReview(tx, reviewRows+person+"/", func(r request) error {
		if r.Owes.Misuse() {
			return refuse("%s, an emergency of %s's, was found misused; until somebody else of those who review it (%s) has cleared them there is no other one: postern clear %s",
				r.ID, person, wanted(r.Owes.Needs), r.ID)
		}
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

// Finding is what somebody signs about an emergency that is over: a review with its verdict, or that its person is cleared.
type Finding struct {
	Decision string // control.Review or control.Clear
	Verdict  string // of a review
	Because  string
}

func (f Finding) clean() (Finding, error) {
	switch {
	case f.Decision == control.Review && f.Verdict != control.Justified && f.Verdict != control.Misused:
		return f, refuse("say what you found: --verdict %s, or --verdict %s", control.Justified, control.Misused)
	case f.Decision == control.Clear && f.Verdict != "":
		return f, refuse("only a review has a verdict")
	}
	because, err := cleanReason(f.Because)
	f.Because = because
	return f, err
}

func (ca *CA) finding(r request, person string, f Finding) string {
	return statement.About(r.Request, ca.keys.Name, f.Decision, person, f.Because).Finding(f.Verdict).Text()
}

// FindingStatement is the text that the caller would sign, if it is theirs to sign.
func (ca *CA) FindingStatement(c Caller, id string, f Finding) (text string, err error) {
	if f, err = f.clean(); err != nil {
		return "", err
	}
	err = ca.db.View(func(tx *store.Tx) error {
		r, err := ca.visible(tx, c, id)
		if err != nil {
			return err
		}
		text = ca.finding(r, c.Name, f)
		r.State = cmp.Or(r.passed(ca.now()), r.State)
		return ca.mayFind(tx, c, r, f.Decision)
	})
	if err != nil {
		return "", err
	}
	return text, nil
}

// Review takes what somebody signed about an emergency that is over.
func (ca *CA) Review(c Caller, id string, f Finding, signature []byte) (control.Request, error) {
	f, err := f.clean()
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
		if err := ca.mayFind(tx, c, r, f.Decision); err != nil {
			return err
		}
		vote, err := ca.signed(tx, c, r, f.Decision, ca.finding(r, c.Name, f), signature)
		if err != nil {
			return err
		}
		vote.Verdict = f.Verdict
		r.Votes = append(r.Votes, vote)
		if err := ca.settle(tx, &r, vote); err != nil {
			return err
		}
		err = ca.record(tx, auditlog.Entry{Type: auditlog.TypeVote, Actor: c.Name, Vote: &auditlog.Vote{Request: r.ID, Vote: vote}})
		if err != nil {
			return err
		}
		return r.save(tx)
	})
	return ca.shown(r).Request, err
}

// settle draws the consequence of a finding.
func (ca *CA) settle(tx *store.Tx, r *request, vote control.Vote) error {
	if vote.Decision == control.Clear {
		r.Owes.Cleared = vote.At
	} else {
		done, _ := ca.reviewed(*r)
		r.Owes.Found(vote.Verdict, done, vote.At)
	}
	if !r.Owes.Settled() {
		return nil
	}
	return tx.Delete(reviewRow(r.Owing(), r.ID))
}

// mayFind is all that is looked at before the signature.
func (ca *CA) mayFind(tx *store.Tx, c Caller, r request, decision string) error {
	if err := ca.mayReview(c, r, decision); err != nil {
		return err
	}
	return ca.keptFrom(tx, r, decision, c.Name, c.Key)
}

// mayReview says whether this finding is the caller's to sign, before any signature is looked at.
func (ca *CA) mayReview(c Caller, r request, decision string) error {
	switch {
	case r.Owes == nil:
		return refuse("%s is no emergency; only those are reviewed", r.ID)
	case c.Name == r.Person || c.Name == r.Owing():
		return refuse("%s was %s's own emergency; nobody reviews their own, with any key", r.ID, c.Name)
	case r.live():
		return refuse("%s is %s; an emergency is reviewed when it is over", r.ID, r.State)
	case r.Began.IsZero():
		return refuse("%s was never used; there is nothing to review", r.ID)
	}
	if err := mayStill(c, r, decision); err != nil {
		return err
	}
	set := ca.policy.Load()
	if !slices.ContainsFunc(r.Owes.Needs, func(n control.Need) bool { return set.InGroup(c.Name, n.Group) }) {
		return refuse("%s is in none of the groups that review %s (%s)", c.Name, r.ID, wanted(r.Owes.Needs))
	}
	return nil
}

// mayStill says whether there is anything left for the caller to say. Who found the misuse clears nobody of it: that takes another pair of eyes.
func mayStill(c Caller, r request, decision string) error {
	found := slices.ContainsFunc(r.Votes, func(v control.Vote) bool { return v.Person == c.Name && v.Verdict == control.Misused })
	switch {
	case decision == control.Review && !r.Owes.Done.IsZero():
		return refuse("the review of %s is complete", r.ID)
	case decision == control.Review && slices.ContainsFunc(r.Votes, func(v control.Vote) bool { return v.Decision == control.Review && v.Person == c.Name }):
		return refuse("%s has reviewed %s already", c.Name, r.ID)
	case decision == control.Review:
		return nil
	case r.Owes.Done.IsZero():
		return refuse("the review of %s is not complete; that comes first: postern review %s", r.ID, r.ID)
	case !r.Owes.Misuse():
		return refuse("there is nothing to clear: nobody is kept from emergencies because of %s", r.ID)
	case found:
		return refuse("%s found that %s was misused; somebody else clears it", c.Name, r.ID)
	}
	return nil
}

// Reviews lists the emergencies that owe something and that the caller may see, the most urgent first.
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
	var unused [][]byte
	var late []string
	err := ca.db.View(func(tx *store.Tx) error {
		return eachReview(tx, reviewRows, func(r request) error {
			switch {
			case r.Began.IsZero() && !r.live():
				unused = append(unused, reviewRow(r.Owing(), r.ID))
			case r.Overdue(now) && !r.Late:
				late = append(late, r.ID)
			}
			return nil
		})
	})
	for part := range slices.Chunk(unused, forgetTogether) {
		if err == nil {
			err = ca.db.Update(func(tx *store.Tx) error { return forget(tx, part) })
		}
	}
	for _, id := range late {
		if err == nil {
			err = ca.db.Update(func(tx *store.Tx) error { return ca.late(tx, id) })
		}
	}
	return err
}

// late logs that a review did not come in time, unless it came since.
func (ca *CA) late(tx *store.Tx, id string) error {
	if err := ca.overtake(tx, id); err != nil {
		return err
	}
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
