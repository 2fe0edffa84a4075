package evidence

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/crypto/ssh"

	"postern/ca/auditlog"
	"postern/internal/verify"
)

// How much of each kind of file is read.
const (
	maxSmall = 64 << 10
	maxLeaf  = 16 << 20
)

// Bundle is one that is whole: every file is the one of its manifest. Nothing of what it says is believed yet.
type Bundle struct {
	About
	members map[string]member
	order   []string
	Claimed verify.Keys // the CA's keys as the maker of the bundle says
}

// Open reads the container. r is not read as a whole, however large.
func Open(r io.ReaderAt, size int64) (*Bundle, error) {
	list, err := readMembers(r, size)
	if err != nil {
		return nil, err
	}
	if err := checkManifest(list); err != nil {
		return nil, err
	}
	b := &Bundle{members: map[string]member{}}
	for _, m := range list[1:] {
		b.members[m.name], b.order = m, append(b.order, m.name)
	}
	if text, err := b.read("README.txt", maxSmall); err != nil || string(text) != readme {
		return nil, fmt.Errorf("README.txt: missing, or not that of %q", format)
	}
	return b, b.open()
}

func (b *Bundle) open() error {
	text, err := b.read("about.json", maxSmall)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, &b.About); err != nil {
		return fmt.Errorf("about.json: %w", err)
	}
	if again, err := json.Marshal(b.About); err != nil || string(again)+"\n" != string(text) {
		return fmt.Errorf("about.json: not as postern evidence writes it")
	}
	if b.Format != format {
		return fmt.Errorf("about.json: it is of format %.40q, and this program reads %q", b.Format, format)
	}
	for name, key := range map[string]*ssh.PublicKey{"user": &b.Claimed.User, "session": &b.Claimed.Session, "host": &b.Claimed.Host, "gateway": &b.Claimed.Gateway} {
		name = "keys/" + name + "_ca.pub"
		text, err := b.read(name, maxSmall)
		if err != nil {
			return err
		}
		if *key, _, _, _, err = ssh.ParseAuthorizedKey(text); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	vkey, err := b.read("keys/log.vkey", maxSmall)
	b.Claimed.Log = strings.TrimSpace(string(vkey))
	return err
}

func (b *Bundle) read(name string, most int64) ([]byte, error) {
	m, ok := b.members[name]
	if !ok {
		return nil, fmt.Errorf("%s is missing", name)
	}
	return content(m, most)
}

// Finding is something that is wrong, with the file that it is about.
type Finding struct {
	Object string `json:"object"`
	Text   string `json:"text"`
}

func (f Finding) String() string { return f.Object + ": " + f.Text }

// Seen is a checkpoint that a witness cosigned and that the bundle's contains.
type Seen struct {
	auditlog.Cosignature
	Leaves int64 `json:"leaves"`
}

// Report is what a bundle proves, and what is wrong with it.
type Report struct {
	About
	Size       int64         `json:"size"`   // leaves of the log that the checkpoint is of
	Leaves     int           `json:"leaves"` // of them in the bundle, each proven
	Last       int64         `json:"last"`   // the newest of them
	Log        verify.Report `json:"log"`    // what they say
	Recordings []Recorded    `json:"recordings"`
	Witnessed  []Seen        `json:"witnessed,omitempty"`
	Findings   []Finding     `json:"findings"`
	Unproven   []string      `json:"unproven"`
	entries    []auditlog.Entry
	at         map[int64]auditlog.Entry
}

// Check holds everything in the bundle against the keys. witnesses are those whose cosignatures count.
func (b *Bundle) Check(keys verify.Keys, witnesses []*auditlog.Witness) (*Report, error) {
	r := &Report{About: b.About, Findings: []Finding{}, at: map[int64]auditlog.Entry{}}
	used := map[string]bool{"README.txt": true, "about.json": true, "checkpoint": true}
	for name, want := range keyFiles(keys) {
		used[name] = true
		if got, err := b.read(name, maxSmall); err != nil || string(got) != want {
			r.find(name, "it is not the key that you trust")
		}
	}
	checkpoint, err := b.read("checkpoint", maxSmall)
	if err != nil {
		return nil, err
	}
	tree, err := auditlog.OpenCheckpoint(checkpoint, keys.Log)
	if err != nil {
		return nil, fmt.Errorf("checkpoint: not signed by the log you trust: %w", err)
	}
	r.Size = tree.N
	b.leaves(r, keys, checkpoint, tree, used)
	b.copies(r, used)
	b.witnesses(r, keys.Log, tree, witnesses, used)
	b.recordings(r, used)
	for _, name := range b.order {
		if !used[name] {
			r.find(name, "it belongs to nothing in this bundle")
		}
	}
	r.Unproven = unproven(r)
	return r, nil
}

func (r *Report) find(object, format string, args ...any) {
	r.Findings = append(r.Findings, Finding{object, fmt.Sprintf(format, args...)})
}

