package main

import (
	"slices"
	"testing"
	"time"

	"postern/internal/auditor"
	"postern/internal/control"
)

func TestWhoReadsWhatIsTyped(t *testing.T) {
	home := t.TempDir()
	mine, err := auditor.Create(home, nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		home, purpose string
		named, want   []string
		alone         bool
	}{
		{home, "", nil, []string{mine}, false},
		{home, "", []string{"cara"}, []string{mine, "cara"}, false},
		{home, control.Keystrokes, nil, []string{mine}, true},
		{home, control.Keystrokes, []string{"dana", "frank"}, []string{"dana", "frank"}, false},
		{t.TempDir(), control.Keystrokes, []string{"dana"}, []string{"dana"}, false}, // who makes it need not be able to read
	} {
		words, alone, err := recipients(c.home, c.named, c.purpose)
		if err != nil || !slices.Equal(words, c.want) || alone != c.alone {
			t.Errorf("%q to %v: %.30q, alone %v: %v", c.purpose, c.named, words, alone, err)
		}
	}
	if _, _, err := recipients(t.TempDir(), nil, control.Keystrokes); err == nil {
		t.Error("a key that nobody could open")
	}
}
