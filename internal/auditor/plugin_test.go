package auditor

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"postern/internal/control"
)

// lamp builds the plugin, puts it on the PATH, and returns what its own program writes for a new token.
func lamp(t *testing.T) (text string, hide func()) {
	t.Helper()
	dir := t.TempDir()
	program := filepath.Join(dir, "age-plugin-lamp")
	if out, err := exec.Command("go", "build", "-o", program, "./testdata/age-plugin-lamp").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	before := os.Getenv("PATH")
	t.Setenv("PATH", dir+":"+before)
	out, err := exec.Command(program, "-generate").Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out), func() { os.Setenv("PATH", before) }
}

// hand answers prompts, and remembers what was shown.
type hand struct {
	pin   string
	shown []string
}

func (h *hand) prompts() Prompts {
	return Prompts{
		Ask: func(prompt string) ([]byte, error) {
			h.shown = append(h.shown, prompt)
			return []byte(h.pin + "\n"), nil
		},
		Tell: func(text string) { h.shown = append(h.shown, text) },
	}
}

func (h *hand) saw(words string) bool { return strings.Contains(strings.Join(h.shown, "\n"), words) }

func TestPlugin(t *testing.T) {
	text, _ := lamp(t)
	home := filepath.Join(t.TempDir(), "home")
	recipient, err := Adopt(home, text, "", "")
	if err != nil || !strings.HasPrefix(recipient, "age1lamp1") {
		t.Fatal(recipient, err)
	}
	if again, err := Recipient(home); err != nil || again != recipient {
		t.Errorf("%s, %v", again, err)
	}
	carol, carolIdentity := newAuditor(t)
	// Its strength is not known, so somebody has to say that they know.
	if _, err := Recipients([]string{recipient}); err == nil || !strings.Contains(err.Error(), "--plugins") {
		t.Errorf("a plugin's recipient passed: %v", err)
	}
	for _, words := range [][]string{{recipient}, {recipient, carol}, {carol, recipient}} {
		to, err := Recipients(words, true)
		if err != nil {
			t.Fatal(err)
		}
		k, err := NewRecordingKey(november, newSigner(t), to)
		if err != nil {
			t.Fatal(err)
		}
		h := &hand{pin: "1234"}
		identity, err := Open(home, h.prompts())
		if err != nil || len(h.shown) > 0 {
			t.Fatalf("%v, shown %q", err, h.shown)
		}
		if private, err := OpenRecordingKey(k, identity); err != nil || private.ID() != k.ID {
			t.Errorf("%d recipients: %v", len(to), err)
		}
		if !h.saw("age-plugin-lamp: PIN of the lamp:") || !h.saw("touch the lamp") || h.saw("\x1b") {
			t.Errorf("shown: %q", h.shown)
		}
		if len(words) > 1 {
			if private, err := OpenRecordingKey(k, carolIdentity); err != nil || private.ID() != k.ID {
				t.Errorf("the one without a plugin: %v", err)
			}
		}
	}
}

func TestPluginThatFails(t *testing.T) {
	text, hide := lamp(t)
	home := filepath.Join(t.TempDir(), "home")
	recipient, err := Adopt(home, text, "", "")
	if err != nil {
		t.Fatal(err)
	}
	to, err := Recipients([]string{recipient}, true)
	if err != nil {
		t.Fatal(err)
	}
	k, err := NewRecordingKey(november, newSigner(t), to)
	if err != nil {
		t.Fatal(err)
	}
	carol, _ := newAuditor(t)
	notMine := madeKey(t, "", carol)
	open := func(k control.RecordingKey, p Prompts) error {
		identity, err := Open(home, p)
		if err == nil {
			_, err = OpenRecordingKey(k, identity)
		}
		return err
	}
	h := &hand{pin: "0000"}
	if err := open(k, h.prompts()); err == nil || !strings.Contains(err.Error(), "wrong PIN") {
		t.Errorf("a wrong PIN: %v", err)
	}
	if err := open(k, Prompts{}); err == nil {
		t.Error("it opened with nobody there")
	}
	h = &hand{pin: "1234"}
	if err := open(notMine, h.prompts()); err == nil || !strings.Contains(err.Error(), "not sealed to you") || len(h.shown) > 0 {
		t.Errorf("a key for others: %v, shown %q", err, h.shown)
	}
	if _, err := OpenSilently(home); !errors.Is(err, errNobody) {
		t.Errorf("what goes on without anybody: %v", err)
	}
	hide()
	if err := open(k, h.prompts()); err == nil || !strings.Contains(err.Error(), "age-plugin-lamp is not on the PATH") {
		t.Errorf("the plugin is not there: %v", err)
	}
	if _, err := NewRecordingKey(november, newSigner(t), to); err == nil || !strings.Contains(err.Error(), "age-plugin-lamp is not on the PATH") {
		t.Errorf("sealing without it: %v", err)
	}
	if _, err := Adopt(home, text, "", ""); err == nil || !strings.Contains(err.Error(), "exists") {
		t.Errorf("an identity was replaced: %v", err)
	}
	elsewhere := t.TempDir()
	for name, c := range map[string]struct{ text, plugin, recipient string }{
		"no recipient":        {strings.Split(text, "\n")[1], "", ""},
		"no identity":         {"# nothing\n", "", recipient},
		"a plain secret":      {must(os.ReadFile(filepath.Join(homeOf(t), identityName))), "", carol},
		"no name of a plugin": {"", "a b", recipient},
	} {
		if _, err := Adopt(elsewhere, c.text, c.plugin, c.recipient); err == nil {
			t.Errorf("%s: it was taken", name)
		}
	}
	if _, err := Adopt(elsewhere, "", "lamp", recipient); err != nil {
		t.Errorf("an identity without data: %v", err)
	}
}

