package scp

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"postern/bastion/meter"
	"postern/recorder"
)

// talk is a conversation: "c" and what the client says, "h" and what the host says, in turn.
type talk []string

var (
	upload   = Command{Recursive: true, Times: true, Paths: []string{"/srv"}}
	download = Command{Source: true, Recursive: true, Times: true, Paths: []string{"/srv/x"}}
	plain    = Command{Source: true, Paths: []string{"/srv/x"}}
)

// run holds a conversation and returns what went on to the client and the host before the first error.
func run(c Command, keep string, steps talk) (toHost, toClient string, frames []recorder.Frame, err error) {
	var log meter.Log
	d := New(c, keep, &log)
	for _, s := range steps {
		var step meter.Step
		if s[0] == 'c' {
			step, err = d.Client(nil, []byte(s[1:]))
			toHost += string(step.Forward)
		} else {
			step, err = d.Host(nil, []byte(s[1:]))
			toClient += string(step.Forward)
		}
		if err != nil {
			break
		}
	}
	d.Close()
	return toHost, toClient, log.Frames(), err
}

func events(t *testing.T, frames []recorder.Frame) (files []recorder.File, operations []recorder.Operation) {
	t.Helper()
	for _, f := range frames {
		if f.Type == recorder.TypeEvent {
			files, operations = event(t, f, files, operations)
		}
	}
	return files, operations
}

