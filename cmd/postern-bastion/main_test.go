package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"postern/internal/command"
)

func TestMisuse(t *testing.T) {
	for _, name := range []string{"POSTERN_BASTION_DIR", "POSTERN_BASTION_NAME", "POSTERN_CA", "POSTERN_TRUST", "POSTERN_BASTION_AUDITORS"} {
		t.Setenv(name, "")
	}
	for _, test := range []struct{ typed, says string }{
		{`init`, `--dir is missing`},
		{`init x --dir d`, `"x" is one argument too many`},
		{`serve --dir d --name b --ca a:1 --trust t`, `--auditors is missing`},
		{`serve --dir d --name b --ca a:1 --auditors f`, `--trust is missing`},
		{`serve --accept-damage x`, `"x" is one argument too many`},
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
