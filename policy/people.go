package policy

import (
	"fmt"
	"slices"

	"go.yaml.in/yaml/v3"
)

const (
	peopleFile = "people.yaml"
	hostsFile  = "hosts.yaml"
)

// people reads people.yaml and reports whether there was anything to read.
func (l *loader) people(content []byte) bool {
	d := data{peopleFile, &l.ps}
	top := d.root(content)
	if top == nil {
		return false
	}
	fields := d.fields(top, "the file", "groups", "people")
	if fields["groups"] == nil {
		d.bad(0, "the list of groups is missing")
	}
	for _, group := range d.names(fields["groups"], "groups") {
		l.set.groups = append(l.set.groups, group.text)
	}
	slices.Sort(l.set.groups)
	if fields["people"] == nil {
		d.bad(0, "people are missing")
		return false
	}
	for _, p := range d.pairs(fields["people"], "people") {
		if d.somebody(p.key, "people") {
			l.person(d, p)
		}
	}
	return true
}

func (l *loader) person(d data, p pair) {
	person := &Person{Name: p.key.text}
	l.set.people[person.Name] = person
	fields := d.fields(p.value, person.Name, "groups", "keys")
	for _, group := range d.names(fields["groups"], "groups of "+person.Name) {
		if !slices.Contains(l.set.groups, group.text) {
			d.bad(group.line, "unknown group %q%s", group.text, among("groups", l.set.groups))
			continue
		}
		person.Groups = append(person.Groups, group.text)
		l.set.members[group.text] = append(l.set.members[group.text], person)
	}
	slices.Sort(person.Groups)
	person.Keys = l.personKeys(d, p, fields["keys"])
}

func (l *loader) personKeys(d data, p pair, n *yaml.Node) []Key {
	if n == nil || n.Kind == yaml.SequenceNode && len(n.Content) == 0 {
		d.bad(p.key.line, "%s has no keys: nobody could log in as %s", p.key.text, p.key.text)
		return nil
	}
	var keys []Key
	for _, element := range d.list(n, "keys of "+p.key.text) {
		key, ok := d.key(element, "a key of "+p.key.text)
		if ok && l.own(d, element.Line, key, owner{person: l.set.people[p.key.text]}) {
			keys = append(keys, key)
		}
	}
	return keys
}

// own notes whose the key is. Two owners would make every rule about "not your own request" worthless.
func (l *loader) own(d data, line int, key Key, o owner) bool {
	if before, taken := l.set.owners[key.Fingerprint]; taken {
		d.bad(line, "key %s belongs to %s already (%s); a key stands for one identity only",
			key.Fingerprint, before, l.owned[key.Fingerprint])
		return false
	}
	l.set.owners[key.Fingerprint] = o
	l.owned[key.Fingerprint] = fmt.Sprintf("%s:%d", d.file, line)
	return true
}

func (o owner) String() string {
	switch {
	case o.person != nil:
		return o.person.Name
	case o.bastion != nil:
		return "bastion " + o.bastion.Name
	case o.host != nil:
		return "host " + o.host.Name
	}
	return "nobody"
}