// What scp clients and hosts say, with the liberties that some of them take.
func TestProtocol(t *testing.T) {
	for name, c := range map[string]struct {
		command Command
		steps   talk
		files   []string // path and status
	}{
		"upload":                  {upload, talk{"h\x00", "cC0644 3 a\n", "h\x00", "cabc\x00", "h\x00"}, []string{"/srv/a ok"}},
		"in single bytes":         {upload, talk{"h\x00", "cC", "c0", "c6", "c4", "c4", "c ", "c1", "c ", "ca", "c\n", "h\x00", "cx", "c\x00", "h\x00"}, []string{"/srv/a ok"}},
		"two files":               {upload, talk{"h\x00", "cC0644 1 a\n", "h\x00", "cx\x00", "h\x00", "cC0644 0 b\n", "h\x00", "c\x00", "h\x00"}, []string{"/srv/a ok", "/srv/b ok"}},
		"times":                   {upload, talk{"h\x00", "cT1700000000 0 1700000001 999999\n", "h\x00", "cC4755 0 a\n", "h\x00", "c\x00", "h\x00"}, []string{"/srv/a ok"}},
		"times before 1970":       {upload, talk{"h\x00", "cT18446744073709551615 0 0 0\n", "h\x00", "cC0644 0 a\n", "h\x00", "c\x00", "h\x00"}, []string{"/srv/a ok"}},
		"times refused":           {upload, talk{"h\x00", "cT1 0 1 0\n", "h\x01no\n", "cC0644 0 a\n", "h\x00", "c\x00", "h\x00"}, []string{"/srv/a ok"}},
		"directories":             {upload, talk{"h\x00", "cD0755 0 d\n", "h\x00", "cC0644 0 a\n", "h\x00", "c\x00", "h\x00", "cE\n", "h\x00", "cC0644 0 b\n", "h\x00", "c\x00", "h\x00"}, []string{"/srv/d/a ok", "/srv/b ok"}},
		"a directory refused":     {upload, talk{"h\x00", "cD0755 0 d\n", "h\x01no\n", "cC0644 0 a\n", "h\x00", "c\x00", "h\x00"}, []string{"/srv/a ok"}},
		"its end refused":         {upload, talk{"h\x00", "cD0755 0 d\n", "h\x00", "cE\n", "h\x01times\n", "cC0644 0 a\n", "h\x00", "c\x00", "h\x00"}, []string{"/srv/a ok"}},
		"a directory left open":   {upload, talk{"h\x00", "cD0755 0 d\n", "h\x00", "cC0644 0 a\n", "h\x00", "c\x00", "h\x00"}, []string{"/srv/d/a ok"}},
		"refused":                 {upload, talk{"h\x00", "cC0644 3 a\n", "h\x01scp: /srv/a: Permission denied\n", "cC0644 0 b\n", "h\x00", "c\x00", "h\x00"}, []string{"/srv/a scp: /srv/a: Permission denied", "/srv/b ok"}},
		"refused for good":        {upload, talk{"h\x00", "cC0644 3 a\n", "h\x02no\n"}, []string{"/srv/a no"}},
		"it did not fit":          {upload, talk{"h\x00", "cC0644 3 a\n", "h\x00", "cabc\x00", "h\x01disk full\n"}, []string{"/srv/a disk full"}},
		"read error":              {upload, talk{"h\x00", "cC0644 3 a\n", "h\x00", "c\x00\x00\x00\x01I/O error\n", "h\x00", "cC0644 0 b\n", "h\x00", "c\x00", "h\x00"}, []string{"/srv/a I/O error", "/srv/b ok"}},
		"it ends with that":       {upload, talk{"h\x00", "cC0644 3 a\n", "h\x00", "cabc\x02gone\n"}, []string{"/srv/a gone"}},
		"no status (libssh2)":     {upload, talk{"h\x00", "cC0644 3 a\n", "h\x00", "cabc"}, []string{"/srv/a all of it passed, unconfirmed"}},
		"interrupted":             {upload, talk{"h\x00", "cC0644 3 a\n", "h\x00", "ca", "h\x01scp: dropped connection\n"}, []string{"/srv/a scp: dropped connection"}},
		"last words, and the end": {upload, talk{"h\x00", "cC0644 3 a\n", "h\x00", "ca", "h\x01no\n", "cbc\x00"}, []string{"/srv/a no"}},
		"warnings":                {upload, talk{"h\x00", "c\x01scp: x: No such file\n\x01scp: y: No such file\n", "cC0644 0 a\n", "h\x00", "c\x00", "h\x00"}, []string{"/srv/a ok"}},
		"no target":               {upload, talk{"h\x01scp: ambiguous target\n"}, nil},
		"a message like ours":     {upload, talk{"h\x00", "cC0644 3 a\n", "h\x01ok\n"}, []string{"/srv/a error: ok"}},
		"a message of nothing":    {upload, talk{"h\x00", "cC0644 3 a\n", "h\x01\n"}, []string{"/srv/a error: "}},
		"a message not UTF-8":     {upload, talk{"h\x00", "cC0644 3 a\n", "h\x01\xff\n"}, []string{"/srv/a \ufffd"}},
		"download":                {plain, talk{"c\x00", "hC0644 3 x\n", "c\x00", "habc\x00", "c\x00"}, []string{"/srv/x ok"}},
		"download, answer first":  {plain, talk{"c\x00", "hC0644 3 x\n", "c\x00", "habc", "c\x00", "h\x00"}, []string{"/srv/x ok"}},
		"answer between":          {plain, talk{"c\x00", "hC0644 3 x\n", "c\x00", "habc\x01I/O", "c\x00", "h error\n", "c"}, []string{"/srv/x I/O error"}},
		"contents like lines":     {plain, talk{"c\x00", "hC0644 9 x\n", "c\x00", "hE\nC0644 \n", "h\x00", "c\x00"}, []string{"/srv/x ok"}},
		"nothing there":           {plain, talk{"c\x00", "h\x01scp: /srv/x: No such file\n"}, nil},
		"client has no room":      {plain, talk{"c\x00", "hC0644 3 x\n", "c\x01scp: full\n"}, []string{"/srv/x scp: full"}},
		"client gives up":         {plain, talk{"c\x00", "hC0644 3 x\n", "c\x02no\n"}, []string{"/srv/x no"}},
		"names":                   {plain, talk{"c\x00", "hC0644 0  a;b\x1b\r..\n", "c\x00", "h\x00", "c\x00"}, []string{"/srv/ a;b\x1b\r.. ok"}},
		"the largest size":        {plain, talk{"c\x00", "hC0644 9223372036854775807 x\n", "c\x00", "habc"}, []string{"/srv/x interrupted"}},
		"the longest line":        {plain, talk{"c\x00", "h\x01" + strings.Repeat("x", 2045) + "\n", "hC0644 0 x\n", "c\x00", "h\x00", "c\x00"}, []string{"/srv/x ok"}},
	} {
		toHost, toClient, frames, err := run(c.command, meter.Full, c.steps)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var saidToHost, saidToClient string
		for _, s := range c.steps {
			if s[0] == 'c' {
				saidToHost += s[1:]
			} else {
				saidToClient += s[1:]
			}
		}
		if toHost != saidToHost || toClient != saidToClient {
			t.Errorf("%s: passed %q and %q", name, toHost, toClient)
		}
		var got []string
		files, _ := events(t, frames)
		for _, f := range files {
			got = append(got, f.Path+" "+f.Status)
		}
		if strings.Join(got, "|") != strings.Join(c.files, "|") {
			t.Errorf("%s: files %q, want %q", name, got, c.files)
		}
	}
}

