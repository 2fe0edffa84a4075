package postern_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "postern/"

// arrows says which packages of ours each package may import: it is the architecture. What is not here may not exist.
var arrows = map[string][]string{
	// What decides, what writes and what encodes knows no server and no command line.
	"policy":               {"internal/destination", "internal/environment", "internal/limit"},
	"recorder":             {"internal/store"},
	"recorder/play":        {"recorder", "recorder/index", "recorder/pcapng", "recorder/screen"},
	"recorder/pcapng":      {},
	"recorder/index":       {"recorder", "recorder/prompt"},
	"recorder/prompt":      {},
	"recorder/screen":      {},
	"ca/krl":               {},
	"ca/keys":              {},
	"ca/auditlog":          {"internal/control", "internal/store"},
	"ca/statement":         {"internal/control"},
	"internal/algo":        {},
	"internal/greeting":    {},
	"internal/pace":        {},
	"internal/command":     {},
	"internal/destination": {},
	"internal/durable":     {},
	"internal/environment": {},
	"internal/envelope":    {},
	"internal/sheet":       {"internal/control"},
	"internal/identity":    {},
	"internal/limit":       {},
	"internal/lineage":     {},
	"internal/rawssh":      {},
	"internal/socket":      {},
	"internal/sshaudit":    {},
	"internal/sshsig":      {},
	"internal/sshconfig":   {},
	"internal/store":       {},
	"internal/notify":      {"ca/auditlog", "ca/statement", "internal/control", "internal/durable"},
	"internal/control":     {"internal/algo", "internal/sshsig"},
	"internal/door":        {"internal/algo", "internal/greeting", "internal/pace", "internal/socket"},
	"internal/player":      {"recorder", "recorder/index", "recorder/play", "recorder/screen"},
	"internal/auditor":     {"ca/auditlog", "ca/statement", "internal/algo", "internal/control", "internal/durable", "internal/sshsig", "internal/verify", "recorder"},
	"internal/web":         {"ca/statement", "internal/control", "internal/search", "internal/sshsig", "internal/verify", "recorder", "recorder/index", "recorder/play"},
	"internal/ocsf":        {"ca/auditlog", "internal/control"},
	"internal/search":      {"recorder", "recorder/index", "recorder/screen"},
	"internal/report":      {"ca/auditlog", "ca/statement", "internal/control", "internal/sshsig", "internal/verify", "recorder/index"},
	"internal/evidence":    {"ca/auditlog", "internal/control", "internal/verify", "recorder"},
	"internal/verify":      {"ca/auditlog", "ca/statement", "internal/algo", "internal/control", "internal/destination", "internal/limit", "internal/sshsig", "recorder"},

	// The two servers never import each other; cmd wires each to the packages it needs.
	"ca":            {"ca/auditlog", "ca/keys", "ca/krl", "ca/statement", "internal/control", "internal/envelope", "internal/limit", "internal/sshsig", "internal/store", "policy"},
	"ca/server":     {"ca", "internal/control", "internal/door"},
	"bastion/agent": {"bastion/meter", "recorder"},
	"bastion/meter": {"recorder"},
	"bastion/scp":   {"bastion/meter", "recorder"},
	"bastion/sftp":  {"bastion/meter", "recorder"},
	"bastion/typed": {"recorder/prompt"},
	"bastion":       {"bastion/agent", "bastion/meter", "bastion/scp", "bastion/sftp", "bastion/typed", "internal/algo", "internal/control", "internal/destination", "internal/durable", "internal/envelope", "internal/environment", "internal/greeting", "internal/limit", "internal/pace", "internal/socket", "recorder"},

	"cmd/postern":         {"ca/auditlog", "ca/krl", "ca/statement", "internal/algo", "internal/auditor", "internal/command", "internal/control", "internal/durable", "internal/evidence", "internal/limit", "internal/ocsf", "internal/player", "internal/report", "internal/search", "internal/sheet", "internal/sshconfig", "internal/sshsig", "internal/verify", "internal/web", "policy", "recorder", "recorder/index", "recorder/play", "recorder/screen"},
	"cmd/postern-ca":      {"ca", "ca/auditlog", "ca/keys", "ca/server", "internal/command", "internal/control", "internal/notify", "internal/store", "policy"},
	"cmd/postern-bastion": {"bastion", "internal/command", "internal/control", "internal/door", "internal/durable", "internal/envelope", "internal/identity", "recorder", "recorder/index"},
	"cmd/postern-host":    {"ca/krl", "internal/command", "internal/control", "internal/identity", "internal/lineage"},

	// Tools around it.
	"internal/lab":      {},
	"internal/lab/main": {"internal/lab"},
	"internal/story":    {"internal/lab"},
	"internal/bench":    {"internal/control", "internal/lab", "internal/sshsig", "recorder"},
}

