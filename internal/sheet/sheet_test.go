package sheet

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"postern/internal/control"
)

// big is about what a sheet for three people holds.
func big() control.Made {
	made := control.Made{Terms: bytes.Repeat([]byte(`{"v":1}`), 100), Envelope: make([]byte, 80)}
	for range 3 {
		made.Certificates = append(made.Certificates, make([]byte, 500))
	}
	r := rand.New(rand.NewPCG(1, 2))
	for _, b := range append(made.Certificates, made.Envelope) {
		for i := range b {
			b[i] = byte(r.Uint32())
		}
	}
	return made
}

func written(t *testing.T) (text, passphrase string, made control.Made) {
	t.Helper()
	made, passphrase = big(), Passphrase()
	text, err := Write(made, passphrase, "R-7K2M4Q, root@phi1")
	if err != nil {
		t.Fatal(err)
	}
	return text, passphrase, made
}

func TestSheet(t *testing.T) {
	text, passphrase, made := written(t)
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for _, line := range lines[2:] {
		if len(line) > 60 {
			t.Errorf("%d characters do not fit on paper: %s", len(line), line)
		}
	}
	for what, as := range map[string][2]string{
		"as it is":               {text, passphrase},
		"in small letters":       {strings.ToLower(text), strings.ToUpper(passphrase)},
		"without spaces":         {unspaced(text), strings.ReplaceAll(passphrase, "-", "")},
		"with spaces":            {text, strings.ReplaceAll(passphrase, "-", " ") + "\n"},
		"from another system":    {strings.ReplaceAll(text, "\n", "\r\n"), passphrase},
		"with O and I as digits": {digits(text), passphrase},
	} {
		if got, err := Read(as[0], as[1]); err != nil || !reflect.DeepEqual(got, made) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, not := range []string{"", "wrong", Passphrase(), passphrase + "a"} {
		if _, err := Read(text, not); err == nil || strings.Contains(err.Error(), "line") {
			t.Errorf("passphrase %q: %v", not, err)
		}
	}
	if a, b := Passphrase(), Passphrase(); a == b || len(a) != 23 {
		t.Error(a, b)
	}
}

// unspaced is a sheet typed by somebody in a hurry.
func unspaced(text string) string {
	var out []string
	for i, line := range strings.Split(text, "\n") {
		if f := strings.Fields(line); i > 1 && len(f) > 1 {
			line = f[0] + " " + strings.Join(f[1:], "")
		}
		out = append(out, line)
	}
	return strings.Join(out, "\n")
}

func digits(text string) string {
	var out []string
	for i, line := range strings.Split(text, "\n") {
		if i > 1 && len(line) > 5 {
			line = line[:5] + strings.NewReplacer("O", "0", "I", "1", "B", "8").Replace(line[5:])
		}
		out = append(out, line)
	}
	return strings.Join(out, "\n")
}

// Every single mistake, and every two neighbours that change places, are found in their line; so are lines that are missing, doubled or exchanged.
func TestMistyped(t *testing.T) {
	text, _, _ := written(t)
	all := strings.Split(strings.TrimRight(text, "\n"), "\n")
	head, lines := all[:2], all[2:]
	broken := func(n int, line string) string {
		changed := append([]string{}, lines...)
		changed[n] = line
		return strings.Join(append(append([]string{}, head...), changed...), "\n")
	}
	names := func(what, text, says string) {
		t.Helper()
		if _, err := Check(text); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: want an error that says %q, got %v", what, says, err)
		}
	}
	for _, n := range []int{0, len(lines) / 2, len(lines) - 1} {
		says := fmt.Sprintf("line %d is mistyped", n+1)
		for i := 5; i < len(lines[n]); i += 3 {
			if lines[n][i] == ' ' {
				continue
			}
			for _, other := range "AL7" {
				if byte(other) != lines[n][i] {
					names("one character", broken(n, lines[n][:i]+string(other)+lines[n][i+1:]), says)
				}
			}
			if i+1 < len(lines[n])-4 && lines[n][i+1] != ' ' && lines[n][i] != lines[n][i+1] {
				names("two exchanged", broken(n, lines[n][:i]+string(lines[n][i+1])+string(lines[n][i])+lines[n][i+2:]), says)
			}
		}
		names("left out", broken(n, lines[n][:8]+lines[n][9:]), says)
		names("no letter", broken(n, lines[n][:8]+"ä"+lines[n][9:]), says)
	}
	names("a line too few", strings.Join(lines[:len(lines)-1], "\n"), "missing")
	names("a line in the middle", strings.Join(append(append([]string{}, lines[:3]...), lines[4:]...), "\n"), "line 5 stands where line 4 belongs")
	names("two lines under each other's number", broken(0, "  1"+lines[1][3:]), "line 1 is mistyped")
	names("nothing", strings.Join(head, "\n"), "no sheet")
	other, _, _ := written(t)
	names("a line of another sheet", broken(4, strings.Split(other, "\n")[6]), "not together")
}

func FuzzCheck(f *testing.F) {
	text, err := Write(big(), "x", "a sheet")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Fuzz(func(t *testing.T, text string) {
		if sealed, err := Check(text); err == nil {
			again, err := Check(lines(framed(sealed)))
			if err != nil || !bytes.Equal(again, sealed) {
				t.Errorf("%v", err)
			}
		}
	})
}

// Every wrong character and every two that changed places give another check.
func TestCheckFindsEveryMistake(t *testing.T) {
	const line = "MFXGIZJNMVXGG4TZOB2GS33OFZXXEZZPOYYQUWRT"
	sum := check(7, line)
	for i := range len(line) {
		for _, other := range symbols {
			if byte(other) != line[i] && check(7, line[:i]+string(other)+line[i+1:]) == sum {
				t.Errorf("%c at %d is not found", other, i)
			}
		}
		for j := i + 1; j < len(line); j++ {
			b := []byte(line)
			if b[i], b[j] = b[j], b[i]; line[i] != line[j] && check(7, string(b)) == sum {
				t.Errorf("%d and %d can change places", i, j)
			}
		}
	}
	for n := range 200 {
		if n != 7 && check(n, line) == sum {
			t.Errorf("it fits under the number %d", n)
		}
	}
}

// What a passphrase opens is of whoever wrote the sheet.
func FuzzUnmarshal(f *testing.F) {
	f.Add(marshal(big()))
	f.Add(marshal(control.Made{}))
	f.Add(marshal(control.Made{Certificates: [][]byte{{}, []byte("x")}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if made, err := unmarshal(b); err == nil && !bytes.Equal(marshal(made), b) {
			t.Errorf("%x comes back as %x", b, marshal(made))
		}
	})
}
