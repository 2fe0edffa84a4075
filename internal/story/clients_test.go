package story

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// inStories is what the names that docs/clients.md uses are called in a story.
var inStories = strings.NewReplacer(
	"root@", "$ACCOUNT@",
	"ehr-db-1", "phi1",
	"bastion.example.org", "127.0.0.1",
	"2022", "$BASTION_PORT",
	"/srv", "$WORK",
	"~/.ssh/%C", "$MUX/%C",
	"~/.postern/certs", "$POSTERN_HOME/certs",
	"~/.postern/trust", "$POSTERN_TRUST",
	"~/.ssh/id_ed25519", "$POSTERN_KEY",
)

// TestClientsDocument finds commands and lines of configuration in docs/clients.md that no story runs. Settings of an editor are none.
func TestClientsDocument(t *testing.T) {
	doc, err := os.ReadFile("../../docs/clients.md")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("testdata/client-*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no stories of clients")
	}
	told := map[string]bool{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			line = strings.TrimPrefix(strings.TrimSpace(line), "exec as alice ")
			told[strings.TrimPrefix(line, "exec ")] = true
		}
	}
	shown := 0
	for _, block := range regexp.MustCompile("(?ms)^```([a-z]+)\n(.*?)^```$").FindAllStringSubmatch(string(doc), -1) {
		for line := range strings.Lines(block[2]) {
			line = inStories.Replace(strings.TrimSpace(strings.TrimPrefix(line, "$ ")))
			if block[1] == "json" || line == "" {
				continue
			}
			shown++
			if !told[line] {
				t.Errorf("no story has the line: %s", line)
			}
		}
	}
	if shown == 0 {
		t.Error("the document shows nothing")
	}
}
