package policy

import "fmt"

const maxName = 64

// checkName holds the grammar of every name: people, groups, hosts, accounts, labels, rules. Names end up in
// certificate principals, log lines, file names and command lines, so nothing in them may need quoting, and
// "account@host" must split in one way only.
func checkName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("a name is empty")
	case len(name) > maxName:
		return fmt.Errorf("name %.70q is longer than %d bytes", name, maxName)
	case name[0] == '-' || name[0] == '.':
		return fmt.Errorf("name %q must not begin with %q", name, name[0])
	}
	for _, r := range name {
		if !nameRune(r) {
			return fmt.Errorf("name %q holds %q; names are made of lower case letters, digits, '.', '_' and '-'", name, r)
		}
	}
	return nil
}

func nameRune(r rune) bool {
	return 'a' <= r && r <= 'z' || '0' <= r && r <= '9' || r == '.' || r == '_' || r == '-'
}