// owners says which package alone may import each heavy dependency, tests included.
var owners = map[string][]string{
	"github.com/dgraph-io/badger/v4":   {"internal/store"},
	"github.com/gliderlabs/ssh":        {"internal/door"},
	"go.step.sm/crypto":                {"ca/keys"},
	"github.com/cedar-policy/cedar-go": {"policy"},
	"go.yaml.in/yaml/v3":               {"policy"},
	"github.com/urfave/cli/v2":         {"cmd/postern", "cmd/postern-ca", "cmd/postern-bastion", "cmd/postern-host", "internal/command"},
	"filippo.io/age":                   {"internal/auditor", "internal/sheet"},
	"github.com/klauspost/compress":    {"recorder", "recorder/index"},
	"crypto/hpke":                      {"recorder", "internal/envelope"},
	"golang.org/x/text":                {"recorder/screen"},
	"github.com/gdamore/tcell/v2":      {"internal/player"},
	"golang.org/x/mod/sumdb":           {"ca/auditlog", "internal/verify"},
	"github.com/rogpeppe/go-internal":  {"internal/story"},
	"github.com/chromedp":              {"internal/web"},
}

// far says what must not be reachable from a program at all, by any path.
var far = map[string][]string{
	"cmd/postern-bastion": {"ca", "ca/keys", "ca/server", "policy"}, // it faces the network: no CA key, no code that signs certificates
	"cmd/postern-host":    {"ca", "ca/keys", "bastion", "recorder", "policy"},
	"cmd/postern":         {"ca", "ca/keys", "bastion"},
	"cmd/postern-ca":      {"bastion"},
}

func TestImports(t *testing.T) {
	imports, everything := readImports(t)
	for pkg, list := range imports {
		allowed, known := arrows[pkg]
		if !known {
			t.Errorf("%s is not in the table of packages", pkg)
			continue
		}
		for _, target := range list {
			if ours, ok := strings.CutPrefix(target, module); ok && !slices.Contains(allowed, ours) {
				t.Errorf("%s imports %s, which the table does not allow", pkg, ours)
			}
		}
	}
	for pkg, list := range everything {
		for _, target := range list {
			for dependency, homes := range owners {
				if (target == dependency || strings.HasPrefix(target, dependency+"/")) && !slices.Contains(homes, pkg) {
					t.Errorf("%s imports %s, which belongs to %s", pkg, target, strings.Join(homes, " "))
				}
			}
		}
	}
}

func TestNobodyReachesTheKeys(t *testing.T) {
	imports, _ := readImports(t)
	for program, forbidden := range far {
		reached := reach(imports, program, map[string]bool{})
		for _, pkg := range forbidden {
			if reached[pkg] {
				t.Errorf("%s reaches %s", program, pkg)
			}
		}
	}
}

// TestTableIsUsed finds packages and arrows that have gone.
func TestTableIsUsed(t *testing.T) {
	imports, _ := readImports(t)
	for pkg, allowed := range arrows {
		for _, target := range allowed {
			if !slices.Contains(imports[pkg], module+target) {
				t.Errorf("the table lets %s import %s, which it does not: take it out", pkg, target)
			}
		}
		if _, ok := imports[pkg]; !ok {
			t.Errorf("the table has %s, which is not there", pkg)
		}
	}
}

func reach(imports map[string][]string, pkg string, seen map[string]bool) map[string]bool {
	for _, target := range imports[pkg] {
		if ours, ok := strings.CutPrefix(target, module); ok && !seen[ours] {
			seen[ours] = true
			reach(imports, ours, seen)
		}
	}
	return seen
}

// readImports reads the import lines of every Go file: of the code alone, and with its tests.
func readImports(t *testing.T) (code, all map[string][]string) {
	t.Helper()
	sets := [2]map[string]map[string]bool{{}, {}}
	err := filepath.WalkDir(".", func(file string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && file != "." && (strings.HasPrefix(entry.Name(), ".") || entry.Name() == "testdata"):
			return filepath.SkipDir
		case path.Ext(file) != ".go" || path.Dir(filepath.ToSlash(file)) == ".":
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		pkg := path.Dir(filepath.ToSlash(file))
		for i, set := range sets {
			if i == 0 && strings.HasSuffix(file, "_test.go") {
				continue
			}
			if set[pkg] == nil {
				set[pkg] = map[string]bool{}
			}
			for _, spec := range parsed.Imports {
				target, err := strconv.Unquote(spec.Path.Value)
				if err != nil {
					return err
				}
				set[pkg][target] = true
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(sets[0]) == 0 {
		t.Fatal("no Go files found")
	}
	return sorted(sets[0]), sorted(sets[1])
}

func sorted(sets map[string]map[string]bool) map[string][]string {
	lists := map[string][]string{}
	for pkg, set := range sets {
		lists[pkg] = slices.Sorted(maps.Keys(set))
	}
	return lists
}
