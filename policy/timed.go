package policy

import "strings"

// Timed reports whether the answer to a query may depend on when it is asked. It is true too often rather than too seldom.
func (s *Set) Timed() bool {
	for _, r := range s.rules.byID {
		for _, word := range []string{"hour", "weekday", "now", `\`} { // a backslash can spell any of them
			if strings.Contains(r.source, word) {
				return true
			}
		}
	}
	return false
}
