package command

import (
	"strings"
	"testing"
	"time"
)

func TestSince(t *testing.T) {
	east := time.FixedZone("east", 2*60*60)
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, east)
	for text, want := range map[string]string{
		"30d": "2026-10-23T12:00:00+02:00", "12h": "2026-11-22T00:00:00+02:00", "2w": "2026-11-08T12:00:00+02:00",
		"1h30m": "2026-11-22T10:30:00+02:00", "0s": "2026-11-22T12:00:00+02:00", "0d": "2026-11-22T12:00:00+02:00",
		"2026-10-01": "2026-10-01T00:00:00+02:00", "2026-10-01 14:30": "2026-10-01T14:30:00+02:00",
		"2026-10-01T14:30:05": "2026-10-01T14:30:05+02:00", "2026-10-01T14:30:05Z": "2026-10-01T14:30:05Z",
	} {
		if got, err := Since(text, now); err != nil || got.Format(time.RFC3339) != want {
			t.Errorf("%s is %s, want %s: %v", text, got.Format(time.RFC3339), want, err)
		}
	}
	for _, text := range []string{"", "d", "w", "-3d", "+3d", "-3h", "3", "3 d", "3.5d", "1d12h", "9999999999w", "4294967295w", "yesterday", "2026-13-01", "2026-10-1"} {
		if got, err := Since(text, now); err == nil || !strings.Contains(err.Error(), "30d") {
			t.Errorf("%q is %s: %v", text, got, err)
		}
	}
}
