package control

import (
	"slices"
	"strings"
	"testing"
)

const fingerprint = "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU"

func TestParseTarget(t *testing.T) {
	for text, want := range map[string]string{
		"r-7k2m4q":                            "request:R-7K2M4Q",
		"request:R-7K2M4Q":                    "request:R-7K2M4Q",
		"host:phi1 person:alice":              "person:alice host:phi1",
		"  bastion:b1   account:root@phi1 ":   "account:root@phi1 bastion:b1",
		"key:" + fingerprint:                  "key:" + fingerprint,
		"serial:12":                           "serial:12",
		"all:":                                "all:",
		"approver:bob host:phi1 person:alice": "person:alice host:phi1 approver:bob",
	} {
		got, err := ParseTarget(text)
		if err != nil || got.String() != want {
			t.Errorf("%q: %q, %v", text, got, err)
			continue
		}
		if again, err := ParseTarget(got.String()); err != nil || again.String() != want {
			t.Errorf("%q does not come back: %q, %v", want, again, err)
		}
		var r Revocation
		r.Name(got)
		if r.Target().String() != want {
			t.Errorf("%q becomes %q in a revocation", want, r.Target())
		}
	}
	for _, text := range []string{
		"", " ", "alice", "person:", "person:a b:c", "person:alice person:bob", "all: person:alice", "all:x", "R-1 host:phi1", "key:MD5:00",
		"key:SHA256:short", "serial:0", "serial:01", "serial:-1", "account:root", "account:@phi1", "account:root@", "account:a@b@c", "host:" + strings.Repeat("x", 256),
		"color:red", "person:a@b",
	} {
		if got, err := ParseTarget(text); err == nil {
			t.Errorf("%q is taken as %q", text, got)
		}
	}
}

func TestTargetHits(t *testing.T) {
	s := Traits{
		Request: "R-7K2M4Q", Serials: []uint64{12}, Person: "alice", Keys: []string{fingerprint}, Targets: []string{"root@phi1", "postgres@phi2"},
		Approvers: []string{"bob"}, Bastion: "b1",
	}
	for _, text := range []string{
		"all:", "R-7K2M4Q", "person:alice", "host:phi1", "host:phi2", "account:root@phi1", "serial:12", "approver:bob", "bastion:b1", "key:" + fingerprint,
		"person:alice host:phi1 bastion:b1 approver:bob", "account:root@phi1 host:phi1",
	} {
		target, err := ParseTarget(text)
		if err != nil || !target.Hits(s) {
			t.Errorf("%s does not hit: %v", text, err)
		}
	}
	for _, text := range []string{
		"R-7K2M4R", "person:bob", "host:phi3", "host:hi1", "account:root@phi2", "serial:1", "approver:alice", "bastion:b2", "person:alice host:phi3",
		"account:root@phi1 host:phi2", "person:bob host:phi1",
	} {
		target, err := ParseTarget(text)
		if err != nil || target.Hits(s) {
			t.Errorf("%s hits: %v", text, err)
		}
	}
	for _, text := range []string{"person:alice", "request:R-1", "bastion:b1"} {
		if target, _ := ParseTarget(text); target.Hits(Traits{}) {
			t.Errorf("%s hits what is nothing", text)
		}
	}
	if (Target{}).Hits(s) || Target(nil).Hits(s) {
		t.Error("a target that names nothing hits")
	}
}

// What is read as a target is written as the same one, whichever way its words stood, and hits what it names.
func FuzzTarget(f *testing.F) {
	f.Add("person:alice host:phi1")
	f.Add("host:phi1 account:root@phi1 approver:bob")
	f.Add("r-7k2m4q")
	f.Add("r-:") // was a request, and hit nothing
	f.Add("all:")
	f.Add("key:SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU serial:18446744073709551615")
	f.Fuzz(func(t *testing.T, text string) {
		target, err := ParseTarget(text)
		if err != nil {
			return
		}
		words := strings.Fields(text)
		slices.Reverse(words)
		for _, other := range []string{target.String(), strings.Join(words, "\t")} {
			if again, err := ParseTarget(other); err != nil || !slices.Equal(again, target) {
				t.Fatalf("%q is %q, and as %q it is %q, %v", text, target, other, again, err)
			}
		}
		var r Revocation
		if r.Name(target); !slices.Equal(r.Target(), target) {
			t.Fatalf("%q is revoked as %q", target, r.Target())
		}
		if target.Hits(Traits{}) != target.Names("all") {
			t.Fatalf("%q hits what nobody knows anything of", target)
		}
	})
}
