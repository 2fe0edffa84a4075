package main

import (
	"slices"
	"strings"
	"testing"
)

func TestFlagsFirst(t *testing.T) {
	for in, want := range map[string]string{
		"":                                  "",
		"principals root --name phi1":       "principals --name phi1 -- root",
		"principals --name phi1 root":       "principals --name phi1 -- root",
		"principals --name=phi1 root":       "principals --name=phi1 -- root",
		"principals --name phi1 -- -root":   "principals --name phi1 -- -root",
		"principals root --name":            "principals --name -- root",
		"principals root --help":            "principals --help",
		"serve --dir d --ca a:1":            "serve --dir d --ca a:1",
		"serve --reload --x --dir d":        "serve --reload --x --dir d",
		"frobnicate a --b":                  "frobnicate a --b",
		"--help":                            "--help",
		"principals root extra --name phi1": "principals --name phi1 -- root extra",
	} {
		args := append([]string{"postern-host"}, strings.Fields(in)...)
		if got := strings.Join(flagsFirst(newApp(), args)[1:], " "); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
	args := []string{"postern-host", "principals", "a", "--name", "b"}
	flagsFirst(newApp(), args)
	if !slices.Equal(args, []string{"postern-host", "principals", "a", "--name", "b"}) {
		t.Errorf("the caller's arguments changed to %q", args)
	}
}

func TestPrincipal(t *testing.T) {
	for _, good := range [][2]string{{"root", "phi1"}, {"_apt", "a.b-c"}, {"machine$", "h"}, {"O.Brien", "h"}} {
		if got, err := principal(good[0], good[1]); err != nil || got != good[0]+"@"+good[1] {
			t.Errorf("%q: %q, %v", good, got, err)
		}
	}
	for _, bad := range []string{"", "a b", "a\nroot@phi1", "a,b", "a@b", "#a", "-a", `from="*"`, "a\x00", "a\t", "ä", "root\n"} {
		for _, pair := range [][2]string{{bad, "phi1"}, {"root", bad}} {
			if got, err := principal(pair[0], pair[1]); err == nil {
				t.Errorf("%q became %q", pair, got)
			}
		}
	}
}
