package story

import (
	"os"
	"strings"
	"testing"
)

// TestEvidenceDocument makes sure that the commands of docs/evidence.md are those that the stories run: each line of each block stands in one, as it is.
func TestEvidenceDocument(t *testing.T) {
	t.Parallel()
	document, err := os.ReadFile("../../docs/evidence.md")
	if err != nil {
		t.Fatal(err)
	}
	told := ""
	for _, name := range []string{"proof", "witness"} {
		text, err := os.ReadFile("testdata/" + name + ".txtar")
		if err != nil {
			t.Fatal(err)
		}
		told += string(text)
	}
	commands := 0
	for _, line := range strings.Split(string(document), "\n") {
		command, is := strings.CutPrefix(line, "    ")
		if !is {
			continue
		}
		commands++
		if !strings.Contains(told, command) {
			t.Errorf("no story runs: %s", command)
		}
	}
	if commands < 30 {
		t.Errorf("docs/evidence.md has %d lines of commands", commands)
	}
}
