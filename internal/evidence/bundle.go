// Package evidence makes and checks bundles: one file with all that proves what was asked, approved, signed and recorded in a request
// or a session. docs/evidence.md describes it, file by file.
//
// Start with [Write] and [Open]. A bundle is checked without any server: what is in it is held against the keys one trusts, and what
// it cannot show is said. Whoever hands it over may lie; what they could make up is named as such.
package evidence

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"golang.org/x/crypto/ssh"

	"postern/ca/auditlog"
	"postern/internal/control"
	"postern/internal/verify"
	"postern/recorder"
)

// Source is the log as it was verified, and what it is trusted by.
type Source struct {
	Leaves     [][]byte
	Checkpoint []byte
	CA         string             // its name
	Keys       verify.Keys        // that the log was verified with
	Cosigned   []control.Cosigned // checkpoints that witnesses cosigned, each a prefix of the log
}

// Contents is what a bundle is of.
type Contents struct {
	Source
	ID         string               // request or session
	Recordings map[string]Recording // by session
}

// Recording is as much of a sealed recording as goes into a bundle.
type Recording struct {
	Sealed  *io.SectionReader // all of it; or
	Outline []byte            // all but the bodies, with
	Bodies  map[uint64][]byte // some of them

	Key *recorder.SessionKey // so that the receiver can read it; nil: it stays sealed
}

// About says what a bundle is of, before any of it is believed.
type About struct {
	Format   string   `json:"format"`
	CA       string   `json:"ca"`
	Request  string   `json:"request"`
	Sessions []string `json:"sessions"`
}

const format = "postern evidence 1"

// readme is in every bundle, and the same in all of this format.
const readme = `This is evidence of what was asked, approved and done on a host, from the audit log of a postern CA.

    postern verify FILE --trust DIR     checks all of it; DIR has the public keys of the CA, from somebody you believe
    sha256sum -c MANIFEST               says whether a file was damaged on the way, and nothing more

leaves/          the entries of the log, byte for byte, each with its proof (C2SP tlog-proof) that it is in the checkpoint
checkpoint       size and root of the log, signed by it (C2SP tlog-checkpoint)
witnesses/       checkpoints that others cosigned (C2SP tlog-cosignature), with proofs that this one contains them
approvals/       the statements that people signed and their signatures, copied out of the leaves for ssh-keygen -Y verify
certificates/    the certificates that were made of it, copied out of the leaves for ssh-keygen -L
recordings/      what was recorded, sealed and signed; session.key, if it is there, opens that session and no other
keys/            the CA's public keys as the maker of this file says they are: compare them with those you know

Keep it as you would keep a patient's record if there is a session.key in it.
`

// keyFiles are the keys in the bundle, named as in a trust directory.
func keyFiles(k verify.Keys) map[string]string {
	line := func(key ssh.PublicKey) string { return string(ssh.MarshalAuthorizedKey(key)) }
	return map[string]string{
		"keys/user_ca.pub": line(k.User), "keys/session_ca.pub": line(k.Session), "keys/host_ca.pub": line(k.Host),
		"keys/gateway_ca.pub": line(k.Gateway), "keys/log.vkey": strings.TrimSpace(k.Log) + "\n",
	}
}

// names are those that a bundle can have.
var names = regexp.MustCompile(`^(README\.txt|about\.json|checkpoint|` +
	`keys/((user|session|host|gateway)_ca\.pub|log\.vkey)|` +
	`leaves/[0-9]{12}\.(json|tlog-proof)|` +
	`witnesses/[0-9]{3}\.(checkpoint|consistency)|` +
	`approvals/(allowed_signers|[0-9]{3,6}-[A-Za-z0-9._-]{1,40}-[A-Za-z0-9._-]{0,40}\.(statement|sig))|` +
	`certificates/[A-Za-z0-9._-]{1,40}-[0-9]{1,20}-cert\.pub|` +
	`recordings/S-[A-Z0-9]{1,40}/(recording|outline|session\.key|segment-[0-9]{10}))$`)

func knownName(name string) bool { return len(name) < maxName && names.MatchString(name) }

