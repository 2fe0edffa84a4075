package evidence

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"postern/ca"
	"postern/internal/control"
	"postern/internal/sshsig"
	"postern/recorder"
)

func (w *world) whole(session string, open bool) Contents {
	sealed := w.exported(session)
	r := Recording{Sealed: section(sealed)}
	if open {
		key := must(w.private.SessionKey(bytes.NewReader(sealed)))(w.t)
		r.Key = &key
	}
	return Contents{Source: w.source(), ID: session, Recordings: map[string]Recording{session: r}}
}

func (w *world) excerpt(session string, segments ...uint64) Contents {
	sealed := w.exported(session)
	exported := must(recorder.OpenExported(bytes.NewReader(sealed), int64(len(sealed))))(w.t)
	outline := must(exported.Outline(w.t.Context()))(w.t)
	key := must(w.private.SessionKey(bytes.NewReader(sealed)))(w.t)
	r := Recording{Outline: must(io.ReadAll(outline))(w.t), Bodies: map[uint64][]byte{}, Key: &key}
	for _, n := range segments {
		r.Bodies[n] = must(exported.Body(w.t.Context(), n))(w.t)
	}
	return Contents{Source: w.source(), ID: session, Recordings: map[string]Recording{session: r}}
}

func TestBundles(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	session, request := w.sessions[0], w.requests[0]
	for _, test := range []struct {
		name     string
		contents Contents
		look     func(*Report) bool
	}{
		{"sealed", w.whole(session, false), func(r *Report) bool { return r.Recordings[0].Whole && !r.Recordings[0].Read }},
		{"opened", w.whole(session, true), func(r *Report) bool { return r.Recordings[0].Whole && r.Recordings[0].Read }},
		{"a segment", w.excerpt(session, 1), func(r *Report) bool {
			return slices.Equal(r.Recordings[0].Segments, []uint64{1}) && r.Recordings[0].Read && r.Recordings[0].Of > 1
		}},
		{"no recording", Contents{Source: w.source(), ID: session}, func(r *Report) bool { return r.Recordings[0].Of == 0 }},
		{"a request", Contents{Source: w.source(), ID: request}, func(r *Report) bool { return len(r.Sessions) == 1 }},
	} {
		bundle := w.bundle(test.contents)
		r, err := w.check(bundle)
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		if !test.look(r) || r.Request != request || r.Log.Votes != 2 || r.Log.Requests != 1 || len(r.Unproven) < 5 || len(r.Log.Notes) > 0 {
			t.Errorf("%s: %+v", test.name, r)
		}
		if again := w.bundle(test.contents); !bytes.Equal(again, bundle) {
			t.Errorf("%s: made twice it differs", test.name)
		}
	}
	for _, decide := range []string{"", control.Deny, control.Withdraw} {
		r := must(w.Ask(w.who("alice"), ca.Ask{Targets: []string{"root@phi1"}, For: 15 * time.Minute, Reason: "never used"}))(t)
		by := map[string]string{control.Deny: "bob", control.Withdraw: "alice"}[decide]
		if by != "" {
			text := must(w.Statement(w.who(by), decide, r.ID, "no"))(t)
			signature := must(sshsig.Sign(w.signers[by], control.Namespace, []byte(text)))(t)
			must(w.Vote(w.who(by), r.ID, decide, "no", signature))(t)
		}
		if report, err := w.check(w.bundle(Contents{Source: w.source(), ID: r.ID})); err != nil || len(report.Sessions) != 0 || report.Request != r.ID {
			t.Errorf("a request that came to nothing, %s: %v", decide, err)
		}
	}
	sealed := w.exported(session)
	if _, err := w.check(sealed); err == nil || !strings.Contains(err.Error(), "--recording") {
		t.Error(err)
	}
	if _, err := Write(io.Discard, Contents{Source: w.source(), ID: "S-NOSUCH"}); err == nil || !strings.Contains(err.Error(), "S-NOSUCH") {
		t.Error(err)
	}
}

