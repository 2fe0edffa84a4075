package search

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"postern/recorder"
	"postern/recorder/index"
)

// record is one session on a bastion that says of each segment what lie makes of its entry.
func record(t testing.TB, lie func([]byte) []byte, frames ...recorder.Frame) *recorder.Archive {
	t.Helper()
	b := newBastion(t)
	b.lie = lie
	return b.record(t, "S-1", func(add func(recorder.Frame)) {
		add(opened(0))
		for _, f := range frames {
			f.At += time.Second
			add(f)
		}
	})
}

// A bastion that leaves something out of its index hides it, until somebody does not believe it.
func TestLyingIndex(t *testing.T) {
	nothing := func(b []byte) []byte {
		e, err := index.Parse(b)
		if err != nil {
			t.Error(err)
		}
		// Frames at the same times, and nothing in them.
		return new(index.Indexer).Segment(0, []recorder.Frame{{At: e.Begin}, {At: e.End}})
	}
	a := record(t, nothing, exec(0, "cat needle"), output(0, 1*ms, "a needle\n"))
	if got := told(find(t, a, "needle")); got != "" {
		t.Fatalf("found %s in a session whose index says nothing: the test hides nothing", got)
	}
	if got := told(find(t, a, "needle", thorough)); got != `0s command "needle"; 1ms output "needle"` {
		t.Errorf("found %s", got)
	}
}

// What no indexer says of a segment is not believed: its entry is made here.
func TestNonsenseForAnIndex(t *testing.T) {
	for name, nonsense := range map[string]func([]byte) []byte{
		"cut": func(b []byte) []byte { return b[:len(b)/2] },
		"another": func([]byte) []byte {
			return new(index.Indexer).Segment(1e6, []recorder.Frame{pty(0), output(0, time.Hour, "\x1b[2J\x1b[Hx")})
		},
		"nothing": func([]byte) []byte { return nil },
	} {
		a := record(t, nonsense, exec(0, "cat needle"), output(0, 1*ms, "a needle\n"))
		if got := told(find(t, a, "needle")); got != `0s command "needle"; 1ms output "needle"` {
			t.Errorf("%s: %s", name, got)
		}
		if entries, err := index.Of(context.Background(), a, nil); err != nil || len(entries) != 1 || len(entries[0].Commands) != 1 {
			t.Errorf("%s: %v %v", name, entries, err)
		}
	}
}

// Segments without an entry anywhere make no difference.
func TestGapsInTheIndex(t *testing.T) {
	var frames []recorder.Frame
	for i := range 8 {
		frames = append(frames, output(0, time.Duration(i)*ms, strings.Repeat(fmt.Sprintf("line %d of hay\n", i), 17000)+fmt.Sprintf("needle%d\nne", i)), output(0, time.Duration(i)*ms, "edle\n"))
	}
	whole := told(find(t, record(t, nil, frames...), "needle"))
	if strings.Count(whole, "needle") != 16 {
		t.Fatalf("found %s", whole)
	}
	for gaps := range 4 {
		n := 0
		a := record(t, func(b []byte) []byte {
			if n++; n%4 == gaps {
				return nil
			}
			return b
		}, frames...)
		if len(a.Parts()) < 4 {
			t.Fatalf("%d segments", len(a.Parts()))
		}
		if got := told(find(t, a, "needle")); got != whole {
			t.Errorf("%s\nwant %s", got, whole)
		}
		entries, err := index.Of(context.Background(), a, nil)
		if err != nil || len(entries) != len(a.Parts()) {
			t.Errorf("%d entries, %v", len(entries), err)
		}
		made, err := index.Make(context.Background(), a)
		if err != nil || fmt.Sprint(made) != fmt.Sprint(entries) {
			t.Errorf("entries made here differ: %v", err)
		}
	}
}

// A word is found wherever a border of segments, frames or channels is in it, and once.
func TestAcrossSegments(t *testing.T) {
	big := strings.Repeat(strings.Repeat("hay ", 15)+"\n", 4300)
	for cut := range len("needle") {
		for name, frames := range map[string][]recorder.Frame{
			"plain":    {exec(0, "x"), output(0, 1*ms, big[:250<<10]), output(0, 2*ms, "\n<"+"needle"[:cut]), output(0, 3*ms, strings.Repeat("n", 0)+"needle"[cut:]+">\n"+big[:250<<10])},
			"terminal": {pty(0), output(0, 1*ms, big[:255<<10]), output(0, 2*ms, strings.Repeat("\r\n", 4000)+"<"+"needle"[:cut]+"\x1b[3"), output(0, 3*ms, "1m"+"needle"[cut:]+">\r\n")},
		} {
			if got := find(t, record(t, nil, frames...), "<needle>"); len(got) != 1 {
				t.Errorf("%s cut at %d: %s", name, cut, told(got))
			}
			if got := find(t, record(t, nil, frames...), "<ne+dle"); len(got) != 1 {
				t.Errorf("%s cut at %d: %s", name, cut, told(got))
			}
		}
	}
}