// Each conversation but for its last words is good; those must not pass, nor anything after them.
func TestAttacks(t *testing.T) {
	start, fetch := talk{"h\x00"}, talk{"c\x00"}
	sent := talk{"h\x00", "cC0644 3 a\n", "h\x00", "cabc\x00", "h\x00"}
	fetched := talk{"c\x00", "hC0644 3 a\n", "c\x00", "habc\x00", "c\x00"}
	sending, fetching := talk{"h\x00", "cC0644 3 a\n", "h\x00"}, talk{"c\x00", "hC0644 3 a\n", "c\x00"}
	for name, c := range map[string]struct {
		command Command
		good    talk
		bad     string
		why     string
	}{
		"a shell after an upload":            {upload, sent, "cid\n", "no line"},
		"its answer":                         {upload, sent, "huid=0(root)\n", "no answer"},
		"an answer too many":                 {upload, sent, "h\x00", "nobody asked"},
		"a message too many":                 {upload, sent, "h\x01uid=0(root)\n", "nobody asked"},
		"a shell after a download":           {download, fetched, "cid\n", "no answer"},
		"its answer there":                   {download, fetched, "huid=0(root)\n", "no line"},
		"an answer too many there":           {download, fetched, "c\x00", "nobody asked"},
		"a message too many there":           {download, fetched, "c\x01;id\n", "nobody asked"},
		"a shell at once":                    {upload, nil, "hlogin: \n", "startup file"},
		"the host does not wait":             {download, nil, "hC0644 3 a\n", "does not wait"},
		"the client does not wait":           {upload, nil, "cC0644 3 a\n", "does not wait"},
		"a file before the answer":           {upload, talk{"h\x00", "cC0644 3 a\n"}, "cabc\x00", "does not wait"},
		"a line before the answer":           {upload, talk{"h\x00", "cT1 0 1 0\n"}, "cC0644 3 a\n", "does not wait"},
		"a file that was refused":            {upload, talk{"h\x00", "cC0644 3 a\n", "h\x01no\n"}, "cabc\x00", "no line"},
		"a refused file that is lines":       {upload, talk{"h\x00", "cC0644 3 a\n", "h\x01no\n", "cC0644 1 b\n"}, "cx\x00", "does not wait"},
		"the wrong side sends a file":        {upload, start, "hC0644 3 a\n", "no answer"},
		"the wrong side fetches one":         {download, fetch, "cC0644 3 a\n", "no answer"},
		"the wrong side greets":              {upload, nil, "c\x00", "does not wait"},
		"more than announced":                {upload, sending, "cabcd", "more of a file"},
		"more than announced, there":         {download, fetching, "habcd", "more of a file"},
		"a line for the status":              {upload, sending, "cabcC0644 1 b\n", "more of a file"},
		"no status":                          {upload, talk{"h\x00", "cC0644 0 a\n", "h\x00"}, "cE\n", "more of a file"},
		"a status twice":                     {upload, append(sending, "cabc\x00"), "c\x00", "does not wait"},
		"an answer twice":                    {download, append(fetching, "habc", "c\x00"), "c\x00", "answers twice"},
		"an answer within the file":          {upload, sending, "h\x00", "before it has the file"},
		"after its last words":               {upload, append(sending, "ca", "h\x01no\n"), "h\x00", "before it has the file"},
		"after its last words and the file":  {upload, append(sending, "ca", "h\x01no\n", "cbc\x00"), "h\x00", "answers twice"},
		"and the next file":                  {upload, append(sending, "ca", "h\x01no\n", "cbc\x00"), "cC0644 0 b\n", "does not wait"},
		"after the client gave up":           {upload, append(start, "c\x02enough\n"), "cid\n", "gave up"},
		"after the host gave up":             {upload, append(start, "cC0644 3 a\n", "h\x02no\n"), "cid\n", "gave up"},
		"the host, after it gave up":         {upload, append(start, "cC0644 3 a\n", "h\x02no\n"), "h\x00", "gave up"},
		"a directory without -r":             {plain, fetch, "hD0755 0 d\n", "no -r"},
		"an upload of one without -r":        {Command{Paths: []string{"x"}}, start, "cD0755 0 d\n", "no -r"},
		"an end of none":                     {upload, start, "cE\n", "did not begin"},
		"an end too many":                    {upload, append(start, "cD0755 0 d\n", "h\x00", "cE\n", "h\x00"), "cE\n", "did not begin"},
		"an end of one that was refused":     {upload, append(start, "cD0755 0 d\n", "h\x01no\n"), "cE\n", "did not begin"},
		"an end with more":                   {upload, append(start, "cD0755 0 d\n", "h\x00"), "cE;id\n", "well-formed"},
		"times for nothing":                  {upload, append(start, "cT1 0 1 0\n", "h\x00"), "cE\n", "times"},
		"times for a message":                {upload, append(start, "cT1 0 1 0\n", "h\x00"), "c\x01x\n", "times"},
		"times twice":                        {upload, append(start, "cT1 0 1 0\n", "h\x00"), "cT1 0 1 0\n", "times"},
		"nested too deep":                    {upload, append(start, deep(5)...), "cD0755 0 " + strings.Repeat("x", 1900) + "\n", "too deep"},
		"a line without end":                 {upload, start, "cC0644 3 " + strings.Repeat("x", 4000), "too long"},
		"a message without end":              {upload, start, "c\x01" + strings.Repeat("x", 4000), "too long"},
		"one byte more than OpenSSH takes":   {upload, start, "c\x01" + strings.Repeat("x", 2046) + "\n", "too long"},
		"an answer without end":              {download, nil, "c\x01" + strings.Repeat("x", 4000), "too long"},
		"NUL in a name":                      {upload, start, "cC0644 3 a\x00b\n", "NUL"},
		"NUL in a message":                   {upload, start, "c\x01a\x00b\n", "NUL"},
		"an empty line":                      {upload, start, "c\n", "no line"},
		"an answer from the sender":          {upload, start, "c\x00", "no line"},
		"another kind":                       {upload, start, "cX0644 3 a\n", "no line"},
		"lower case":                         {upload, start, "cc0644 3 a\n", "no line"},
		"nothing but a letter":               {upload, start, "cC\n", "well-formed"},
		"no name":                            {upload, start, "cC0644 3 \n", "well-formed"},
		"no size":                            {upload, start, "cC0644 a\n", "well-formed"},
		"no blank":                           {upload, start, "cC06443 a\n", "well-formed"},
		"dot":                                {upload, start, "cC0644 3 .\n", "well-formed"},
		"dot dot":                            {upload, start, "cD0755 0 ..\n", "well-formed"},
		"a path":                             {upload, start, "cC0644 3 a/b\n", "well-formed"},
		"a path up":                          {download, fetch, "hC0644 3 ../../.ssh/authorized_keys\n", "well-formed"},
		"an absolute path":                   {download, fetch, "hC0644 3 /etc/passwd\n", "well-formed"},
		"a slash":                            {upload, start, "cD0755 0 /\n", "well-formed"},
		"a mode of three digits":             {upload, start, "cC644 3 a\n", "well-formed"},
		"a mode of five":                     {upload, start, "cC00644 3 a\n", "well-formed"},
		"a mode with 8":                      {upload, start, "cC0648 3 a\n", "well-formed"},
		"a mode with a sign":                 {upload, start, "cC+644 3 a\n", "well-formed"},
		"a mode with an underscore":          {upload, start, "cC0_44 3 a\n", "well-formed"},
		"a negative size":                    {upload, start, "cC0644 -1 a\n", "well-formed"},
		"a size with a sign":                 {upload, start, "cC0644 +1 a\n", "well-formed"},
		"a size in hexadecimal":              {upload, start, "cC0644 0x1 a\n", "well-formed"},
		"a size of 2^63":                     {upload, start, "cC0644 9223372036854775808 a\n", "well-formed"},
		"a size of 2^64":                     {upload, start, "cC0644 18446744073709551616 a\n", "well-formed"},
		"an empty size":                      {upload, start, "cC0644  a\n", "well-formed"},
		"two blanks":                         {upload, start, "cC0644  3 a\n", "well-formed"},
		"a directory with a size":            {upload, start, "cD0755 1 d\n", "well-formed"},
		"times that are none":                {upload, start, "cT1 0 1\n", "well-formed"},
		"times with more":                    {upload, start, "cT1 0 1 0 0\n", "well-formed"},
		"negative times":                     {upload, start, "cT-1 0 1 0\n", "well-formed"},
		"times with signs":                   {upload, start, "cT+1 0 1 0\n", "well-formed"},
		"times beyond 2^64":                  {upload, start, "cT18446744073709551616 0 1 0\n", "well-formed"},
		"a million microseconds":             {upload, start, "cT1 1000000 1 0\n", "well-formed"},
		"a command for times":                {upload, start, "cT1 0 1 0;id\n", "well-formed"},
		"a message while the other finishes": {upload, append(start, "cC0644 3 a\n", "h\x00", "ca", "h\x01fir", "cbc\x02enough\n"), "hst\n", "gave up"},
	} {
		toHost, toClient, _, err := run(c.command, meter.Full, c.good)
		if err != nil {
			t.Errorf("%s: refused too early: %v", name, err)
			continue
		}
		hostGot, clientGot, frames, err := run(c.command, meter.Full, append(c.good[:len(c.good):len(c.good)], c.bad))
		if err == nil || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: %v, want %q", name, err, c.why)
		}
		if passed := strings.TrimPrefix(hostGot, toHost) + strings.TrimPrefix(clientGot, toClient); passed != "" && passed != "abc" {
			t.Errorf("%s: %q passed", name, passed)
		}
		if b, _ := json.Marshal(frames); bytes.Contains(b, []byte("uid=0")) {
			t.Errorf("%s: what did not pass is recorded as if it had", name)
		}
	}
}

