package policy

import (
	"fmt"
	"slices"
	"strings"

	"postern/internal/destination"
)

// maxDestinations bounds what an approver has to read.
const maxDestinations = 32

// parseDestinations returns where forwards may lead, each in its one form, sorted.
func parseDestinations(value string) ([]string, error) {
	var all []string
	for part := range strings.SplitSeq(value, ",") {
		p, err := destination.Parse(strings.TrimSpace(part))
		if err != nil {
			return nil, err
		}
		all = append(all, p.String())
	}
	slices.Sort(all)
	all = slices.Compact(all)
	if len(all) > maxDestinations {
		return nil, fmt.Errorf("%d destinations, at most %d fit; use a range, or another rule", len(all), maxDestinations)
	}
	return all, nil
}

// lead finds where the permits let forward-local lead. One that does not say grants nothing, so it binds nobody either. It
// returns why there is nothing left, "" if there is.
func (v *verdict) lead() string {
	leading := slices.DeleteFunc(slices.Clone(v.permits), func(r *rule) bool { return len(r.duties.destinations) == 0 })
	if len(leading) == 0 {
		return v.permits.place() + plural(len(v.permits), " lacks", " lack") + " @destinations, so no forward may lead anywhere"
	}
	v.permits, v.destinations = leading, leading[0].duties.destinations
	for _, r := range leading[1:] {
		v.destinations = common(v.destinations, r.duties.destinations)
	}
	if len(v.destinations) == 0 {
		return leading.place() + " have no destination in common"
	}
	return ""
}

// common returns what stands in both lists, in the order of the first.
func common(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return !slices.Contains(b, s) })
}

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}
