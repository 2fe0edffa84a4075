package policy

import (
	"slices"

	"go.yaml.in/yaml/v3"
)

// hosts reads hosts.yaml and reports whether there was anything to read.
func (l *loader) hosts(content []byte) bool {
	d := data{hostsFile, &l.ps}
	top := d.root(content)
	if top == nil {
		return false
	}
	fields := d.fields(top, "the file", "labels", "hosts", "bastions")
	for _, label := range d.names(fields["labels"], "labels") {
		l.labels = append(l.labels, label.text)
	}
	declared := fields["labels"] != nil
	if fields["hosts"] == nil {
		d.bad(0, "hosts are missing (none yet: write hosts: {})")
		return false
	}
	for _, p := range d.pairs(fields["hosts"], "hosts") {
		if d.somebody(p.key, "hosts") {
			l.host(d, p, declared)
		}
	}
	if fields["bastions"] != nil {
		for _, p := range d.pairs(fields["bastions"], "bastions") {
			if d.somebody(p.key, "bastions") {
				l.bastion(d, p)
			}
		}
	}
	return true
}

func (l *loader) host(d data, p pair, labelsDeclared bool) {
	host := &Host{Name: p.key.text}
	what := "host " + host.Name
	fields := d.fields(p.value, what, "aliases", "address", "labels", "accounts", "trust", "host_key", "agent")
	l.call(d, p.key, host)
	l.set.hosts[host.Name] = host
	for _, alias := range d.names(fields["aliases"], "aliases of "+what) {
		if l.call(d, alias, host) {
			host.Aliases = append(host.Aliases, alias.text)
		}
	}
	for _, label := range d.names(fields["labels"], "labels of "+what) {
		// With a declared list a misspelt label cannot take a host out from under a rule.
		if labelsDeclared && !slices.Contains(l.labels, label.text) {
			d.bad(label.line, "unknown label %q%s", label.text, among("labels", l.labels))
			continue
		}
		host.Labels = append(host.Labels, label.text)
	}
	for _, account := range d.names(fields["accounts"], "accounts of "+what) {
		host.Accounts = append(host.Accounts, account.text)
	}
	if n := fields["accounts"]; n == nil || n.Kind == yaml.SequenceNode && len(n.Content) == 0 {
		d.bad(p.key.line, "%s has no accounts: nobody could log in to it", what)
	}
	host.Address = l.address(d, p.key, fields["address"], what)
	l.trust(d, p.key, fields, host)
	if n := fields["agent"]; n != nil {
		if key, ok := d.key(n, "agent of "+what); ok && l.own(d, n.Line, key, owner{host: host}) {
			host.Agent = &key
		}
	}
	slices.Sort(host.Aliases)
	slices.Sort(host.Labels)
	slices.Sort(host.Accounts)
}

// trust reads how bastions recognise the host: by the host CA or by one pinned key, never both, never neither.
func (l *loader) trust(d data, key word, fields map[string]*yaml.Node, host *Host) {
	what := "host " + host.Name
	ca, pinned := fields["trust"], fields["host_key"]
	switch {
	case ca == nil && pinned == nil:
		d.bad(key.line, "%s has neither trust: host-ca nor host_key: a bastion could not tell it from an impostor", what)
	case ca != nil && pinned != nil:
		d.bad(pinned.Line, "%s has both trust and host_key; keep one", what)
	case ca != nil:
		if w, ok := d.text(ca, "trust of "+what); ok && w.text != "host-ca" {
			d.bad(w.line, "trust of %s is %q; the only value is host-ca (to pin a key use host_key)", what, w.text)
		}
		host.HostCA = true
	default:
		if k, ok := d.key(pinned, "host_key of "+what); ok && l.own(d, pinned.Line, k, owner{host: host, pinned: true}) {
			host.HostKey = k.Line
		}
	}
}

func (l *loader) bastion(d data, p pair) {
	bastion := &Bastion{Name: p.key.text}
	what := "bastion " + bastion.Name
	l.call(d, p.key, nil)
	l.set.bastions[bastion.Name] = bastion
	fields := d.fields(p.value, what, "address", "sources", "key")
	bastion.Address = l.address(d, p.key, fields["address"], what)
	for _, source := range d.texts(fields["sources"], "sources of "+what) {
		text, err := parseSource(source.text)
		if err != nil {
			d.bad(source.line, "sources of %s: %v", what, err)
			continue
		}
		bastion.Sources = append(bastion.Sources, text)
	}
	if n := fields["sources"]; n == nil || n.Kind == yaml.SequenceNode && len(n.Content) == 0 {
		d.bad(p.key.line, "%s has no sources: list the addresses from which it reaches hosts", what)
	}
	n := fields["key"]
	if n == nil {
		d.bad(p.key.line, "%s has no key: postern-bastion init prints it", what)
		return
	}
	if key, ok := d.key(n, "key of "+what); ok && l.own(d, n.Line, key, owner{bastion: bastion}) {
		bastion.Key = key
	}
}

// call notes that a name leads to a host (nil: to a bastion). One name must never lead to two machines: the
// gateway CA certifies these names.
func (l *loader) call(d data, w word, host *Host) bool {
	if line, taken := l.called[w.text]; taken {
		d.bad(w.line, "the name %q is taken already, on line %d", w.text, line)
		return false
	}
	l.called[w.text] = w.line
	if host != nil {
		l.set.names[w.text] = host
	}
	return true
}

// address reads the address of a machine. Two names for one machine would let a rule about the one be dodged
// through the other.
func (l *loader) address(d data, key word, n *yaml.Node, what string) string {
	if n == nil {
		d.bad(key.line, "%s has no address", what)
		return ""
	}
	w, ok := d.text(n, "address of "+what)
	if !ok {
		return ""
	}
	address, err := parseAddress(w.text)
	if err != nil {
		d.bad(w.line, "address of %s: %v", what, err)
		return ""
	}
	if line, taken := l.addresses[address]; taken {
		d.bad(w.line, "address %s is that of another machine already, on line %d; give one machine more names with aliases", address, line)
		return ""
	}
	l.addresses[address] = w.line
	return address
}