// Lines without an end are searched, and what is shown of them is short.
func TestLongLines(t *testing.T) {
	long := strings.Repeat("x", 100<<10)
	a := record(t, nil, exec(0, "x"), output(0, 1*ms, long+"needle"), output(0, 2*ms, long+long+"nee"), output(0, 3*ms, "dle"+long), output(0, 4*ms, "far"+strings.Repeat("y", 2000)), output(0, 5*ms, "away\n"))
	for pattern, want := range map[string]string{
		"needle":    `1ms output "needle"`, // the line has it twice
		"far.*away": `5ms output "` + "far" + strings.Repeat("y", mostMatch-3) + `"`,
		"xneedlex":  `2ms output "xneedlex"`,
	} {
		hits := find(t, a, pattern)
		if len(hits) == 0 || len(hits) > 2 || len(hits[0].Text) > mostShown+8 {
			t.Errorf("%s: %d hits: %s, want %s", pattern, len(hits), told(hits), want)
		} else if pattern != "xneedlex" && told(hits[:1]) != want {
			t.Errorf("%s: %s, want %s", pattern, told(hits), want)
		}
	}
}

// Patterns that are slow elsewhere are not here, and those that would take all memory are refused.
func TestHostilePatterns(t *testing.T) {
	for _, pattern := range []string{"", "a*", "(", "x{100000}", "(x{1000}){1000}", "((a{100}){100}){100}", strings.Repeat("(", 10000), "(?i)", "$", "^"} {
		if _, err := Compile(pattern, false); err == nil {
			t.Errorf("%.20q is taken", pattern)
		}
	}
	a := record(t, nil, exec(0, "x"), output(0, 1*ms, strings.Repeat("a", 8<<10)+"\n"))
	begin := time.Now()
	for _, pattern := range []string{"(a+)+b", "(a|aa)+$b", "(.*)(.*)(.*)(.*)b", "a{500}a{500}b", "(x+x+)+y"} {
		if got := find(t, a, pattern); len(got) != 0 {
			t.Errorf("%s found %d", pattern, len(got))
		}
	}
	if took := time.Since(begin); took > time.Minute {
		t.Errorf("took %v", took)
	}
}

// Output that was made to be slow to paint is not.
func TestHostileScreens(t *testing.T) {
	for name, text := range map[string]string{
		"clears":    strings.Repeat("needl\x1b[2J", 20000),
		"counts":    strings.Repeat("\x1b[999999999b\x1b[999999999I\x1b[999999999@", 5000),
		"switching": strings.Repeat("\x1b[?1049hneedl\x1b[?1049l", 10000),
		"resets":    strings.Repeat("\x1bcneedl", 30000),
		"matches":   "\x1b[H" + strings.Repeat("\x1b[5;5Hneedl needl needl needl", 8000),
		"unclosed":  strings.Repeat("\x1b]0;needl", 20000),
	} {
		t.Run(name, func(t *testing.T) {
			a := record(t, nil, pty(0), output(0, 1*ms, text[:min(len(text), 60<<10)]), output(0, 500*ms, "\x1bc\x1b[3;3Hneedle"))
			begin := time.Now()
			hits := find(t, a, "needle")
			if len(hits) != 1 {
				t.Errorf("%s", told(hits))
			}
			find(t, a, "needl")
			if took := time.Since(begin); took > time.Minute {
				t.Errorf("took %v", took)
			}
		})
	}
}

// One recording that cannot be read does not keep the others from being searched, in their order.
func TestSessions(t *testing.T) {
	b := newBastion(t)
	var list []Session
	for i := range 6 {
		a := b.record(t, fmt.Sprintf("S-%d", i), func(add func(recorder.Frame)) {
			add(opened(0))
			add(output(0, time.Second, "needle\nneedle\n"))
		})
		list = append(list, Session{ID: fmt.Sprintf("S-%d", i), Open: func(context.Context) (*recorder.Archive, error) { return a, nil }})
	}
	broken := errors.New("the bastion is down")
	list[2].Open = func(context.Context) (*recorder.Archive, error) { return nil, broken }
	p, err := Compile("needle", false)
	if err != nil {
		t.Fatal(err)
	}
	var log []string
	tell := Teller{
		Hit:  func(h Hit) error { log = append(log, h.Session); return nil },
		Done: func(id string, err error) error { log = append(log, fmt.Sprint(id, " ", err)); return nil },
	}
	if err := (&Query{Pattern: p}).Sessions(context.Background(), list, tell); err != nil {
		t.Fatal(err)
	}
	want := "[S-0 S-0 S-0 <nil> S-1 S-1 S-1 <nil> S-2 the bastion is down S-3 S-3 S-3 <nil> S-4 S-4 S-4 <nil> S-5 S-5 S-5 <nil>]"
	if got := fmt.Sprint(log); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	ctx, stop := context.WithCancel(context.Background())
	tell.Hit = func(Hit) error { stop(); return nil }
	if err := (&Query{Pattern: p}).Sessions(ctx, list, tell); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
}