// Write makes the bundle and returns what it is of.
func Write(w io.Writer, c Contents) (About, error) {
	chosen, err := choose(c.Leaves, c.ID)
	if err != nil {
		return About{}, err
	}
	book, err := auditlog.NewBook(c.Leaves)
	if err != nil {
		return About{}, err
	}
	about := About{Format: format, CA: c.CA, Request: chosen.request, Sessions: chosen.sessions}
	said, err := json.Marshal(about)
	if err != nil {
		return about, err
	}
	members := []member{inMemory("README.txt", []byte(readme)), inMemory("about.json", append(said, '\n')), inMemory("checkpoint", c.Checkpoint)}
	for name, key := range keyFiles(c.Keys) {
		members = append(members, inMemory(name, []byte(key)))
	}
	leaves, err := c.leaves(chosen, book)
	if err != nil {
		return about, err
	}
	witnesses, err := c.witnesses(book)
	if err != nil {
		return about, err
	}
	recordings, err := c.recordings(chosen)
	if err != nil {
		return about, err
	}
	members = append(append(append(members, leaves...), witnesses...), recordings...)
	return about, writeMembers(w, members)
}

// leaves are those of the choice with their proofs, and what is copied out of them.
func (c Contents) leaves(chosen *choice, book *auditlog.Book) ([]member, error) {
	var members []member
	var entries []auditlog.Entry
	for _, i := range chosen.indexes() {
		proof, err := book.Inclusion(int64(len(c.Leaves)), i)
		if err != nil {
			return nil, err
		}
		members = append(members, inMemory(leafName(i)+".json", c.Leaves[i]),
			inMemory(leafName(i)+".tlog-proof", auditlog.FormatProof(proof, i, c.Checkpoint)))
		entries = append(entries, chosen.entries[i])
	}
	for name, data := range derive(entries) {
		members = append(members, inMemory(name, data))
	}
	return members, nil
}

func leafName(index int64) string { return fmt.Sprintf("leaves/%012d", index) }

// witnesses are the cosigned checkpoints, each with the proof that the log of this bundle goes on from it.
func (c Contents) witnesses(book *auditlog.Book) ([]member, error) {
	var members []member
	for _, one := range c.Cosigned {
		tree, err := auditlog.OpenCheckpoint([]byte(one.Checkpoint), c.Keys.Log)
		if err != nil {
			return nil, fmt.Errorf("checkpoint that %s cosigned: %w", one.Witness, err)
		}
		proof, err := book.Consistency(int64(len(c.Leaves)), tree.N)
		if errors.Is(err, auditlog.ErrRange) {
			continue // cosigned since
		}
		if err != nil {
			return nil, err
		}
		name := fmt.Sprintf("witnesses/%03d", len(members)/2+1)
		members = append(members, inMemory(name+".checkpoint", []byte(one.Checkpoint)), inMemory(name+".consistency", []byte(proof.String())))
	}
	return members, nil
}

func (c Contents) recordings(chosen *choice) ([]member, error) {
	var members []member
	for _, id := range chosen.sessions {
		r, ok := c.Recordings[id]
		if !ok {
			continue
		}
		dir := "recordings/" + id + "/"
		if r.Sealed != nil {
			members = append(members, member{dir + "recording", r.Sealed})
		} else {
			members = append(members, inMemory(dir+"outline", r.Outline))
			for n, body := range r.Bodies {
				members = append(members, inMemory(segmentName(id, n), body))
			}
		}
		if r.Key == nil {
			continue
		}
		if r.Key.Session() != id {
			return nil, fmt.Errorf("the key of %s is given for %s", r.Key.Session(), id)
		}
		members = append(members, inMemory(dir+"session.key", r.Key.Marshal()))
	}
	return members, nil
}

func segmentName(session string, n uint64) string {
	return fmt.Sprintf("recordings/%s/segment-%010d", session, n)
}

// Sessions lists the sessions that a bundle about id is of.
func Sessions(leaves [][]byte, id string) ([]string, error) {
	c, err := choose(leaves, id)
	if err != nil {
		return nil, err
	}
	return c.sessions, nil
}
