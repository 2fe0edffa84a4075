package main

import (
	"errors"
	"slices"
	"testing"
	"time"

	"postern/internal/control"
)

func TestWhoReadsWhatIsTyped(t *testing.T) {
	recipient := func(name string) control.Recipient {
		return control.Recipient{Name: name, ID: control.RecipientID(name), Public: name}
	}
	mine := func() (control.Recipient, error) { return recipient("carol"), nil }
	none := func() (control.Recipient, error) { return control.Recipient{}, errors.New("no identity here") }
	for _, c := range []struct {
		mine        func() (control.Recipient, error)
		purpose     string
		named, want []string
		alone       bool
	}{
		{mine, "", nil, []string{"carol"}, false},
		{mine, "", []string{"cara"}, []string{"carol", "cara"}, false},
		{mine, "", []string{"cara", "carol"}, []string{"carol", "cara"}, false},
		{mine, control.Keystrokes, nil, []string{"carol"}, true},
		{mine, control.Keystrokes, []string{"dana", "frank"}, []string{"dana", "frank"}, false},
		{none, control.Keystrokes, []string{"dana"}, []string{"dana"}, false}, // who makes it need not be able to read
	} {
		var named []control.Recipient
		for _, name := range c.named {
			named = append(named, recipient(name))
		}
		to, alone, err := readers(c.purpose, named, c.mine)
		var names []string
		for _, r := range to {
			names = append(names, r.Name)
		}
		if err != nil || !slices.Equal(names, c.want) || alone != c.alone {
			t.Errorf("%q to %v: %v, alone %v: %v", c.purpose, c.named, names, alone, err)
		}
	}
	if _, _, err := readers(control.Keystrokes, nil, none); err == nil {
		t.Error("a key that nobody could open")
	}
}

func TestRemindOfKeys(t *testing.T) {
	for at, lacks := range map[string]bool{"2026-11-25": false, "2026-11-27": true, "2026-11-30": true, "2026-12-31": true} {
		now, err := time.Parse(time.DateOnly, at)
		if err != nil {
			t.Fatal(err)
		}
		if got := lackingSoon([]control.RecordingKey{{Month: "2026-11"}, {Month: "2027-01", Purpose: control.Keystrokes}}, now) != ""; got != lacks {
			t.Errorf("%s: a key is missing: %v", at, got)
		}
	}
	end := time.Date(2026, 12, 30, 0, 0, 0, 0, time.UTC)
	if month := lackingSoon([]control.RecordingKey{{Month: "2027-01"}}, end); month != "" {
		t.Errorf("%s has a key", month)
	}
}
