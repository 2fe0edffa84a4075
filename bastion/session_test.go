package bastion

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/internal/control"
	"postern/recorder"
)

// ways are the two ways in; everything a session does must be the same through both.
var ways = []string{"phi1", "direct"}

func TestCommandsBehaveAsOnTheHost(t *testing.T) {
	t.Parallel()
	for _, way := range ways {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			for _, c := range []struct {
				command, stdin string
				want           result
			}{
				{"true", "", result{"", "", 0}},
				{"echo out; echo err >&2; exit 42", "", result{"out\n", "err\n", 42}},
				{"cat", "what goes in\n", result{"what goes in\n", "", 0}},
				{"wc -c", strings.Repeat("x", 1<<20), result{"1048576\n", "", 0}},
				{"kill -TERM $$", "", result{"", "", 255}},
				{"exec >&-; cat >/dev/null; exit 7", "input after the end of output", result{"", "", 7}},
				{"(sleep 0.2; echo late) & exit 3", "", result{"late\n", "", 3}},
				{"echo $LC_ALL $POSTERN_X", "", result{"C\n", "", 0}},
			} {
				cmd := w.command("ssh", "-o", "LogLevel=ERROR", "-o", "SetEnv=LC_ALL=C POSTERN_X=no", way, c.command)
				if got := w.finish(cmd, strings.NewReader(c.stdin)); got != c.want {
					t.Errorf("%s: got %+v, want %+v", c.command, got, c.want)
				}
			}
		})
	}
}

func TestAClosedReaderEndsTheCommand(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, way := range ways {
		cmd := w.command("ssh", way, "yes; echo done > "+w.file("done-"+way))
		out, _ := cmd.StdoutPipe()
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		_, _ = io.ReadFull(out, make([]byte, 2))
		out.Close()
		kill := time.AfterFunc(patience, func() {
			stacks := make([]byte, 1<<20)
			t.Errorf("%s: still running, and here is what everybody waits for:\n%s", way, stacks[:runtime.Stack(stacks, true)])
			cmd.Process.Kill()
		})
		err := cmd.Wait()
		kill.Stop()
		if _, serr := os.Stat(w.file("done-" + way)); err != nil || serr != nil {
			t.Errorf("%s: ssh ended with %v, the command with %v", way, err, serr)
		}
	}
}

func TestATerminal(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	client, _, err := w.dial(w.account+"@phi1", w.certificate(nil))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	s, _ := client.NewSession()
	in, _ := s.StdinPipe()
	var out syncBuffer
	s.Stdout, s.Stderr = &out, &out
	if err := s.RequestPty("xterm", 33, 77, ssh.TerminalModes{ssh.ECHO: 0}); err != nil {
		t.Fatal(err)
	}
	if err := s.Shell(); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(in, "PS1=; stty size; echo secret-$((6*7)); read x")
	out.wait(t, "33 77", "secret-42")
	if err := s.WindowChange(44, 88); err != nil {
		t.Fatal(err)
	}
	// What is typed after a resize may overtake it: they are two things to the library.
	fmt.Fprintln(in, "\nuntil [ \"$(stty size)\" = '44 88' ]; do sleep 0.01; done; stty size; exit 9")
	out.wait(t, "44 88\r\n")
	exit, ok := s.Wait().(*ssh.ExitError)
	if !ok || exit.ExitStatus() != 9 {
		t.Fatalf("exit %v", exit)
	}
	client.Close()
	id := w.ending().Session
	frames := w.recording(id)
	if stream(frames, recorder.Stdin) != "" {
		t.Error("keystrokes were recorded without a policy that says so")
	}
	if got := stream(frames, recorder.Stdout); !strings.Contains(got, "secret-42") || !strings.Contains(got, "44 88") {
		t.Errorf("recorded output: %q", got)
	}
	var names []string
	for _, f := range frames {
		if r, err := f.Request(); err == nil {
			names = append(names, r.Name)
		}
	}
	if got := strings.Join(names, " "); !strings.HasPrefix(got, "pty-req shell window-change") {
		t.Errorf("recorded requests: %s", got)
	}
}

func TestKeystrokesAreRecordedWhereThePolicySaysSo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.answer(func(r *control.OpenReply) { r.Record.Keystrokes, r.KeystrokeKey = true, &w.typedKey })
	got := w.run("echo typed; exit\n", "ssh", "-tt", "direct")
	if got.status != 0 {
		t.Fatalf("%+v", got)
	}
	id := w.ending().Session
	if got := stream(w.recording(id, w.typedPrivate), recorder.Stdin); got != "echo typed; exit\n" {
		t.Errorf("recorded %q", got)
	}
	if got := stream(w.recording(id), recorder.Stdin); got != "" {
		t.Errorf("who holds the recording key alone reads %q", got)
	}
	for _, f := range w.recording(id) {
		if f.Type != recorder.TypeData && bytes.Contains(f.Data, []byte("echo typed")) {
			t.Errorf("a %v frame holds what was typed", f.Type)
		}
	}
}

