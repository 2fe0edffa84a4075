package verify

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/ca/auditlog"
)

// policy is what the policy leaf in force says of people and machines.
type policy struct {
	digest   string
	owner    map[string]string // fingerprint to person
	groups   map[string][]string
	bastions map[string]ssh.PublicKey
	hosts    map[string]string

	emergencies map[string]auditlog.Emergency // rules that grant at once
	sealed      map[string]auditlog.Sealed    // rules that allow sealed grants
}

func (v *verifier) newPolicy(p auditlog.Policy, at time.Time) {
	next := policy{digest: p.Digest, owner: map[string]string{}, groups: p.Groups, bastions: map[string]ssh.PublicKey{}, hosts: p.Hosts, emergencies: p.Emergencies, sealed: p.Sealed}
	for person, lines := range p.People {
		for _, line := range lines {
			key, err := parseKey(line)
			if err != nil {
				v.fail("policy: a key of %s: %v", person, err)
				continue
			}
			fingerprint := ssh.FingerprintSHA256(key)
			if other, taken := next.owner[fingerprint]; taken && other != person {
				v.fail("policy: key %s is both %s's and %s's", fingerprint, other, person)
			}
			next.owner[fingerprint] = person
		}
	}
	for name, line := range p.Bastions {
		key, err := parseKey(line)
		if err != nil {
			v.fail("policy: the key of bastion %s: %v", name, err)
			continue
		}
		next.bastions[name] = key
	}
	v.policy = next
	v.wellFormed(p)
	v.report.Policies = append(v.report.Policies, InForce{Leaf: v.at, Digest: p.Digest, Since: at})
}

// wellFormed finds what a policy directory cannot say: then the leaf is not of one.
func (v *verifier) wellFormed(p auditlog.Policy) {
	if sum, ok := strings.CutPrefix(p.Digest, "sha256:"); !ok || len(sum) != 64 {
		v.fail("policy: %.80q is no digest", p.Digest)
	}
	for _, group := range sortedKeys(p.Groups) {
		for _, person := range p.Groups[group] {
			if _, known := p.People[person]; !known {
				v.fail("policy: %s in group %s is nobody", person, group)
			}
		}
	}
	for _, name := range sortedKeys(p.Bastions) {
		if key := v.policy.bastions[name]; key != nil && v.policy.owner[ssh.FingerprintSHA256(key)] != "" {
			v.fail("policy: the key of bastion %s is also %s's", name, v.policy.owner[ssh.FingerprintSHA256(key)])
		}
		if name == v.ca {
			v.fail("policy: bastion %s has the name of the CA", name)
		}
	}
	v.urgent(p)
	v.sealedRules(p)
	if _, taken := p.Hosts[v.ca]; taken {
		v.fail("policy: host %s has the name of the CA", v.ca)
	}
}

// owns says that a key is, by the policy in force, that person's.
func (p policy) owns(person string, key ssh.PublicKey) bool {
	return person != "" && p.owner[ssh.FingerprintSHA256(key)] == person
}

func (p policy) in(person, group string) bool { return slices.Contains(p.groups[group], person) }

func parseKey(line string) (ssh.PublicKey, error) {
	key, _, _, rest, err := ssh.ParseAuthorizedKey([]byte(line))
	if err != nil {
		return nil, err
	}
	if len(bytes.TrimSpace(rest)) > 0 {
		return nil, fmt.Errorf("more than one key")
	}
	return key, nil
}

func same(a, b ssh.PublicKey) bool {
	return a != nil && b != nil && bytes.Equal(a.Marshal(), b.Marshal())
}
