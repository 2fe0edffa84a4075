package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"postern/internal/command"
)

func TestMisuse(t *testing.T) {
	for _, name := range []string{"POSTERN_HOST_DIR", "POSTERN_HOST_NAME", "POSTERN_CA", "POSTERN_TRUST", "POSTERN_REVOKED_KEYS"} {
		t.Setenv(name, "")
	}
	for _, test := range []struct{ typed, says string }{
		{`init`, `--dir is missing`},
		{`principals --name phi1`, `ACCOUNT is missing`},
		{`principals root`, `--name is missing`},
		{`principals root --name`, `--name needs a value`},
		{`principals root extra --name phi1`, `"extra" is one argument too many`},
		{`serve --dir d --ca a:1 --trust t`, `--revoked-keys is missing`},
		{`serve x`, `"x" is one argument too many`},
		{`sshd-config`, `--name is missing`},
		{`sshd-config --name h --trust relative`, `absolute path`},
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
