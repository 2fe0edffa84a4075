package lab

import (
	"fmt"
	"os"
	"strings"
)

// rules are the rules of every lab; a story that needs others writes them over these and reloads.
const rules = `// Database administrators on the first host: one approval.
@id("dba-phi1")
@approve("1 of privacy")
@max("30m")
permit (
    principal in Group::"dba",
    action in [Action::"shell", Action::"exec", Action::"sftp-read", Action::"sftp-write", Action::"scp-read", Action::"scp-write"],
    resource in Host::"phi1"
);

// On the second, which holds the records themselves, two people of different groups.
@id("dba-phi2")
@approve("1 of privacy, 1 of ehr-owners")
@max("30m")
permit (
    principal in Group::"dba",
    action in [Action::"shell", Action::"exec", Action::"sftp-read", Action::"sftp-write", Action::"scp-read", Action::"scp-write"],
    resource in Host::"phi2"
);

@id("auditors")
permit (
    principal in Group::"auditors",
    action in [Action::"audit", Action::"recording-key", Action::"custody"],
    resource == System::"postern"
);

@id("operators")
permit (
    principal in Group::"operators",
    action in [Action::"revoke", Action::"operate"],
    resource == System::"postern"
);
`

// policy writes the lab's policy, once: what a person has changed since is kept.
func (l *Lab) policy() error {
	files := map[string]string{"rules.cedar": rules, "people.yaml": l.peopleFile(), "hosts.yaml": l.hostsFile()}
	for name, text := range files {
		if exists(l.path("policy", name))() {
			continue
		}
		if err := os.WriteFile(l.path("policy", name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

func (l *Lab) peopleFile() string {
	var b strings.Builder
	var groups []string
	for _, p := range People {
		if len(groups) == 0 || groups[len(groups)-1] != p.Group {
			groups = append(groups, p.Group)
		}
	}
	fmt.Fprintf(&b, "groups: [%s]\npeople:\n", strings.Join(groups, ", "))
	for _, p := range People {
		fmt.Fprintf(&b, "  %s:\n    groups: [%s]\n    keys:\n      - %s\n", p.Name, p.Group, l.publicKey(p.Name, "id_ed25519.pub"))
	}
	return b.String()
}

func (l *Lab) hostsFile() string {
	var b strings.Builder
	b.WriteString("hosts:\n")
	for _, name := range Hosts {
		fmt.Fprintf(&b, "  %s:\n    aliases: [%s.example]\n    address: %s\n    labels: [phi]\n    accounts: [%s]\n",
			name, name, l.Addresses[name], l.Account)
		if name == "phi1" {
			b.WriteString("    trust: host-ca\n")
		} else {
			fmt.Fprintf(&b, "    host_key: %s\n", l.publicKey(name, "ssh_host_ed25519_key.pub"))
		}
		fmt.Fprintf(&b, "    agent: %s\n", l.publicKey(name, "identity.pub"))
	}
	fmt.Fprintf(&b, "bastions:\n  bastion-1:\n    address: %s\n    sources: [127.0.0.1]\n    key: %s\n",
		l.Addresses["bastion"], l.publicKey("bastion", "identity.pub"))
	return b.String()
}

// publicKey is a public key's line without its comment.
func (l *Lab) publicKey(owner, file string) string {
	words := strings.Fields(string(l.read(owner + "/" + file)))
	return strings.Join(words[:min(2, len(words))], " ")
}
