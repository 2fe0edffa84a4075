// Package story runs the stories in testdata: testscript files that tell what a person, an operator or an attacker does to a
// whole lab of real parts, and what they see. Start with a file in testdata. Each has a lab of its own in $LAB, with the
// programs built once. Beyond testscript's commands a story has those of [Commands], and the programs
//
//	exec as alice COMMAND…       COMMAND with the environment of that person, for whom ssh, scp and sftp read the person's ssh_config,
//	                             as they read ~/.ssh/config on an admin's own machine
//	exec ssh-as alice phi1 …     stock ssh with that person's ssh_config
//	exec ca-as alice COMMAND…    stock ssh to the CA, as that person
//	exec as alice ways SCRIPT    runs a script three times at once, in empty directories, with $to what a client calls the host: direct, which
//	                             is without the bastion, through a jump, and by -l; what it prints must be the same
package story

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"postern/internal/lab"
)

// patience bounds every wait of a story for something that must happen.
const patience = 2 * time.Minute

// helpers are what a story executes beside the four programs and OpenSSH.
var helpers = map[string]string{
	"as":     `WHO=$1; export WHO; shift; . "$LAB/$WHO/env"; PATH="${0%/*}/own:$PATH"; exec "$@"`,
	"ways":   ways,
	"ssh-as": `who=$1; shift; . "$LAB/$who/env"; exec ssh -F "$LAB/$who/ssh_config" "$@"`,
	"ca-as": `who=$1; shift; . "$LAB/$who/env"
exec ssh -F none -p "$CA_PORT" -o IdentitiesOnly=yes -i "$LAB/$who/id_ed25519.pub" -o HostKeyAlias=postern-ca \
	-o UserKnownHostsFile="$LAB/trust/known_hosts" -o LogLevel=ERROR -o BatchMode=yes 127.0.0.1 "$@"`,
}

const ways = `set -e
all="direct phi1 $ACCOUNT@phi1@bastion-1"
for to in $all; do
	mkdir way."$to"
	(
		export to
		cd way."$to"
		sh -e "$WORK/$1" >../said."$to" 2>&1 || echo "$1 failed" >../failed."$to"
	) &
done
wait
for to in $all; do
	if [ -e failed."$to" ]; then cat said."$to"; echo "$1 failed, to $to"; exit 1; fi
	diff said.direct said."$to"
	rm -rf way."$to"
done
cat said.direct`

// own are the programs of OpenSSH that read a configuration.
var own = []string{"ssh", "scp", "sftp"}

// Params describes the stories in dir to testscript, with programs built in bin.
func Params(dir, bin string) testscript.Params {
	return testscript.Params{
		Dir:                 dir,
		Setup:               func(env *testscript.Env) error { return setup(env, bin) },
		Cmds:                Commands(),
		RequireExplicitExec: true,
		Condition:           condition,
	}
}

// condition knows [root]: some things only root's sshd does.
func condition(name string) (bool, error) {
	if name == "root" {
		return os.Getuid() == 0, nil
	}
	return false, fmt.Errorf("no condition [%s]", name)
}

func setup(env *testscript.Env, bin string) error {
	dir := filepath.Join(env.WorkDir, "lab")
	l, err := lab.Up(lab.Config{Dir: dir, Bin: bin})
	if err != nil {
		return err
	}
	env.Values[labKey{}] = l
	env.Values[watchKey{}] = &watch{time.Now()}
	env.Defer(func() {
		if failed, ok := env.T().(interface{ Failed() bool }); ok && failed.Failed() {
			showLogs(env.T(), dir)
		}
		if err := l.Down(); err != nil {
			env.T().Log(err)
		}
	})
	bin = filepath.Join(env.WorkDir, ".bin")
	if err := writeHelpers(bin); err != nil {
		return err
	}
	env.Setenv("LAB", dir)
	env.Setenv("ACCOUNT", l.Account)
	for name, address := range l.Addresses {
		env.Setenv(strings.ToUpper(name), address)
		env.Setenv(strings.ToUpper(name)+"_PORT", strconv.Itoa(l.Ports[name]))
	}
	env.Setenv("PATH", bin+":"+filepath.Join(dir, "bin")+":"+env.Getenv("PATH")+":/usr/sbin")
	return nil
}

func writeHelpers(bin string) error {
	scripts := map[string]string{}
	for name, text := range helpers {
		scripts[name] = text
	}
	for _, name := range own {
		program, err := exec.LookPath(name)
		if err != nil {
			return err
		}
		scripts["own/"+name] = `exec ` + program + ` -F "$LAB/$WHO/ssh_config" "$@"`
	}
	if err := os.MkdirAll(filepath.Join(bin, "own"), 0o700); err != nil {
		return err
	}
	for name, text := range scripts {
		if err := os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil {
			return err
		}
	}
	return nil
}

type labKey struct{}
type watchKey struct{}

// watch is the stopwatch of one story.
type watch struct{ began time.Time }

func showLogs(t testscript.T, dir string) {
	for _, name := range []string{"ca", "bastion", "phi1", "phi2", "host-phi1", "host-phi2"} {
		b, _ := os.ReadFile(filepath.Join(dir, "log", name+".log"))
		lines := strings.Split(strings.TrimSpace(string(b)), "\n")
		t.Log(fmt.Sprintf("--- the end of %s.log\n%s", name, strings.Join(lines[max(0, len(lines)-15):], "\n")))
	}
}