// deep is n directories with long names, each in the one before.
func deep(n int) (steps talk) {
	for range n {
		steps = append(steps, "cD0755 0 "+strings.Repeat("x", 1600)+"\n", "h\x00")
	}
	return steps
}

// What is not whole is held, and after an error nothing goes on.
func TestHeld(t *testing.T) {
	var log meter.Log
	d := New(upload, meter.Full, &log)
	_, _ = d.Host(nil, []byte{0})
	step, err := d.Client([]byte("before "), []byte("\x01warning\nC0644 "))
	if err != nil || string(step.Forward) != "before \x01warning\n" || string(d.held[recorder.Stdin]) != "C0644 " {
		t.Fatalf("%q %v, held %q", step.Forward, err, d.held[recorder.Stdin])
	}
	step, err = d.Client(nil, []byte("oops\nid\n"))
	if err == nil || step.Forward != nil || string(d.held[recorder.Stdin]) != "C0644 oops\nid\n" {
		t.Fatalf("%q %v, held %q", step.Forward, err, d.held[recorder.Stdin])
	}
	if step, err = d.Client(nil, []byte("C0644 0 a\n")); err == nil || step.Forward != nil || len(d.held[recorder.Stdin]) != 14 {
		t.Errorf("goes on after an error: %q", step.Forward)
	}
	if step, err = d.Host(nil, []byte{0}); err == nil || step.Forward != nil {
		t.Errorf("goes on after an error: %q", step.Forward)
	}
}

