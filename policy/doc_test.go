package policy

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// block is a fenced block of docs/policy.md.
type block struct{ info, text string }

func blocks(t *testing.T) (doc string, all []block) {
	t.Helper()
	content, err := os.ReadFile("../docs/policy.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile("(?ms)^```([a-z][^\n]*)\n(.*?)^```$").FindAllStringSubmatch(string(content), -1) {
		all = append(all, block{m[1], m[2]})
	}
	return string(content), all
}

func TestDocumentShowsTheExample(t *testing.T) {
	minimal, clinic := directory(t, "testdata/minimal"), directory(t, "testdata/clinic")
	_, all := blocks(t)
	shown := map[string]bool{}
	for _, b := range all {
		language, name, _ := strings.Cut(b.info, " ")
		switch {
		case name != "":
			shown[name] = true
			if minimal[name] != b.text {
				t.Errorf("%s in the document is not that of testdata/minimal", name)
			}
		case language == "cedar":
			shown["rule"] = true
			mustLoad(t, files{"people.yaml": clinic["people.yaml"], "hosts.yaml": clinic["hosts.yaml"], "rules.cedar": b.text}.fs())
		case language == "cedarschema":
			shown["schema"] = true
			if b.text != Schema() {
				t.Error("the schema in the document is not the schema in force")
			}
		}
	}
	for _, name := range []string{"people.yaml", "hosts.yaml", "rules.cedar", "rule", "schema"} {
		if !shown[name] {
			t.Errorf("the document shows no %s", name)
		}
	}
}

func TestDocumentNamesEverything(t *testing.T) {
	doc, _ := blocks(t)
	last := 0
	for _, capability := range Capabilities() {
		at := strings.Index(doc, "\n| `"+capability+"` |")
		if at < last {
			t.Errorf("capability %s is not in the table, or not in its place", capability)
		}
		last = at
	}
	for _, action := range AdministrativeActions() {
		if !strings.Contains(doc, "`"+action+"`") {
			t.Errorf("action %s is missing", action)
		}
	}
	for name := range annotations {
		if !strings.Contains(doc, "\n| `@"+name+"(") {
			t.Errorf("annotation @%s is missing", name)
		}
	}
	for _, want := range []string{"never above " + Brief(HardMax), "| `" + Brief(DefaultMax) + "` |", "| `" + Brief(DefaultClaim) + "` |", "at most " + Brief(MaxClaim)} {
		if !strings.Contains(doc, want) {
			t.Errorf("the document does not say %q", want)
		}
	}
}

// TestDocumentCommands answers the commands the document shows and compares what it prints.
func TestDocumentCommands(t *testing.T) {
	_, all := blocks(t)
	ran := 0
	for _, b := range all {
		if b.info != "console" {
			continue
		}
		ran++
		command, output, _ := strings.Cut(b.text, "\n")
		if got := answer(t, strings.Fields(command)[3:]); got != output {
			t.Errorf("%s\nprints\n%s\nnot\n%s", command, got, output)
		}
	}
	if ran < 5 {
		t.Errorf("%d commands in the document", ran)
	}
}

func answer(t *testing.T, words []string) string {
	dir := func(path string) *Set { return mustLoad(t, os.DirFS(strings.TrimPrefix(path, "policy/"))) }
	if words[0] == "check" {
		return dir(words[1]).Summary() + "\n"
	}
	if words[0] == "test" {
		content, err := os.ReadFile(strings.TrimPrefix(words[1], "policy/") + "/tests/cases.yaml")
		if err != nil {
			t.Fatal(err)
		}
		cases, err := ParseCases("cases.yaml", content)
		if err != nil {
			t.Fatal(err)
		}
		as := 0
		for _, c := range cases {
			if len(dir(words[1]).Test(c)) == 0 {
				as++
			}
		}
		return fmt.Sprintf("%d cases, %d as expected\n", len(cases), as)
	}
	flag := func(name string) string {
		i := slices.Index(words, "--"+name)
		if i < 0 {
			return ""
		}
		return words[i+1]
	}
	q := Query{Person: words[1], Reason: flag("reason"), Rule: flag("rule"), At: monday}
	q.Account, q.Host, _ = strings.Cut(words[2], "@")
	if text := flag("for"); text != "" {
		d, err := time.ParseDuration(text)
		if err != nil {
			t.Fatal(err)
		}
		q.For = d
	}
	return dir(flag("dir")).Explain(q).String()
}

// TestDigestIsWhatStockToolsCompute runs the command of the document.
func TestDigestIsWhatStockToolsCompute(t *testing.T) {
	_, all := blocks(t)
	i := slices.IndexFunc(all, func(b block) bool { return b.info == "sh" })
	if i < 0 {
		t.Fatal("the document shows no command for the digest")
	}
	for _, name := range []string{"testdata/minimal", "testdata/clinic"} {
		shell := exec.Command("sh", "-ec", all[i].text)
		shell.Dir = name
		out, err := shell.Output()
		if err != nil {
			t.Fatal(err)
		}
		want := mustLoad(t, os.DirFS(name)).Digest()
		if got := "sha256:" + strings.Fields(string(out))[0]; got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

func TestExplainWhatIsAskedFor(t *testing.T) {
	set := clinic(t)
	q := ask("alice", "postgres@ehr")
	q.Capabilities = []string{"shell", "x11"}
	e := set.Explain(q)
	want := `alice may not open ehr-db-1 as postgres with all that is asked for
  may        shell
  by rule    dba-ehr (connect.cedar:2)
  approvals  1 of ehr-owners: dana, frank
             1 of privacy: bob, frank
  on terms   approved and first used within 8h
             ends after 10m in which nothing is typed, or without a terminal nothing passes
             variables that pass: LANG, LC_*
  may not    x11: rule no-tunnels (limits.cedar:2) forbids it
`
	if e.String() != want || e.Granted {
		t.Errorf("granted %v\n%s", e.Granted, e)
	}
	q.Capabilities = []string{"shell"}
	if e := set.Explain(q); !e.Granted {
		t.Errorf("%s", e)
	}
}