// The receiver reads the session that was opened for them.
func TestArchive(t *testing.T) {
	w := newWorld(t)
	for name, contents := range map[string]Contents{"whole": w.whole(w.sessions[0], true), "segment": w.excerpt(w.sessions[0], 0)} {
		bundle := w.bundle(contents)
		b := must(Open(bytes.NewReader(bundle), int64(len(bundle))))(t)
		r := must(b.Check(w.keys(), nil))(t)
		a, segments, err := b.Archive(context.Background(), r, w.sessions[0])
		if err != nil {
			t.Fatal(err)
		}
		var text []byte
		for _, n := range segments {
			for _, f := range must(a.Frames(t.Context(), n))(t) {
				text = append(text, f.Data...)
			}
		}
		if !bytes.Contains(text, []byte("in bed 7")) {
			t.Errorf("%s: not what was on the screen", name)
		}
		if _, _, err := b.Archive(t.Context(), r, w.sessions[1]); err == nil {
			t.Errorf("%s: it has another session", name)
		}
	}
}

// Stock tar lists what is in it, and the manifest is one for sha256sum.
func TestStockTools(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dir := t.TempDir()
	tar := exec.Command("tar", "xf", "-", "-C", dir)
	tar.Stdin = bytes.NewReader(w.bundle(w.whole(w.sessions[0], false)))
	if out, err := tar.CombinedOutput(); err != nil || len(out) > 0 {
		t.Fatalf("%v: %s", err, out)
	}
	sum := exec.Command("sha256sum", "--strict", "--quiet", "-c", "MANIFEST")
	sum.Dir = dir
	if out, err := sum.CombinedOutput(); err != nil || len(out) > 0 {
		t.Fatalf("%v: %s", err, out)
	}
	names := must(filepath.Glob(filepath.Join(dir, "approvals", "*.statement")))(t)
	if len(names) != 2 || !strings.HasSuffix(names[0], "001-approve-bob.statement") {
		t.Error(names)
	}
}

// files is a bundle taken apart, for attackers who put it together again in good form: with a manifest that fits.
type files map[string][]byte

func apart(t *testing.T, bundle []byte) files {
	t.Helper()
	f := files{}
	for _, m := range must(readMembers(bytes.NewReader(bundle), int64(len(bundle))))(t)[1:] {
		f[m.name] = must(content(m, 1<<30))(t)
	}
	return f
}