func homeOf(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if _, err := Create(dir, nil, now); err != nil {
		t.Fatal(err)
	}
	return dir
}

func must(b []byte, err error) string {
	if err != nil {
		panic(err)
	}
	return string(b)
}

// A box of several files opens for each of those it is for, and whatever is altered in it opens for nobody to something else.
func TestBox(t *testing.T) {
	text, _ := lamp(t)
	carol, identity := newAuditor(t)
	to, err := Recipients([]string{carol, commented(text)}, true)
	if err != nil {
		t.Fatal(err)
	}
	box, err := Prompts{}.seal([]byte("secret"), to)
	if err != nil || !bytes.HasPrefix(box, []byte(boxMagic)) {
		t.Fatal(err)
	}
	for i := range box {
		altered := bytes.Clone(box)
		altered[i] ^= 1
		if plain, err := openBox(altered, identity); err == nil && string(plain) != "secret" {
			t.Errorf("byte %d altered: %q", i, plain)
		}
		if plain, err := openBox(box[:i], identity); err == nil && string(plain) != "secret" {
			t.Errorf("cut at %d: %q", i, plain)
		}
	}
}

func TestRewrapOfAKey(t *testing.T) {
	carol, carolIdentity := newAuditor(t)
	dana, danaIdentity := newAuditor(t)
	k := madeKey(t, "", carol)
	to, err := Recipients([]string{dana})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Rewrap(k, danaIdentity, to, Prompts{}); err == nil || !strings.Contains(err.Error(), "not sealed to you") {
		t.Errorf("by somebody whom it is not sealed to: %v", err)
	}
	r, err := Rewrap(k, carolIdentity, to, Prompts{})
	if err != nil {
		t.Fatal(err)
	}
	r.Reason = "dana joins"
	if r, err = r.Sign("carol", newSigner(t)); err != nil {
		t.Fatal(err)
	}
	after := k
	after.Box, after.Rewrap = r.Box, &r
	if _, err := after.Verify(); err != nil {
		t.Error(err)
	}
	if private, err := OpenRecordingKey(after, danaIdentity); err != nil || private.ID() != k.ID {
		t.Error(err)
	}
	if _, err := OpenRecordingKey(after, carolIdentity); err == nil {
		t.Error("carol still opens it")
	}
	for name, spoil := range map[string]func(*control.RecordingKey){
		"the old box":    func(x *control.RecordingKey) { x.Box = k.Box },
		"no rewrap":      func(x *control.RecordingKey) { x.Rewrap = nil },
		"of another key": func(x *control.RecordingKey) { other := r; other.Key = "K-0"; x.Rewrap = &other },
		"one recipient more": func(x *control.RecordingKey) {
			other := r
			other.Recipients = With(to, control.Recipient{ID: control.RecipientID("m")})
			x.Rewrap = &other
		},
		"what recipients are": func(x *control.RecordingKey) {
			other := r
			other.Recipients = []control.Recipient{{ID: to[0].ID, Public: carol}}
			x.Rewrap = &other
		},
		"its reason": func(x *control.RecordingKey) { other := r; other.Reason = "another"; x.Rewrap = &other },
	} {
		x := after
		spoil(&x)
		if _, err := x.Verify(); err == nil {
			t.Errorf("%s: it verifies", name)
		}
	}
}

// What the CA adds to the list of recipients is new to this machine until somebody accepted it, and what it takes away is missed.
func TestBookOfRecipients(t *testing.T) {
	dir := t.TempDir()
	signer := newSigner(t)
	enrol := func(name string, recovery bool) control.Custody {
		r := control.Recipient{Name: name, ID: control.RecipientID("age1" + name), Public: "age1" + name, Recovery: recovery}
		d := control.NewCustody("postern-ca", control.Enrol, "recipient:"+r.ID, "INC-4412")
		d.Recipient = &r
		d, err := d.Sign("carol", signer)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	dana, safe := enrol("dana", false), enrol("safe", true)
	b, err := OpenBook(dir)
	if err != nil {
		t.Fatal(err)
	}
	fresh, gone, err := b.Compare([]control.Custody{dana, safe})
	if err != nil || len(fresh) != 2 || len(gone) != 0 {
		t.Fatal(fresh, gone, err)
	}
	for _, c := range fresh {
		if err := b.Accept(c); err != nil {
			t.Fatal(err)
		}
	}
	if b, err = OpenBook(dir); err != nil || len(b.Recovery()) != 1 || len(b.Recipients()) != 2 {
		t.Fatal(b, err)
	}
	mallory := enrol("mallory", false)
	if fresh, gone, err = b.Compare([]control.Custody{dana, mallory}); err != nil || len(fresh) != 1 || len(gone) != 1 || gone[0].ID != safe.ID {
		t.Errorf("%v, %v, %v", fresh, gone, err)
	}
	forged := dana
	other := *dana.Recipient
	other.ID, other.Public = control.RecipientID("age1m"), "age1m"
	forged.Recipient = &other
	if _, _, err := b.Compare([]control.Custody{forged}); err == nil {
		t.Error("a recipient was swapped under a signature")
	}
	for word, want := range map[string]int{"dana": 1, "all": 1, safe.Recipient.ID: 1, "nobody": 0} {
		if found, err := b.Find([]string{word}, false); len(found) != want || (err != nil) != (want == 0) {
			t.Errorf("%s: %v, %v", word, found, err)
		}
	}
	if err := b.Forget(*dana.Recipient); err != nil || len(b.Recipients()) != 1 {
		t.Error(err)
	}
	if err := os.WriteFile(filepath.Join(dir, bookName), []byte("{}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenBook(dir); err == nil {
		t.Error("a damaged book was read")
	}
}
