package story

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The commands of docs/hipaa.md are those that a story runs, letter by letter, and its clauses look like clauses.
func TestCommandsOfHIPAA(t *testing.T) {
	read := func(path string) string {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	var ran []string
	who := regexp.MustCompile(`^exec (as [a-z]+ )?`)
	for line := range strings.Lines(read("testdata/hipaa.txtar")) {
		if who.MatchString(line) {
			ran = append(ran, strings.TrimSpace(who.ReplaceAllString(line, "")))
		}
	}
	clause := regexp.MustCompile(`^\([a-e]\)(\(\d\))?(\([ivx]+\)(–\([ivx]+\))?)?(\([A-E]\))?[ ,]`)
	commands := 0
	for line := range strings.Lines(read("../../docs/hipaa.md")) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if !strings.HasPrefix(line, "|") || strings.HasPrefix(cells[0], "---") || strings.TrimSpace(cells[0]) == "clause" {
			continue
		}
		if len(cells) != 5 {
			t.Errorf("%d cells: %s", len(cells), line)
			continue
		}
		name, status := strings.TrimSpace(cells[0]), strings.TrimSpace(cells[1])
		if (name == "") != (status == "") || name != "" && (!clause.MatchString(name) || status != "required" && status != "addressable") {
			t.Errorf("clause %q is %q", name, status)
		}
		command := strings.Trim(strings.TrimSpace(cells[3]), "`")
		if !slices.Contains(ran, command) {
			t.Errorf("no story runs: %s", command)
		}
		commands++
	}
	if commands < 20 {
		t.Errorf("only %d commands found", commands)
	}
}
