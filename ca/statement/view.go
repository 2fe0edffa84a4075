package statement

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

const firstOfView = "postern view v1"

// View is what an auditor signs before the first byte of a recording comes. It is canonical too: [ParseView] accepts only what [View.Text]
// writes, with the sessions sorted and each once.
type View struct {
	CA         string
	Person     string   // who signs
	Kind       string   // what is done; control.ViewKinds
	Sessions   []string // S-…, sorted
	Keystrokes bool     // with what was typed
	Key        string   // SHA256: fingerprint of the key that the certificates are for
	Sequence   uint64   // how many views of that person came before, so that an old signature shows nothing again
	Reason     string
}

// Text is the statement as it is shown and signed. It ends with a newline.
func (v View) Text() string {
	keystrokes := "no"
	if v.Keystrokes {
		keystrokes = "yes"
	}
	var b strings.Builder
	b.WriteString(firstOfView + "\n")
	for _, f := range []field{
		{"ca", v.CA}, {"person", v.Person}, {"kind", v.Kind}, {"sessions", strings.Join(v.Sessions, " ")}, {"keystrokes", keystrokes},
		{"key", v.Key}, {"sequence", strconv.FormatUint(v.Sequence, 10)}, {"reason", strconv.Quote(v.Reason)},
	} {
		b.WriteString(f.name + ": " + f.value + "\n")
	}
	return b.String()
}

// ParseView reads a view. Anything that Text would not have written is an error.
func ParseView(text string) (View, error) {
	var v View
	first, rest, _ := strings.Cut(text, "\n")
	if first != firstOfView {
		return v, fmt.Errorf("view: first line is not %q", firstOfView)
	}
	for line := range strings.SplitSeq(strings.TrimSuffix(rest, "\n"), "\n") {
		name, value, _ := strings.Cut(line, ": ")
		if err := v.set(name, value); err != nil {
			return v, fmt.Errorf("view: line %.80q: %w", line, err)
		}
	}
	if v.Text() != text {
		return v, errors.New("view: not in canonical form")
	}
	if sorted := slices.Compact(slices.Sorted(slices.Values(v.Sessions))); len(sorted) == 0 || !slices.Equal(sorted, v.Sessions) {
		return v, errors.New("view: the sessions are not sorted, each once")
	}
	return v, nil
}

func (v *View) set(name, value string) (err error) {
	switch name {
	case "ca":
		v.CA = value
	case "person":
		v.Person = value
	case "kind":
		v.Kind = value
	case "sessions":
		v.Sessions = strings.Fields(value)
	case "keystrokes":
		v.Keystrokes = value == "yes"
	case "key":
		v.Key = value
	case "sequence":
		v.Sequence, err = strconv.ParseUint(value, 10, 64)
	case "reason":
		v.Reason, err = strconv.Unquote(value)
	default:
		return errors.New("unknown field")
	}
	return err
}
