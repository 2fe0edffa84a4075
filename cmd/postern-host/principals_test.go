package main

import "testing"

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
