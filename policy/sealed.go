package policy

import (
	"fmt"
	"regexp"
	"time"
)

// MaxSealed is the longest that a sealed grant may lie in a drawer.
const MaxSealed = 90 * 24 * time.Hour

// Sealed is what a rule says of sealed grants: emergency access that is approved beforehand, kept on paper, and good at a bastion that has
// lost its CA.
type Sealed struct {
	Valid  time.Duration // how long a sheet is good after it was asked for
	Review Review        // how long the one session lasts, and what is owed after it was used
}

func (s Sealed) String() string {
	return fmt.Sprintf("%s valid %dd review %s by %s", Brief(s.Review.Max), int(s.Valid/(24*time.Hour)), Brief(s.Review.Within), needsText(s.Review.Needs))
}

var sealedForm = regexp.MustCompile(`^(\S+) valid (\S+) (review \S+ by \S.*)$`)

// sealed makes the duties of a rule those of sealed grants: everything is kept, it is short, and approvals come first.
func (d *duties) seal(value string) error {
	m := sealedForm.FindStringSubmatch(value)
	if m == nil {
		return fmt.Errorf(`%q is not of the form "15m valid 30d review 24h by 1 of privacy"`, value)
	}
	days, err := parseDays(m[2])
	if err != nil {
		return err
	}
	valid := time.Duration(days) * 24 * time.Hour
	if valid > MaxSealed {
		return fmt.Errorf("%s is more than %d days, which no sealed grant may be good for", m[2], int(MaxSealed/(24*time.Hour)))
	}
	review, err := parseEmergency(m[1] + " " + m[3])
	if err != nil {
		return err
	}
	d.sealed, d.max = &Sealed{valid, *review}, review.Max
	d.keep = keep{FilesFull, Full, Full}
	return nil
}

// notInSealed are the annotations that say otherwise what @sealed says. Approvals it needs: nobody can ask for them later.
var notInSealed = []string{"emergency", "max", "files", "streams", "forwards", "source"}

// Stricter unites what two rules for sealed grants want.
func (s *Sealed) Stricter(o *Sealed) *Sealed {
	if s == nil || o == nil {
		return s
	}
	return &Sealed{min(s.Valid, o.Valid), *s.Review.Stricter(&o.Review)}
}

func (d duties) reviewed() *Review {
	if d.sealed != nil {
		return &d.sealed.Review
	}
	return d.review
}

// SealedRules are the rules that allow sealed grants, by id.
func (s *Set) SealedRules() map[string]Sealed {
	found := map[string]Sealed{}
	for id, r := range s.rules.byID {
		if r.duties.sealed != nil {
			found[id] = *r.duties.sealed
		}
	}
	return found
}
