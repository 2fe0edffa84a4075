package command

import (
	"fmt"
	"math"
	"strconv"
	"time"
)

// units are those of [Span] beyond what time.ParseDuration knows. A day is 24 hours: it is about how old a recording is, not about
// calendars.
var units = map[byte]time.Duration{'d': 24 * time.Hour, 'w': 7 * 24 * time.Hour}

// dates are the ways to write a moment; those without a zone are in the local one.
var dates = []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02 15:04:05", "2006-01-02 15:04", time.DateOnly}

// Since is the moment that a text of --since or --until names: how long before now (30d, 12h, 2w, 90m), or a date or time, which is local
// unless it says otherwise (2026-10-01, 2026-10-01 14:30, or RFC 3339).
func Since(text string, now time.Time) (time.Time, error) {
	for _, layout := range dates {
		if t, err := time.ParseInLocation(layout, text, now.Location()); err == nil {
			return t, nil
		}
	}
	d, err := Span(text)
	if err != nil {
		return time.Time{}, fmt.Errorf("%q is neither how long ago, such as 30d, 12h or 2w, nor a date such as 2026-10-01", text)
	}
	return now.Add(-d), nil
}

// Span is a length of time such as 30d, 2w, 12h or 1h30m. It is not negative.
func Span(text string) (time.Duration, error) {
	if n := len(text) - 1; n > 0 && units[text[n]] != 0 {
		// Only digits: ParseInt would take a sign.
		count, err := strconv.ParseUint(text[:n], 10, 32)
		if unit := units[text[n]]; err == nil && count <= uint64(math.MaxInt64/unit) {
			return time.Duration(count) * unit, nil
		}
	} else if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return d, nil
	}
	return 0, fmt.Errorf("%q is not a length of time such as 30d, 2w or 12h", text)
}