// leaves checks the proof of each leaf, and then what they say.
func (b *Bundle) leaves(r *Report, keys verify.Keys, checkpoint []byte, tree auditlog.TreeHead, used map[string]bool) {
	checker := verify.NewPartial(keys)
	for _, name := range b.order {
		number, ok := strings.CutPrefix(strings.TrimSuffix(name, ".json"), "leaves/")
		if !ok || !strings.HasSuffix(name, ".json") {
			continue
		}
		index, _ := strconv.ParseInt(number, 10, 64)
		used[name], used[leafName(index)+".tlog-proof"] = true, true
		leaf, err := b.read(name, maxLeaf)
		if err == nil {
			err = b.proven(leaf, index, checkpoint, tree)
		}
		if err != nil {
			r.find(name, "%v", err)
			continue // what is not in the log says nothing
		}
		r.Leaves++
		r.Last = index
		entry := checker.AddAt(index, leaf)
		r.entries, r.at[index] = append(r.entries, entry), entry
	}
	r.Log = checker.Report()
	for _, f := range r.Log.Failures {
		r.find(leafName(max(f.Leaf, 0))+".json", "%s", f.Text)
	}
	b.subject(r)
}

func (b *Bundle) proven(leaf []byte, index int64, checkpoint []byte, tree auditlog.TreeHead) error {
	text, err := b.read(leafName(index)+".tlog-proof", maxSmall)
	if err != nil {
		return err
	}
	proof, at, of, err := auditlog.ParseTlogProof(text)
	switch {
	case err != nil:
		return fmt.Errorf("its tlog-proof: %w", err)
	case at != index:
		return fmt.Errorf("its tlog-proof is of leaf %d", at)
	case !bytes.Equal(of, checkpoint):
		return fmt.Errorf("its tlog-proof is to another checkpoint")
	}
	return auditlog.CheckInclusion(proof, tree, index, leaf)
}

// subject makes sure that the leaves are of what the bundle says it is of, and of nothing else.
func (b *Bundle) subject(r *Report) {
	var requests, sessions []string
	genesis := false
	for _, e := range r.entries {
		switch {
		case e.Genesis != nil:
			genesis = true
			if e.Genesis.Name != b.CA {
				r.find("about.json", "it names the CA %.60q, and the log is of %.60q", b.CA, e.Genesis.Name)
			}
		case e.Request != nil:
			requests = append(requests, e.Request.ID)
		case e.Session != nil:
			sessions = append(sessions, e.Session.ID)
		}
	}
	slices.Sort(sessions)
	if !genesis {
		r.find(leafName(0)+".json", "the first leaf of the log, which says whose it is, is missing")
	}
	if !slices.Equal(requests, []string{b.Request}) {
		r.find("about.json", "it is about request %.40q, and the leaves are of %.200q", b.Request, requests)
	}
	if !slices.Equal(sessions, b.Sessions) {
		r.find("about.json", "it is about the sessions %.200q, and the leaves are of %.200q", b.Sessions, sessions)
	}
}

// copies makes what is copied out of the leaves again, and compares.
func (b *Bundle) copies(r *Report, used map[string]bool) {
	for name, want := range derive(r.entries) {
		used[name] = true
		if got, err := b.read(name, maxLeaf); err != nil {
			r.find(name, "%v", err)
		} else if !bytes.Equal(got, want) {
			r.find(name, "it is not what the leaves say")
		}
	}
}

// witnesses checks each cosigned checkpoint and that the bundle's goes on from it.
func (b *Bundle) witnesses(r *Report, vkey string, tree auditlog.TreeHead, witnesses []*auditlog.Witness, used map[string]bool) {
	for _, name := range b.order {
		base, ok := strings.CutSuffix(name, ".checkpoint")
		if !ok {
			continue
		}
		used[name], used[base+".consistency"] = true, true
		if err := b.witness(r, base, vkey, tree, witnesses); err != nil {
			r.find(name, "%v", err)
		}
	}
}

func (b *Bundle) witness(r *Report, base, vkey string, tree auditlog.TreeHead, witnesses []*auditlog.Witness) error {
	note, err := b.read(base+".checkpoint", maxSmall)
	if err != nil {
		return err
	}
	older, err := auditlog.OpenCheckpoint(note, vkey)
	if err != nil {
		return err
	}
	text, err := b.read(base+".consistency", maxSmall)
	if err != nil {
		return err
	}
	proof, err := auditlog.ParseProof(string(text))
	if err != nil {
		return err
	}
	if err := auditlog.CheckConsistency(proof, tree, older); err != nil {
		return err
	}
	by, err := auditlog.Cosignatures(note, vkey, witnesses)
	for _, c := range by {
		r.Witnessed = append(r.Witnessed, Seen{c, older.N})
	}
	return err
}

// Covers says whether that many witnesses cosigned a checkpoint that holds every leaf of the bundle.
func (r *Report) Covers(need int) bool {
	keys := map[string]bool{}
	for _, s := range r.Witnessed {
		if s.Leaves > r.Last {
			keys[s.Key] = true
		}
	}
	return len(keys) >= need
}

// unproven is what no bundle can show, and what this one does not.
func unproven(r *Report) []string {
	list := []string{
		"that nothing else happened: other requests, votes, revocations and sessions are in the log and not in here",
		"what happened after the checkpoint was signed",
		"that no policy, and no revocation of a key, came between the leaves that are in here",
		"that the rules were what they should have been: the policy is named by its digest",
		"who looked at the recording, and what became of it later",
	}
	if len(r.Witnessed) == 0 {
		list = append(list, "that everybody is shown the same log: no witness that you named cosigned it")
	}
	return list
}

// Entry is the proven leaf at an index; a zero one is not in the bundle.
func (r *Report) Entry(index int64) auditlog.Entry { return r.at[index] }

// Entries are the leaves that are proven, in their order.
func (r *Report) Entries() []auditlog.Entry { return r.entries }
