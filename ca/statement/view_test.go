package statement

import (
	"strings"
	"testing"
)

var look = View{
	CA: "postern-ca", Person: "carol", Kind: "replay", Sessions: []string{"S-7K2M4QAAAA", "S-8CHQ2M7KXA"}, Key: "SHA256:abc", Sequence: 12,
	Reason: "INC-4412 \"what was\nkind: search\" \u202e",
}

func TestViewText(t *testing.T) {
	want := `postern view v1
ca: postern-ca
person: carol
kind: replay
sessions: S-7K2M4QAAAA S-8CHQ2M7KXA
keystrokes: no
key: SHA256:abc
sequence: 12
reason: "INC-4412 \"what was\nkind: search\" \u202e"
`
	if got := look.Text(); got != want {
		t.Errorf("got\n%s", got)
	}
	typed := look
	typed.Keystrokes = true
	if got := typed.Text(); got != strings.Replace(want, "strokes: no", "strokes: yes", 1) {
		t.Errorf("got\n%s", got)
	}
}

func TestViewIsCanonical(t *testing.T) {
	text := look.Text()
	back, err := ParseView(text)
	if err != nil || back.Text() != text || back.Reason != look.Reason {
		t.Fatalf("%+v: %v", back, err)
	}
	for what, bad := range map[string]string{
		"empty":                 "",
		"another statement":     strings.Replace(text, "postern view v1", "postern statement v1", 1),
		"not to its end":        strings.TrimSuffix(text, "\n"),
		"a line more":           text + "\n",
		"a field twice":         text + "reason: \"no\"\n",
		"a field less":          strings.Replace(text, "sequence: 12\n", "", 1),
		"an unknown field":      strings.Replace(text, "sequence: 12\n", "sequence: 12\nbecause: x\n", 1),
		"another order":         strings.Replace(text, "ca: postern-ca\nperson: carol\n", "person: carol\nca: postern-ca\n", 1),
		"a carriage return":     strings.ReplaceAll(text, "\n", "\r\n"),
		"two spaces":            strings.Replace(text, "AAAA S-8", "AAAA  S-8", 1),
		"no sessions":           strings.Replace(text, "S-7K2M4QAAAA S-8CHQ2M7KXA", "", 1),
		"sessions not in order": strings.Replace(text, "S-7K2M4QAAAA S-8CHQ2M7KXA", "S-8CHQ2M7KXA S-7K2M4QAAAA", 1),
		"a session twice":       strings.Replace(text, "S-8CHQ2M7KXA", "S-7K2M4QAAAA", 1),
		"neither yes nor no":    strings.Replace(text, "keystrokes: no", "keystrokes: maybe", 1),
		"a signed number":       strings.Replace(text, "sequence: 12", "sequence: +12", 1),
		"another literal":       strings.Replace(text, `\u202e`, "\u202e", 1),
		"a raw literal":         strings.Replace(text, text[strings.Index(text, "reason: ")+8:], "`x`\n", 1),
	} {
		if _, err := ParseView(bad); err == nil {
			t.Errorf("%s was taken", what)
		}
	}
	if _, err := Parse(text); err == nil {
		t.Error("a view is taken for a decision")
	}
}

func FuzzParseView(f *testing.F) {
	f.Add(look.Text())
	f.Fuzz(func(t *testing.T, text string) {
		if v, err := ParseView(text); err == nil && v.Text() != text {
			t.Errorf("%q comes back as %q", text, v.Text())
		}
	})
}
