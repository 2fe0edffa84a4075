package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"postern/internal/command"
)

func TestMisuse(t *testing.T) {
	for _, name := range []string{"POSTERN_CA_DIR", "POSTERN_CA_POLICY"} {
		t.Setenv(name, "")
	}
	for _, test := range []struct{ typed, says string }{
		{`init`, `--dir is missing`},
		{`init x --dir d`, `"x" is one argument too many`},
		{`serve`, `--dir is missing`},
		{`serve --dir d`, `--policy is missing`},
		{`serve --policy p`, `--dir is missing`},
		{`serve d --dir d --policy p`, `"d" is one argument too many`},
		{`serve --bogus`, `-bogus`},
		{`serve --dir d --policy p --admit 1s`, `to admit for 1s is not between 2s and 1m`},
		{`serve --dir d --policy p --keep 9s`, `to keep for 9s is not between 10s, as it admits, and 12h`},
		{`serve --dir d --policy p --keep 13h`, `--keep`},
		{`serve --dir d --policy p --keep forever`, `keep`},
		{`nosuch`, `no command "nosuch"`},
	} {
		app := newApp()
		var help bytes.Buffer
		app.Writer, app.ErrWriter = &help, &help
		err := command.Run(t.Context(), app, append([]string{app.Name}, strings.Fields(test.typed)...))
		var misuse command.UsageError
		if !errors.As(err, &misuse) || !strings.Contains(err.Error(), test.says) || help.Len() > 0 {
			t.Errorf("%s: %v, want misuse that says %q, and no help: %q", test.typed, err, test.says, &help)
		}
	}
}