// Commands are the words that stories have of their own:
//
//	lab start|kill|stop|continue NAME   one of the lab's processes: starts it, SIGKILL, SIGSTOP, SIGCONT
//	grant NAME PERSON HOST…             asks for $ACCOUNT on the hosts, has bob and dana approve, takes the certificate; $NAME is the request
//	lab flags NAME FLAG…                more of the command line of one of them, from its next start on
//	lab reload                          the CA reads $LAB/policy again
//	grab NAME REGEXP                    $NAME becomes the first group of REGEXP in the last command's stdout
//	await FILE REGEXP                   waits until the file matches
//	until [!] COMMAND…                  runs a command until it succeeds, or with ! until it fails
//	stopwatch                           starts at zero
//	stopwatch under DURATION            fails when more has passed
//	flip FILE OFFSET                    changes one bit of one byte; a negative offset counts from the end
func Commands() map[string]func(ts *testscript.TestScript, neg bool, args []string) {
	return map[string]func(*testscript.TestScript, bool, []string){
		"lab": labCommand, "grant": grant, "grab": grab, "await": await, "until": until, "stopwatch": stopwatch, "flip": flip,
	}
}

func need(ts *testscript.TestScript, neg bool, args []string, min, max int, usage string) {
	if neg || len(args) < min || len(args) > max {
		ts.Fatalf("usage: %s", usage)
	}
}

func labCommand(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 1, 20, "lab start|kill|stop|continue NAME, lab flags NAME FLAG…, or lab reload")
	l := ts.Value(labKey{}).(*lab.Lab)
	name := ""
	if len(args) > 1 {
		name = args[1]
	}
	switch args[0] {
	case "start":
		ts.Check(l.Start(name))
	case "kill":
		ts.Check(l.Kill(name))
	case "stop":
		ts.Check(l.Signal(name, syscall.SIGSTOP))
	case "continue":
		ts.Check(l.Signal(name, syscall.SIGCONT))
	case "flags":
		if l.Flags == nil {
			l.Flags = map[string][]string{}
		}
		l.Flags[name] = args[2:]
	case "reload":
		ts.Check(l.Reload())
	default:
		ts.Fatalf("lab knows no %q", args[0])
	}
}

func grant(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 3, 10, "grant NAME PERSON HOST…")
	words := []string{args[1], "postern", "request"}
	for _, host := range args[2:] {
		words = append(words, ts.Getenv("ACCOUNT")+"@"+host)
	}
	ts.Check(ts.Exec("as", append(words, "--for", "10m", "--reason", "a story")...))
	grab(ts, false, []string{args[0], "(R-[A-Z0-9]+)"})
	id := ts.Getenv(args[0])
	for _, approver := range []string{"bob", "dana"} {
		if strings.Contains(ts.ReadFile("stdout"), "approved") {
			break
		}
		ts.Check(ts.Exec("as", approver, "postern", "approve", id, "--yes"))
	}
	ts.Check(ts.Exec("as", args[1], "postern", "certificate", id))
}

func grab(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 2, 2, "grab NAME REGEXP")
	re, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	found := re.FindStringSubmatch(ts.ReadFile("stdout"))
	if len(found) == 0 {
		ts.Fatalf("stdout does not match %s", args[1])
	}
	ts.Setenv(args[0], found[len(found)-1])
}

func await(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 2, 2, "await FILE REGEXP")
	re, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	file := ts.MkAbs(args[0])
	soon(ts, func() bool {
		b, _ := os.ReadFile(file)
		return re.Match(b)
	}, "%s never matched %s", args[0], args[1])
}

func until(ts *testscript.TestScript, neg bool, args []string) {
	fails := len(args) > 0 && args[0] == "!"
	if fails {
		args = args[1:]
	}
	need(ts, neg, args, 1, 100, "until [!] COMMAND…")
	soon(ts, func() bool { return (ts.Exec(args[0], args[1:]...) != nil) == fails }, "%s never came true", strings.Join(args, " "))
}

func soon(ts *testscript.TestScript, done func() bool, format string, args ...any) {
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if done() {
			return
		}
	}
	ts.Fatalf(format, args...)
}

func stopwatch(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 0, 2, "stopwatch, or stopwatch under DURATION")
	w := ts.Value(watchKey{}).(*watch)
	if len(args) == 0 {
		w.began = time.Now()
		return
	}
	limit, err := time.ParseDuration(args[len(args)-1])
	ts.Check(err)
	if passed := time.Since(w.began); passed > limit {
		ts.Fatalf("%s passed", passed)
	}
}

func flip(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 2, 2, "flip FILE OFFSET")
	offset, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	file, err := os.OpenFile(ts.MkAbs(args[0]), os.O_RDWR, 0)
	ts.Check(err)
	defer file.Close()
	if offset < 0 {
		size, err := file.Seek(0, io.SeekEnd)
		ts.Check(err)
		offset += size
	}
	var b [1]byte
	_, err = file.ReadAt(b[:], offset)
	ts.Check(err)
	b[0] ^= 0x01
	_, err = file.WriteAt(b[:], offset)
	ts.Check(err)
}
