package scp

import (
	"bytes"
	"flag"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// commands are what stock clients send, and what their users type into them.
var commands = []struct {
	line string
	want Command
}{
	// OpenSSH, which PuTTY follows: the flags apart, the path as it was typed.
	{"scp -f file", Command{Source: true, Paths: []string{"file"}}},
	{"scp -t .", Command{Paths: []string{"."}}},
	{"scp -v -r -p -d -t /srv/in", Command{Recursive: true, Times: true, Directory: true, Paths: []string{"/srv/in"}}},
	{"scp -r -f /srv/out/", Command{Source: true, Recursive: true, Paths: []string{"/srv/out/"}}},
	{"scp -f -- -file", Command{Source: true, Paths: []string{"-file"}}},
	{"scp -t -- -f", Command{Paths: []string{"-f"}}},
	{"scp -d -t /tmp/a_b-c.d+e,f:g@h", Command{Directory: true, Paths: []string{"/tmp/a_b-c.d+e,f:g@h"}}},
	{"scp -f *.txt", Command{Source: true, Paths: []string{"*.txt"}}},
	{"scp -f dir/*.[ch]", Command{Source: true, Paths: []string{"dir/*.[ch]"}}},
	{"scp -f [a-c]?", Command{Source: true, Paths: []string{"[a-c]?"}}},
	{"scp -t /srv/2024-*", Command{Paths: []string{"/srv/2024-*"}}},
	{"scp -t -- *dir", Command{Paths: []string{"*dir"}}},
	{"scp -f ~", Command{Source: true, Paths: []string{"~"}}},
	{"scp -f ~/notes", Command{Source: true, Paths: []string{"~/notes"}}},
	{"scp -t ~root/in", Command{Paths: []string{"~root/in"}}},
	{"scp -f draft.txt~", Command{Source: true, Paths: []string{"draft.txt~"}}},
	{"scp -f a=b", Command{Source: true, Paths: []string{"a=b"}}},
	{"scp -f 100%", Command{Source: true, Paths: []string{"100%"}}},
	{"scp -f caf\u00e9/\u65e5\u672c\u8a9e", Command{Source: true, Paths: []string{"caf\u00e9/\u65e5\u672c\u8a9e"}}},
	{"scp -f one two", Command{Source: true, Paths: []string{"one", "two"}}},
	{"scp -t my dir", Command{Paths: []string{"my", "dir"}}},
	{"scp  -f   file ", Command{Source: true, Paths: []string{"file"}}},
	{`scp -f my\ file`, Command{Source: true, Paths: []string{"my file"}}},
	{`scp -f 'my file'`, Command{Source: true, Paths: []string{"my file"}}},
	{`scp -f "my file"`, Command{Source: true, Paths: []string{"my file"}}},
	{`scp -f 'a;b|c&d$(e)` + "`f`" + `<g>#h{i}^~*?"'`, Command{Source: true, Paths: []string{`a;b|c&d$(e)` + "`f`" + `<g>#h{i}^~*?"`}}},
	{`scp -f "it's; here"`, Command{Source: true, Paths: []string{"it's; here"}}},
	{`scp -f \;\&\$\(\)\!\'\"\\`, Command{Source: true, Paths: []string{`;&$()!'"\`}}},
	{`scp -f 'C:\dir'`, Command{Source: true, Paths: []string{`C:\dir`}}},
	{`scp -f '*'.txt`, Command{Source: true, Paths: []string{"*.txt"}}},
	// paramiko's scp.py and every other user of shlex.quote.
	{`scp -t '/tmp/it'"'"'s here'`, Command{Paths: []string{"/tmp/it's here"}}},
	{`scp -r -p -f '/tmp/a b' /tmp/c`, Command{Source: true, Recursive: true, Times: true, Paths: []string{"/tmp/a b", "/tmp/c"}}},
	// libssh2 (curl) and its way with ! and '
	{`scp -f '/tmp/file'`, Command{Source: true, Paths: []string{"/tmp/file"}}},
	{`scp -pf '/tmp/it'"'"'s'\!`, Command{Source: true, Times: true, Paths: []string{"/tmp/it's!"}}},
	{`scp -pt '/tmp/file'`, Command{Times: true, Paths: []string{"/tmp/file"}}},
	// Libraries: Go, Java, Ruby, Terraform.
	{`scp -qt "/tmp/file"`, Command{Paths: []string{"/tmp/file"}}},
	{`scp -p -t '/tmp/file'`, Command{Times: true, Paths: []string{"/tmp/file"}}},
	{`scp -rvpt /tmp/file`, Command{Recursive: true, Times: true, Paths: []string{"/tmp/file"}}},
	{`scp -vt /tmp`, Command{Paths: []string{"/tmp"}}},
	{`scp -t /tmp/terraform_1234.sh`, Command{Paths: []string{"/tmp/terraform_1234.sh"}}},
}

func TestCommands(t *testing.T) {
	for _, c := range commands {
		got, ok := ParseCommand(c.line)
		if !ok || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s\n got %+v %v\nwant %+v", c.line, got, ok, c.want)
		}
	}
}

// refused are what somebody sends who has been granted scp and wants more, and what looks harmless but is not the same to every shell.
var refused = []string{
	// Not scp.
	"", " ", "bash", "scp", "scp ", "scp -f", "scp -t ", "sftp-server", "scp2 -f x", "scp-f x", "SCP -f x", "/usr/bin/scp -f x", "./scp -f x", "'scp' -f x", `s\cp -f x`, `"scp" -f x`,
	"exec scp -f x", "sudo scp -f x", "env scp -f x", "X=1 scp -f x", "PATH=/tmp scp -f x", "scp() -f x", "-scp -f x", "!scp -f x", "time scp -f x", "scp\t-f x", "~/scp -f x", "sc? -f x",
	// Other commands beside it.
	"scp -f x; bash", "scp -f x;bash", "scp -t /tmp/x; bash", "bash; scp -f x", "scp -f x & bash", "scp -f x && bash", "scp -f x || bash", "scp -f x | bash", "scp -f x |& bash", "scp -f x\nbash", "scp -f x\rbash",
	"scp -f x\r\nbash", "scp -f x\x00;bash", "scp -f x\u0085bash", "scp -f x\u2028bash", "scp -f x\u00a0y", "scp -f x\u3000y", "scp -f x\vy", "scp -f x\fy", "scp -f x\ty", "\n scp -f x", "scp -f x\n", "scp -f x\x7f", "scp -f x\x1b[A",
	// Substitutions.
	"scp -f $(bash)", "scp -f `bash`", `scp -f "$(bash)"`, "scp -f \"`bash`\"", "scp -f $HOME", `scp -f "$HOME"`, "scp -f ${X}", "scp -f $'x'", `scp -f $"x"`, "scp -f <(bash)", "scp -f >(bash)", "scp -f =(bash)", "scp -f (bash)",
	"scp -f x >y", "scp -f x >/etc/passwd", "scp -f x <y", "scp -f x 2>&1", "scp -f x >>~/.ssh/authorized_keys", "scp -f x ^bash", "scp -f x^bash", "scp -f [^a]", "scp -f [!a]", "scp -f {a,b}", "scp -f a{1..9}", "scp -f }", "scp -f {",
	"scp -f #x", "scp -f x #", "scp -f x#y", "scp -f !bash", "scp -f x!!", `scp -f "x!bash"`, "scp -f 'x!bash'", "scp -f =bash", "scp -f x==bash", "scp -f /=x", "scp -f %self", "scp -f %1", "scp -f ''%self", "scp -f a:~/x", "scp -f a=~/x",
	"scp -f ~-", "scp -f ~+/x", "scp -f ~1", "scp -f ~[x]", "scp -f ~$X", "scp -f ~é", "scp -f x*(e:bash:)", "scp -f @(a)", "scp -f a\u201cb", "scp -f a\uff1bb", "scp -f a\u037eb",
	// Quotes that not every shell ends in the same place.
	"scp -f 'x", `scp -f "x`, `scp -f x\`, `scp -f x"y'z`, `scp -f 'a\' '; id #'`, `scp -f 'a\\b'`, `scp -f "a\"b"`, `scp -f "a\\b"`, `scp -f "a\b"`, `scp -f \n`, `scp -f \x3bid`, "scp -f \\\nx", "scp -f 'x\ny'", "scp -f \u3042\\;id", "scp -f \\\u00e9",
	// Flags.
	"scp -f -t x", "scp -ft x", "scp -f -f x", "scp -tt x", "scp x", "scp x y", "scp -r x", "scp -- -f x", "scp -f -S/tmp/x y", "scp -S /tmp/x -f y", "scp -f -oProxyCommand=bash x", "scp -o ProxyCommand=bash -f x", "scp -o 'ProxyCommand bash' x y:", "scp -F x -f y",
	"scp -f -J h x", "scp -3 a:b c:d", "scp -D /bin/sh -f x", "scp -X buffer=1 -f x", "scp -l 1 -f x", "scp -B -f x", "scp -T -f x", "scp -O -f x", "scp -1f x", "scp - -f x", "scp -f -", "scp -f x -t", "scp -t x -f", "scp -t x -S/bin/sh", "scp -f x -- -S", "scp -f --",
	"scp -f '-t'", `scp -f \-t`, `scp -f "-"t`, "scp '-f' x", `scp \-f x`, "scp -f '--' x", "scp -f --x", "scp --help", "scp -f '' ", `scp -t ""`, "scp -t *", "scp -t [-]f", "scp -t ?f x", "scp -t ''*", "scp -* x", "scp -f? x", "scp -[f] x",
	// Bytes that are no text.
	"scp -f \xff", "scp -f caf\xe9", "scp -f \xc3", "scp -f 'x\xa0y'", "scp -f \xed\xa0\x80", "scp -f x\xc2\x9by",
}

func TestRefusedCommands(t *testing.T) {
	for _, line := range append(refused, "scp -f "+strings.Repeat("x", mostCommand)) {
		if c, ok := ParseCommand(line); ok {
			t.Errorf("%q is taken for %+v", line, c)
		}
	}
}

// The shells of this machine run the accepted commands. In the place of scp is a program that says what it was run with; nothing else may
// run, be written or be said.
func TestShellsAgree(t *testing.T) {
	witness := newWitness(t)
	for _, c := range commands {
		witness.check(t, c.line)
	}
}

// The same for whatever else is accepted of lines that are made of what shells make much of.
func TestShellsAgreeOnAnything(t *testing.T) {
	witness := newWitness(t)
	pieces := strings.Split("a|b|-|/|.| | |'|'|\"|\"|\\|\\|\\\\|;|&|$|`|(|)|<|>|#|{|}|!|*|?|[|]|^|=|~|%|%self|:|,|@|+|é|あ|ａ|id|''|\\'|'; id #'|\\;|\\ |'a b'|\"c d\"", "|")
	pieces = append(pieces, "|")
	rng := rand.New(rand.NewPCG(20, 26))
	for n := 0; n < *lines; {
		line := "scp -f -- a"
		for range 1 + rng.IntN(7) {
			line += pieces[rng.IntN(len(pieces))]
		}
		if _, ok := ParseCommand(line); ok && !strings.Contains(line, " ~") {
			witness.check(t, line)
			n++
		}
	}
}

var (
	lines  = flag.Int("lines", 150, "random commands that the shells are asked about")
	locale = flag.String("locale", "C.UTF-8", "in which locale")
)

// witness stands where scp would.
type witness struct {
	shells             []shell
	bin, empty, report string
}

func newWitness(t *testing.T) *witness {
	w := &witness{shells: shells(t), bin: t.TempDir(), empty: t.TempDir(), report: filepath.Join(t.TempDir(), "report")}
	script := "#!/bin/sh\nprintf '%s\\0' RUN \"$@\" >>'" + w.report + "'\n"
	if err := os.WriteFile(filepath.Join(w.bin, "scp"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *witness) check(t *testing.T, line string) {
	t.Helper()
	want, patterns := expect(line)
	for _, shell := range w.shells {
		if patterns && shell.needsFiles {
			continue
		}
		os.Remove(w.report)
		cmd := exec.Command(shell.path, append(shell.flags, "-c", line)...)
		cmd.Dir, cmd.Env = w.empty, append(os.Environ(), "PATH="+w.bin, "HOME=/home/nobody", "LC_ALL="+*locale)
		said, err := cmd.CombinedOutput()
		got, _ := os.ReadFile(w.report)
		if err != nil || len(said) > 0 || !bytes.Equal(got, want) {
			t.Errorf("%s -c %s\nran scp with %q\nwant         %q\n%s %v", shell.path, line, got, want, said, err)
		}
		if left, _ := os.ReadDir(w.empty); len(left) > 0 {
			t.Fatalf("%s -c %s made %v", shell.path, line, left)
		}
	}
}

// expect is the report of an accepted line: its words, with the shell's part of the work done.
func expect(line string) (report []byte, patterned bool) {
	list, _ := split(line)
	b := []byte("RUN\x00")
	for _, w := range list[1:] {
		if root, err := user.Lookup("root"); err == nil && strings.HasPrefix(w.text, "~root/") {
			w.text = root.HomeDir + w.text[5:]
		} else if w.plain && (w.text == "~" || strings.HasPrefix(w.text, "~/")) {
			w.text = "/home/nobody" + w.text[1:]
		}
		b = append(append(b, w.text...), 0)
		patterned = patterned || !w.plain && strings.ContainsAny(w.text, patterns)
	}
	return b, patterned
}

type shell struct {
	path       string
	flags      []string
	needsFiles bool // it runs nothing if a pattern has no match
}

// shells are sh and bash, which are wherever these tests run, and those of the others that are there.
func shells(t *testing.T) (list []shell) {
	for _, s := range []shell{{path: "sh"}, {path: "bash"}, {path: "dash"}, {path: "ksh93"}, {path: "mksh"}, {path: "busybox", flags: []string{"ash"}},
		{"zsh", []string{"-f"}, true}, {"fish", []string{"--no-config"}, true}, {"tcsh", []string{"-f"}, true}} {
		path, err := exec.LookPath(s.path)
		if err != nil && (s.path == "sh" || s.path == "bash") {
			t.Fatal(err)
		}
		if err == nil {
			s.path = path
			list = append(list, s)
		}
	}
	return list
}
