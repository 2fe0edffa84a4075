package policy

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"postern/internal/environment"
	"postern/internal/limit"
)

// Need is one requirement on approvals: Count different people of Group.
type Need struct {
	Count int    `json:"count"`
	Group string `json:"group"`
}

func (n Need) String() string { return fmt.Sprintf("%d of %s", n.Count, n.Group) }

// duties is what a permit obliges to.
type duties struct {
	needs                             []Need // sorted by group, a group once
	max, claim                        time.Duration
	idle                              time.Duration // 0: no limit
	hold                              time.Duration // 0: as bastions will
	touch, pin, pinSource, keystrokes bool
	environment                       []string // sorted
	keep                              keep
	retain                            int64    // days; 0: for ever
	destinations                      []string // sorted; of forward-local alone
	review                            *Review  // not nil: it grants at once, and this follows
	sealed                            *Sealed  // not nil: it is for sealed grants alone
	limits                            limit.List
}

func noDuties() duties { return duties{max: DefaultMax, claim: DefaultClaim, keep: unsaid} }

// annotations are the names a permit may carry besides @id, and what each does.
var annotations = map[string]func(d *duties, value string) error{
	"approve":      func(d *duties, v string) (err error) { d.needs, err = parseNeeds(v); return },
	"max":          func(d *duties, v string) (err error) { d.max, err = parseDuration(v, HardMax); return },
	"claim":        func(d *duties, v string) (err error) { d.claim, err = parseDuration(v, MaxClaim); return },
	"hold":         func(d *duties, v string) (err error) { d.hold, err = parseDuration(v, HardMax); return },
	"idle":         func(d *duties, v string) (err error) { d.idle, err = parseDuration(v, HardMax); return },
	"touch":        func(d *duties, v string) (err error) { d.touch, err = parseBool(v); return },
	"pin":          func(d *duties, v string) (err error) { d.pin, err = parseBool(v); return },
	"source":       func(d *duties, v string) (err error) { d.pinSource, err = parsePinSource(v); return },
	"keystrokes":   func(d *duties, v string) (err error) { d.keystrokes, err = parseBool(v); return },
	"environment":  func(d *duties, v string) (err error) { d.environment, err = parseEnvironment(v); return },
	"files":        func(d *duties, v string) (err error) { d.keep.files, err = parseFiles(v); return },
	"streams":      func(d *duties, v string) (err error) { d.keep.streams, err = parseSize(v); return },
	"forwards":     func(d *duties, v string) (err error) { d.keep.forwards, err = parseSize(v); return },
	"retain":       func(d *duties, v string) (err error) { d.retain, err = parseDays(v); return },
	"limits":       func(d *duties, v string) (err error) { d.limits, err = parseLimits(v); return },
	"destinations": func(d *duties, v string) (err error) { d.destinations, err = parseDestinations(v); return },
	"emergency":    func(d *duties, v string) error { return d.emergency(v) },
	"sealed":       func(d *duties, v string) error { return d.seal(v) },
}

func annotationNames() []string {
	names := []string{"@id"}
	for name := range annotations {
		names = append(names, "@"+name)
	}
	return names
}

var needForm = regexp.MustCompile(`^([1-9][0-9]?) of (\S+)$`)

func parseNeeds(value string) ([]Need, error) {
	var needs []Need
	for part := range strings.SplitSeq(value, ",") {
		m := needForm.FindStringSubmatch(strings.TrimSpace(part))
		if m == nil {
			return nil, fmt.Errorf("%q is not of the form \"1 of privacy, 1 of ehr-owners\"", value)
		}
		if slices.ContainsFunc(needs, func(n Need) bool { return n.Group == m[2] }) {
			return nil, fmt.Errorf("group %q stands twice", m[2])
		}
		count, err := strconv.Atoi(m[1])
		if err != nil {
			return nil, err
		}
		needs = append(needs, Need{count, m[2]})
	}
	slices.SortFunc(needs, byGroup)
	return needs, nil
}

func byGroup(a, b Need) int { return strings.Compare(a.Group, b.Group) }

func parseDuration(value string, limit time.Duration) (time.Duration, error) {
	d, err := time.ParseDuration(value)
	switch {
	case err != nil:
		return 0, fmt.Errorf("%q is not a duration such as 30m or 1h", value)
	case d < time.Second || d%time.Second != 0:
		return 0, fmt.Errorf("%s is not a positive number of whole seconds", value)
	case d > limit:
		return 0, fmt.Errorf("%s is more than %s, which nothing may exceed", value, Brief(limit))
	}
	return d, nil
}