func TestClose(t *testing.T) {
	_, _, frames, _ := run(upload, meter.Hash, talk{"h\x00", "cD0755 0 d\n"})
	if _, operations := events(t, frames); len(operations) != 2 || operations[1].Status != "interrupted" || operations[1].Number != operations[0].Number {
		t.Errorf("%+v", operations)
	}
	_, _, frames, _ = run(upload, meter.Hash, talk{"h\x00", "cC0644 100 a\n", "h\x00", "cabc"})
	files, _ := events(t, frames)
	if len(files) != 1 || files[0].Status != "interrupted" || files[0].Written.Bytes != 3 || *files[0].Size != 100 || files[0].Keep != meter.Hash {
		t.Errorf("%+v", files)
	}
	var log meter.Log
	d := New(upload, meter.Full, &log)
	d.Close()
	d.Close()
	if _, err := d.Client(nil, []byte("x")); err == nil || len(log.Frames()) > 0 {
		t.Errorf("%v %v", err, log.Frames())
	}
}

// A sender may complain without end, and nobody answers that.
func TestMessagesAreBounded(t *testing.T) {
	steps := talk{"h\x00"}
	for range 3 * mostMessages {
		steps = append(steps, "c\x01\n")
	}
	toHost, _, frames, err := run(upload, meter.Full, steps)
	if _, operations := events(t, frames); err != nil || len(operations) != mostMessages || len(toHost) != 3*mostMessages*2 {
		t.Errorf("%d events, %d bytes: %v", len(operations), len(toHost), err)
	}
}