func (f files) together(t *testing.T) []byte {
	t.Helper()
	var members []member
	for name, data := range f {
		members = append(members, inMemory(name, data))
	}
	var out bytes.Buffer
	if err := writeMembers(&out, members); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// named fails unless the error names the object.
func named(t *testing.T, what string, err error, object string) {
	t.Helper()
	if err == nil {
		t.Errorf("%s: not found", what)
	} else if !strings.Contains(err.Error(), object) {
		t.Errorf("%s: found, and not named %s: %v", what, object, err)
	}
}

// Whoever hands over a bundle can change any file in it and write a manifest that fits. Each change of each is found, and the file named.
func TestEveryFileChanged(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	good := apart(t, w.bundle(w.excerpt(w.sessions[0], 1)))
	other := apart(t, w.bundle(w.excerpt(w.sessions[1], 1)))
	for name, data := range good {
		at := []int{0, len(data) / 2, len(data) - 1}
		for _, i := range at {
			changed := make(files)
			for n, d := range good {
				changed[n] = d
			}
			changed[name] = bytes.Clone(data)
			changed[name][i] ^= 1
			_, err := w.check(changed.together(t))
			named(t, fmt.Sprintf("byte %d of %s", i, name), err, blamed(name))
		}
		less := make(files)
		for n, d := range good {
			if n != name && n != strings.TrimSuffix(name, ".json")+".tlog-proof" {
				less[n] = d
			}
		}
		_, err := w.check(less.together(t))
		if !optional(name, data) {
			named(t, name+" left out", err, missed(name))
		}
		cut := make(files)
		for n, d := range good {
			cut[n] = d
		}
		cut[name] = data[:len(data)-1]
		_, err = w.check(cut.together(t))
		named(t, name+" cut", err, blamed(name))
		if theirs, ok := other[swapped(w, name)]; ok && !bytes.Equal(theirs, data) {
			cut[name] = theirs
			_, err = w.check(cut.together(t))
			named(t, name+" of another session", err, blamed(name))
		}
	}
}

// blamed is the file that is named: proofs are about their leaf, and keys that nobody trusts are what everything else is held against.
func blamed(name string) string {
	switch {
	case strings.HasSuffix(name, ".tlog-proof"):
		return strings.TrimSuffix(name, ".tlog-proof")
	case strings.HasSuffix(name, "session.key"):
		return "recordings/"
	}
	return name
}

// missed is what is named when a file is not there: of a leaf, what cannot be without it.
func missed(name string) string {
	switch {
	case strings.HasSuffix(name, ".json") && strings.HasPrefix(name, "leaves/"):
		return "/" // or the recording that it tells of
	case strings.HasPrefix(name, "recordings/"):
		return "recordings/"
	}
	return blamed(name)
}

// optional says that a bundle without the file may still be a good one, of less.
func optional(name string, data []byte) bool {
	var leaf struct {
		Type     string
		Progress struct{ Sealed bool }
	}
	json.Unmarshal(data, &leaf)
	return strings.HasSuffix(name, "session.key") || strings.Contains(name, "/segment-") || leaf.Type == "state" || leaf.Type == "progress" && !leaf.Progress.Sealed
}

func swapped(w *world, name string) string {
	return strings.Replace(name, w.sessions[0], w.sessions[1], 1)
}

// Each byte of a small bundle is changed, and the bundle is cut at each: found, and the place is named.
func TestEveryByte(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	good := w.bundle(Contents{Source: w.source(), ID: w.requests[0]})
	step := max(1, len(good)/700)
	for i := 0; i < len(good); i++ {
		if i > 1200 && i%step != 0 {
			continue // the headers and the manifest whole, the rest in steps: what is in files is in the test above too
		}
		forged := bytes.Clone(good)
		forged[i] ^= 1 << (i % 8)
		if _, err := Open(bytes.NewReader(forged), int64(len(forged))); err == nil {
			t.Errorf("byte %d: not found", i)
		}
		if i%7 != 0 {
			continue
		}
		if _, err := Open(bytes.NewReader(good[:i]), int64(i)); err == nil {
			t.Errorf("cut at %d: not found", i)
		}
	}
	for _, more := range [][]byte{{0}, make([]byte, 512), make([]byte, 10240), good} {
		if _, err := Open(bytes.NewReader(append(bytes.Clone(good), more...)), int64(len(good)+len(more))); err == nil {
			t.Errorf("%d bytes behind it: not found", len(more))
		}
	}
}

// What stock tar could unpack into something else, or not at all, is refused.
func TestStrangeArchives(t *testing.T) {
	w := newWorld(t)
	good := apart(t, w.bundle(Contents{Source: w.source(), ID: w.requests[0]}))
	for _, name := range []string{"/etc/passwd", "../x", "leaves/../x", "leaves/1.json", "recordings/S-1/../x", "README", "about.json/", strings.Repeat("a", 99), "approvals/001-a-b.statement\n", "keys/log.vkey2"} {
		if knownName(name) {
			t.Errorf("%q has a place in a bundle", name)
		}
	}
	forge := func(change func(h *[block]byte)) []byte {
		bundle := good.together(t)
		at := bytes.Index(bundle, []byte("about.json\x00"))
		h := (*[block]byte)(bundle[at : at+block])
		change(h)
		copy(h[148:], "        ")
		sum := 0
		for _, b := range h {
			sum += int(b)
		}
		copy(h[148:], fmt.Sprintf("%06o\x00 ", sum))
		return bundle
	}
	for name, change := range map[string]func(h *[block]byte){
		"a symbolic link":      func(h *[block]byte) { h[156] = '2'; copy(h[157:], "/etc/passwd") },
		"a hard link":          func(h *[block]byte) { h[156] = '1'; copy(h[157:], "checkpoint") },
		"a directory":          func(h *[block]byte) { h[156] = '5' },
		"a device":             func(h *[block]byte) { h[156] = '3' },
		"a long name":          func(h *[block]byte) { h[156] = 'L' },
		"extended header":      func(h *[block]byte) { h[156] = 'x' },
		"a prefix":             func(h *[block]byte) { copy(h[345:], "/etc") },
		"setuid":               func(h *[block]byte) { copy(h[100:], "0004755\x00") },
		"a time":               func(h *[block]byte) { copy(h[136:], "00000000001\x00") },
		"a huge size":          func(h *[block]byte) { copy(h[124:], "77777777777\x00") },
		"a binary size":        func(h *[block]byte) { h[124] = 0x80 },
		"a negative size":      func(h *[block]byte) { copy(h[124:], "-0000000001\x00") },
		"a spaced size":        func(h *[block]byte) { copy(h[124:], "        123\x00") },
		"bytes after the name": func(h *[block]byte) { h[90] = 'x' },
	} {
		if _, err := w.check(forge(change)); err == nil || !strings.Contains(err.Error(), "about.json") && !strings.Contains(err.Error(), "README.txt") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOrderAndDuplicates(t *testing.T) {
	a, b := inMemory("about.json", []byte("a")), inMemory("checkpoint", []byte("b"))
	manifest := fmt.Sprintf("%x  about.json\n%x  checkpoint\n", sha256.Sum256([]byte("a")), sha256.Sum256([]byte("b")))
	m := inMemory(manifestName, []byte(manifest))
	for name, list := range map[string][]member{"twice": {m, a, a, b}, "reordered": {m, b, a}, "no manifest": {a, b}, "manifest last": {a, b, m}} {
		var out bytes.Buffer
		for _, one := range list {
			writeMember(&out, one)
		}
		out.Write(make([]byte, 2*block))
		if _, err := readMembers(bytes.NewReader(out.Bytes()), int64(out.Len())); err == nil {
			t.Errorf("%s: not found", name)
		}
	}
}

// A leaf of another request, with its good proof, does not make the bundle tell another story.
func TestSpliced(t *testing.T) {
	w := newWorld(t)
	one, two := apart(t, w.bundle(Contents{Source: w.source(), ID: w.requests[0]})), apart(t, w.bundle(Contents{Source: w.source(), ID: w.requests[1]}))
	for name, data := range two {
		if _, there := one[name]; there || !strings.HasPrefix(name, "leaves/") || !strings.HasSuffix(name, ".json") {
			continue
		}
		proof := strings.TrimSuffix(name, ".json") + ".tlog-proof"
		one[name], one[proof] = data, two[proof]
		if _, err := w.check(one.together(t)); err == nil {
			t.Errorf("%s of another request: not found", name)
		}
		delete(one, name)
		delete(one, proof)
	}
	// The same story with another name on it.
	var about About
	if err := json.Unmarshal(one["about.json"], &about); err != nil {
		t.Fatal(err)
	}
	about.Request = w.requests[1]
	text := must(json.Marshal(about))(t)
	one["about.json"] = append(text, '\n')
	_, err := w.check(one.together(t))
	named(t, "another name", err, "about.json")
}

// A recording of another session in the place of this one's, or its key, is named.
func TestForeignRecording(t *testing.T) {
	w := newWorld(t)
	one, two := apart(t, w.bundle(w.whole(w.sessions[0], true))), apart(t, w.bundle(w.whole(w.sessions[1], true)))
	for _, file := range []string{"/recording", "/session.key"} {
		mine, theirs := "recordings/"+w.sessions[0]+file, "recordings/"+w.sessions[1]+file
		was := one[mine]
		one[mine] = two[theirs]
		_, err := w.check(one.together(t))
		named(t, theirs, err, "recordings/"+w.sessions[0])
		one[mine] = was
		one[theirs] = two[theirs]
		_, err = w.check(one.together(t))
		named(t, theirs+" beside it", err, theirs)
		delete(one, theirs)
	}
}

func TestOtherKeys(t *testing.T) {
	w, stranger := newWorld(t), newWorld(t)
	bundle := w.bundle(Contents{Source: w.source(), ID: w.requests[0]})
	_, err := stranger.check(bundle)
	named(t, "another CA", err, "checkpoint")
	b := must(Open(bytes.NewReader(bundle), int64(len(bundle))))(t)
	keys := w.keys()
	keys.Session = stranger.keys().Session
	r := must(b.Check(keys, nil))(t)
	named(t, "another session CA", fmt.Errorf("%v", r.Findings), "another session CA key")
	if b.Claimed.Log != w.keys().Log {
		t.Error("the bundle does not say whose log it is")
	}
}

// A checker that is given anything answers: it neither crashes nor eats the memory.
func FuzzOpen(f *testing.F) {
	f.Add([]byte{})
	h := header("MANIFEST", 0)
	f.Add(append(h[:], make([]byte, 1024)...))
	f.Fuzz(func(t *testing.T, bundle []byte) {
		members, err := readMembers(bytes.NewReader(bundle), int64(len(bundle)))
		if err != nil {
			return
		}
		var out bytes.Buffer
		for _, m := range members {
			writeMember(&out, m)
		}
		if out.Write(make([]byte, 2*block)); !bytes.Equal(out.Bytes(), bundle) {
			t.Error("what was read is not written again as it was")
		}
	})
}
