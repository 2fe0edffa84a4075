package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"postern/ca/auditlog"
)

// witnesses reads the file witnesses in the CA's directory anew: a verifier key a line, as postern witness vkey prints it. Without the
// file there are none. It says whose cosignatures are kept; whose are believed is for each verifier to say.
func witnesses(dir string) func() ([]*auditlog.Witness, error) {
	path := filepath.Join(dir, "witnesses")
	return func() ([]*auditlog.Witness, error) {
		text, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		var list []*auditlog.Witness
		for i, line := range strings.Split(string(text), "\n") {
			if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
				continue
			}
			w, err := auditlog.ParseWitness(line)
			if err != nil {
				return nil, fmt.Errorf("%s:%d: %w", path, i+1, err)
			}
			list = append(list, w)
		}
		return list, nil
	}
}
