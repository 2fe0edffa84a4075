// Package policy decides who may open which account on which host, for how long, and who must agree.
//
// Start with [Load], which reads a directory of Cedar rules (*.cedar) and two files of data (people.yaml and
// hosts.yaml) and checks them as a whole, and with [Set.Decide]. A Set never changes; any number of goroutines may
// ask it. It has no clock and does no I/O once loaded: the same question always gets the same answer, so the code
// that decides whether a certificate may be issued also answers "what would happen if".
//
// What no rule permits is denied, a forbid beats every permit, a rule that cannot be evaluated denies, and of
// several permits that match the strictest obligations bind. docs/policy.md is the reference of the directory.
package policy

import (
	"slices"
	"strings"
	"time"
)

// HardMax bounds every @max: no grant lives longer, whatever a rule says.
const HardMax = time.Hour

// What an obligation is when the rule does not say.
const (
	DefaultMax   = 15 * time.Minute
	DefaultClaim = 8 * time.Hour
)

// MaxClaim bounds @claim: an approval must not lie about for longer than a long weekend.
const MaxClaim = 96 * time.Hour

// The capabilities, in the order in which they are listed everywhere.
const (
	Shell         = "shell"
	Exec          = "exec"
	SFTPRead      = "sftp-read"
	SFTPWrite     = "sftp-write"
	SCPRead       = "scp-read"
	SCPWrite      = "scp-write"
	ForwardLocal  = "forward-local"
	ForwardRemote = "forward-remote"
	Agent         = "agent"
	X11           = "x11"
)

// Capabilities returns every capability there is, in the order of all lists of them.
func Capabilities() []string {
	return []string{Shell, Exec, SFTPRead, SFTPWrite, SCPRead, SCPWrite, ForwardLocal, ForwardRemote, Agent, X11}
}

// AdministrativeActions returns what [Set.May] can be asked.
func AdministrativeActions() []string {
	return []string{"revoke", "audit", "recording-key", "custody", "operate"}
}

// Set is a policy that was found sound. It is immutable and safe for concurrent use.
type Set struct {
	digest   string
	groups   []string // declared, sorted
	people   map[string]*Person
	hosts    map[string]*Host // by name
	names    map[string]*Host // by name and alias
	bastions map[string]*Bastion
	owners   map[string]owner // by fingerprint
	members  map[string][]*Person
	rules    rulebook
}

// Person is somebody who may log in to the CA.
type Person struct {
	Name   string
	Groups []string // sorted
	Keys   []Key    // as in people.yaml; never empty
}

// Key is an SSH public key.
type Key struct {
	Line        string // authorized_keys form without a comment
	Fingerprint string // SHA256:… as ssh-keygen -l prints it
	Type        string // the first word of Line
}

// FIDO reports whether the private half lives in a FIDO token, which can prove touch and PIN.
func (k Key) FIDO() bool { return strings.HasPrefix(k.Type, "sk-") }

// Host is a machine that holds something worth guarding. Either HostCA is set or HostKey is.
type Host struct {
	Name     string
	Aliases  []string // sorted
	Address  string   // host:port
	Labels   []string // sorted
	Accounts []string // sorted, never empty
	HostCA   bool     // its host key is certified by the host CA
	HostKey  string   // its host key, pinned, in authorized_keys form
	Agent    *Key     // what postern-host on it logs in to the CA with; nil: it does not
}

// HasAccount reports whether the account may be named in a request at all.
func (h *Host) HasAccount(account string) bool { return slices.Contains(h.Accounts, account) }

// Bastion is a machine through which sessions go.
type Bastion struct {
	Name    string
	Address string   // host:port, where admins reach it
	Sources []string // addresses and CIDR ranges from which it reaches hosts, never empty
	Key     Key      // what it logs in to the CA with
}

// owner is who a key belongs to: exactly one of the three.
type owner struct {
	person  *Person
	host    *Host
	bastion *Bastion
	pinned  bool // it is the pinned host key of host, not its agent's
}

// Digest names the exact bytes that were loaded: "sha256:" and the hex digest of what
// sha256sum prints for the files, sorted by name.
func (s *Set) Digest() string { return s.digest }

// Person returns the person of that name.
func (s *Set) Person(name string) (*Person, bool) { return copied(s.people[name]) }

// PersonByKey returns whose key it is, by its SHA256: fingerprint.
func (s *Set) PersonByKey(fingerprint string) (*Person, bool) {
	return copied(s.owners[fingerprint].person)
}

// People returns everybody, sorted by name.
func (s *Set) People() []*Person { return sorted(s.people) }

// Groups returns the declared groups, sorted.
func (s *Set) Groups() []string { return slices.Clone(s.groups) }

// InGroup reports whether the person exists and is in the group.
func (s *Set) InGroup(person, group string) bool {
	p := s.people[person]
	return p != nil && slices.Contains(p.Groups, group)
}

// Host returns the host of that name or alias. Like DNS it does not care about case.
func (s *Set) Host(nameOrAlias string) (*Host, bool) { return copied(s.host(nameOrAlias)) }

func (s *Set) host(nameOrAlias string) *Host { return s.names[strings.ToLower(nameOrAlias)] }

// Hosts returns every host, sorted by name.
func (s *Set) Hosts() []*Host { return sorted(s.hosts) }

// HostByAgent returns the host whose postern-host logs in with that key.
func (s *Set) HostByAgent(fingerprint string) (*Host, bool) {
	o := s.owners[fingerprint]
	if o.pinned {
		return nil, false
	}
	return copied(o.host)
}

// Bastion returns the bastion of that name.
func (s *Set) Bastion(name string) (*Bastion, bool) { return copied(s.bastions[name]) }

// BastionByKey returns the bastion that logs in with that key.
func (s *Set) BastionByKey(fingerprint string) (*Bastion, bool) {
	return copied(s.owners[fingerprint].bastion)
}

// Bastions returns every bastion, sorted by name.
func (s *Set) Bastions() []*Bastion { return sorted(s.bastions) }

// entry is what a Set hands out: always a copy, so that no caller can change the policy in force.
type entry[T any] interface {
	*T
	name() string
	clone() *T
}

func (p *Person) name() string  { return p.Name }
func (h *Host) name() string    { return h.Name }
func (b *Bastion) name() string { return b.Name }

func (p *Person) clone() *Person {
	c := *p
	c.Groups, c.Keys = slices.Clone(p.Groups), slices.Clone(p.Keys)
	return &c
}

func (h *Host) clone() *Host {
	c := *h
	c.Aliases, c.Labels, c.Accounts = slices.Clone(h.Aliases), slices.Clone(h.Labels), slices.Clone(h.Accounts)
	if h.Agent != nil {
		agent := *h.Agent
		c.Agent = &agent
	}
	return &c
}

func (b *Bastion) clone() *Bastion {
	c := *b
	c.Sources = slices.Clone(b.Sources)
	return &c
}

func copied[T any, E entry[T]](e E) (E, bool) {
	if e == nil {
		return nil, false
	}
	return e.clone(), true
}

func sorted[T any, E entry[T]](m map[string]E) []E {
	all := make([]E, 0, len(m))
	for _, e := range m {
		all = append(all, e.clone())
	}
	slices.SortFunc(all, func(a, b E) int { return strings.Compare(a.name(), b.name()) })
	return all
}