// Where a file is, by the path of the command.
func TestPlaces(t *testing.T) {
	for _, c := range []struct{ line, dirs, name, want string }{
		{"scp -f /etc/passwd", "", "passwd", "/etc/passwd"},
		{"scp -f passwd", "", "passwd", "passwd"},
		{"scp -f /x", "", "x", "/x"},
		{"scp -r -f /etc", "etc/ssh", "moduli", "/etc/ssh/moduli"},
		{"scp -r -f /etc/", "etc", "passwd", "/etc/passwd"},
		{"scp -f /etc/p*", "", "passwd", "/etc/passwd"},
		{"scp -f */passwd", "", "passwd", "*/passwd"},
		{"scp -r -f ~", "alice", "notes", "~/notes"},
		{"scp -r -f ~alice", "alice/d", "notes", "~alice/d/notes"},
		{"scp -f ~/notes", "", "notes", "~/notes"},
		{"scp -f /a/x /b/y", "", "y", "y"},
		{"scp -r -f /a /b", "b", "y", "b/y"},
		{"scp -t /tmp", "", "x", "/tmp/x"},
		{"scp -t /", "", "x", "/x"},
		{"scp -t /tmp/x", "", "x", "/tmp/x"},
		{"scp -d -t /tmp/x", "", "x", "/tmp/x/x"},
		{"scp -t /tmp/x/", "", "x", "/tmp/x/x"},
		{"scp -t .", "d", "x", "./d/x"},
		{"scp -t my dir", "d", "x", "d/x"},
	} {
		command, ok := ParseCommand(c.line)
		if !ok {
			t.Fatal(c.line)
		}
		d := New(command, meter.Full, &meter.Log{})
		if c.dirs != "" {
			d.dirs = strings.Split(c.dirs, "/")
		}
		if got := d.place(line{kind: 'C', name: c.name}); got != c.want {
			t.Errorf("%s: %s in %q is %s, want %s", c.line, c.name, c.dirs, got, c.want)
		}
	}
}