func parseBool(value string) (bool, error) {
	if value != "true" && value != "false" {
		return false, fmt.Errorf("%q is neither \"true\" nor \"false\"", value)
	}
	return value == "true", nil
}

func parsePinSource(value string) (bool, error) {
	if value != "pin" {
		return false, fmt.Errorf("%q is unknown; the only value is \"pin\"", value)
	}
	return true, nil
}

var variableForm = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*\*?$`)

func parseEnvironment(value string) ([]string, error) {
	var names []string
	for part := range strings.SplitSeq(value, ",") {
		name := strings.TrimSpace(part)
		if !variableForm.MatchString(name) {
			return nil, fmt.Errorf("%q is not a list of variables such as \"LANG, LC_*\"", value)
		}
		switch clash := environment.Clash(name); {
		case clash == "":
		case strings.HasSuffix(name, "*"):
			return nil, fmt.Errorf("%q would let %s pass, which changes what a program loads or runs and never may; name the variables one by one", name, clash)
		default:
			return nil, fmt.Errorf("%s changes what a program loads or runs; it never passes, whatever a policy says", name)
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// stricter unites what two rules demand: each of both is satisfied by whoever satisfies the result. What is kept and
// where forwards lead is united elsewhere, by the capability it belongs to.
func (d duties) stricter(o duties) duties {
	return duties{
		needs:       uniteNeeds(d.needs, o.needs),
		max:         min(d.max, o.max),
		claim:       min(d.claim, o.claim),
		idle:        shorterIdle(d.idle, o.idle),
		hold:        shorterIdle(d.hold, o.hold),
		touch:       d.touch || o.touch,
		pin:         d.pin || o.pin,
		pinSource:   d.pinSource || o.pinSource,
		keystrokes:  d.keystrokes || o.keystrokes,
		environment: intersect(d.environment, o.environment),
		retain:      Longer(d.retain, o.retain),
		review:      d.review.Stricter(o.review),
		sealed:      d.sealed.Stricter(o.sealed),
		limits:      limit.Unite(d.limits, o.limits),
	}
}

// maxLimits bounds what one rule says, so that those of several fit together.
const maxLimits = 16

func parseLimits(value string) (limit.List, error) {
	list, err := limit.Parse(value)
	switch {
	case err != nil:
		return nil, err
	case len(list) == 0:
		return nil, fmt.Errorf("no limit is named, as in \"bytes-out 100M hold; denied 5 revoke\"")
	case len(list) > maxLimits:
		return nil, fmt.Errorf("%d limits, at most %d fit", len(list), maxLimits)
	}
	return list, nil
}

// Longer is the longer of two times that recordings are kept, in days; 0 is for ever.
func Longer(a, b int64) int64 {
	if a == 0 || b == 0 {
		return 0
	}
	return max(a, b)
}

var daysForm = regexp.MustCompile(`^([1-9][0-9]{0,4})d$`)

func parseDays(value string) (int64, error) {
	m := daysForm.FindStringSubmatch(value)
	if m == nil {
		return 0, fmt.Errorf("%q is not a number of days such as 2192d", value)
	}
	return strconv.ParseInt(m[1], 10, 64)
}

func uniteNeeds(a, b []Need) []Need {
	united := slices.Clone(a)
	for _, n := range b {
		i, found := slices.BinarySearchFunc(united, n, byGroup)
		if found {
			united[i].Count = max(united[i].Count, n.Count)
		} else {
			united = slices.Insert(united, i, n)
		}
	}
	return united
}

func shorterIdle(a, b time.Duration) time.Duration {
	if a == 0 || b == 0 {
		return max(a, b)
	}
	return min(a, b)
}

// intersect returns the patterns that match what both lists match.
func intersect(a, b []string) []string {
	var both []string
	for _, pattern := range a {
		if coveredBy(b, pattern) {
			both = append(both, pattern)
		}
	}
	for _, pattern := range b {
		if coveredBy(a, pattern) {
			both = append(both, pattern)
		}
	}
	slices.Sort(both)
	return slices.Compact(both)
}

func coveredBy(list []string, pattern string) bool {
	return slices.ContainsFunc(list, func(wider string) bool {
		prefix, isPrefix := strings.CutSuffix(wider, "*")
		return wider == pattern || isPrefix && strings.HasPrefix(strings.TrimSuffix(pattern, "*"), prefix)
	})
}

// Brief prints a duration the way people write it: 30m, 1h30m, 90s.
func Brief(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
