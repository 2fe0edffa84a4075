package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"
)

const rulesSuffix = ".cedar"

// maxFile bounds each file. Ten thousand people with two keys each fit; a rule file has far less to say, and the
// Cedar parser recurses on what it reads.
const (
	maxFile  = 8 << 20
	maxRules = 128 << 10
)

// loader holds a Set in the making and what is needed to find its contradictions.
type loader struct {
	ps        problems
	set       *Set
	owned     map[string]string // fingerprint: file:line
	called    map[string]int    // name or alias of a machine: line
	addresses map[string]int    // address of a machine: line
	labels    []string          // declared in hosts.yaml, whether or not a host has them
}

// Load reads a policy directory and checks all of it. The error joins one error a line, each beginning with
// "file:line: "; there is no half-loaded Set.
func Load(fsys fs.FS) (*Set, error) {
	l := &loader{
		owned: map[string]string{}, called: map[string]int{}, addresses: map[string]int{},
		set: &Set{
			people: map[string]*Person{}, hosts: map[string]*Host{}, names: map[string]*Host{},
			bastions: map[string]*Bastion{}, owners: map[string]owner{}, members: map[string][]*Person{},
		},
	}
	files := l.read(fsys)
	l.set.digest = digest(files)
	havePeople := files[peopleFile] != nil && l.people(files[peopleFile])
	haveHosts := files[hostsFile] != nil && l.hosts(files[hostsFile])
	if havePeople && haveHosts { // or else every rule would be blamed for names that were not read
		l.rules(files)
	}
	if err := l.ps.err(); err != nil {
		return nil, err
	}
	return l.set, nil
}

// read returns the files of the policy by name.
func (l *loader) read(fsys fs.FS) map[string][]byte {
	entries, err := fs.ReadDir(fsys, ".")
	if err != nil {
		l.ps.add("", 0, "the policy directory cannot be read: %v", err)
		return nil
	}
	files, found, rules := map[string][]byte{}, map[string]bool{}, false
	for _, entry := range entries {
		if !l.wanted(entry) {
			continue
		}
		content, err := readFile(fsys, entry.Name())
		if err != nil {
			l.ps.add(entry.Name(), 0, "%v", err)
		} else {
			files[entry.Name()] = content
		}
		found[entry.Name()] = true
		rules = rules || strings.HasSuffix(entry.Name(), rulesSuffix)
	}
	for _, name := range []string{peopleFile, hostsFile} {
		if !found[name] {
			l.ps.add("", 0, "%s is missing from the policy directory", name)
		}
	}
	if !rules {
		l.ps.add("", 0, "the policy directory holds no rules (*%s)", rulesSuffix)
	}
	return files
}

// wanted reports whether the entry is part of the policy. A file that is neither that nor plainly something else is
// a problem: a rule in "freeze.ceder" that silently does not forbid is worse than a policy that does not load.
func (l *loader) wanted(entry fs.DirEntry) bool {
	name := entry.Name()
	switch {
	case strings.HasPrefix(name, "."), strings.HasSuffix(name, "~"), strings.HasPrefix(name, "README"):
		return false
	case entry.IsDir():
		if name != "tests" {
			l.ps.add(name, 0, "is a directory; the files of a policy lie side by side in one directory")
		}
		return false
	case name == peopleFile, name == hostsFile:
		return true
	case strings.HasSuffix(name, rulesSuffix):
		if err := checkName(name); err != nil {
			l.ps.add(name, 0, "a file %v", err)
		}
		return true
	}
	l.ps.add(name, 0, "is no part of a policy (which has %s, %s and *%s); move it away or begin its name with a dot",
		peopleFile, hostsFile, rulesSuffix)
	return false
}

func readFile(fsys fs.FS, name string) ([]byte, error) {
	limit := maxFile
	if strings.HasSuffix(name, rulesSuffix) {
		limit = maxRules
	}
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, int64(limit)+1))
	if err == nil && len(content) > limit {
		return nil, fmt.Errorf("is larger than %d KiB; split it", limit>>10)
	}
	return content, err
}

// digest is what "sha256sum FILES | sha256sum" prints for the files sorted by name, so that anybody can check with
// stock tools which policy a logged decision was made under.
func digest(files map[string][]byte) string {
	whole := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		fmt.Fprintf(whole, "%x  %s\n", sha256.Sum256(files[name]), name)
	}
	return "sha256:" + hex.EncodeToString(whole.Sum(nil))
}