// A key for the one purpose is not taken for the other, and without one nothing opens.
func TestKeystrokesNeedAKeyOfTheirOwn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, answer := range map[string]func(*control.OpenReply){
		"none":                func(r *control.OpenReply) { r.Record.Keystrokes = true },
		"that of the month":   func(r *control.OpenReply) { r.Record.Keystrokes, r.KeystrokeKey = true, &r.RecordingKey },
		"keystrokes' for all": func(r *control.OpenReply) { r.RecordingKey = w.typedKey },
	} {
		w.answer(answer)
		if got := w.run("", "ssh", "direct", "true"); got.status == 0 || !strings.Contains(got.err, "key") {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestWhatIsShownIsRecorded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, way := range ways {
		got := w.run("question", "ssh", way, "cat; echo complaint >&2; exit 5")
		id := w.ending().Session
		frames := w.recording(id)
		if stream(frames, recorder.Stdin) != "question" || stream(frames, recorder.Stdout) != got.out || !strings.Contains(got.err, stream(frames, recorder.Stderr)) {
			t.Errorf("%s: shown %+v, recorded %q %q %q", way, got, stream(frames, 0), stream(frames, 1), stream(frames, 2))
		}
		var command, end string
		var exit recorder.Exit
		for _, f := range frames {
			if r, err := f.Request(); err == nil && r.Name == "exec" {
				command = stringOf(r.Payload)
			}
			if e, err := f.Exit(); err == nil {
				exit = e
			}
			if f.Type == recorder.TypeEnd {
				end = string(f.Data)
			}
		}
		if command != "cat; echo complaint >&2; exit 5" || exit.Status != 5 || end != "closed" {
			t.Errorf("%s: command %q, exit %+v, end %q", way, command, exit, end)
		}
	}
}

func TestFilesTravel(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	data := make([]byte, 3<<20)
	_, _ = rand.Read(data)
	if err := os.WriteFile(w.file("big"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, way := range ways {
		for _, old := range []string{"", "-O"} {
			there, back := w.file("there"+way+old), w.file("back"+way+old)
			for _, files := range [][]string{{w.file("big"), way + ":" + there}, {way + ":" + there, back}} {
				args := append([]string{"-q"}, files...)
				if old != "" {
					args = append([]string{old}, args...)
				}
				if got := w.run("", "scp", args...); got.status != 0 {
					t.Fatalf("scp %v: %+v", args, got)
				}
			}
			if got := must(os.ReadFile(back)); !bytes.Equal(got, data) {
				t.Errorf("%s %s: the file came back different", way, old)
			}
		}
		batch := fmt.Sprintf("put %s %s/sftp\nrename %[2]s/sftp %[2]s/sftp2\nls -l %[2]s\nget %[2]s/sftp2 %[2]s/sftp3\n", w.file("big"), w.dir)
		if got := w.run(batch, "sftp", "-b", "-", way); got.status != 0 {
			t.Fatalf("sftp: %+v", got)
		}
		if got := must(os.ReadFile(w.file("sftp3"))); !bytes.Equal(got, data) {
			t.Errorf("%s: sftp brought back something else", way)
		}
	}
}

func TestNoExitStatusIsLostThroughASharedConnection(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, way := range ways {
		short := must(os.MkdirTemp("", "mux")) // t.TempDir is too long for a socket
		defer os.RemoveAll(short)
		socket := filepath.Join(short, "s")
		master := w.command("ssh", "-M", "-S", socket, "-o", "ControlPersist=no", way, "echo up; cat")
		hold, _ := master.StdinPipe()
		up, _ := master.StdoutPipe()
		if err := master.Start(); err != nil {
			t.Fatal(err)
		}
		_, _ = io.ReadFull(up, make([]byte, 3))
		var group sync.WaitGroup
		for worker := range 4 {
			group.Go(func() {
				for i := range 15 {
					want := (worker*25 + i) % 100
					cmd := w.command("ssh", "-S", socket, way, fmt.Sprintf("echo %d; exit %d", want, want))
					if got := w.finish(cmd, nil); got.status != want || got.out != fmt.Sprintln(want) {
						t.Errorf("%s: got %+v, want status %d", way, got, want)
					}
				}
			})
		}
		group.Wait()
		hold.Close()
		_ = master.Wait()
		w.ending()
	}
	if n := w.asked(); n != len(ways) {
		t.Errorf("%d sessions were opened at the CA for %d connections", n, len(ways))
	}
}

func TestAnAliasIsTheSameHost(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if got := w.run("", "ssh", "phi1.example", "echo here"); got.out != "here\n" {
		t.Fatalf("%+v", got)
	}
}
