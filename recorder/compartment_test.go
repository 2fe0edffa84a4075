package recorder

import (
	"bytes"
	"crypto/hpke"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

func compartment(t *testing.T, w *Writer) (PrivateKey, *Compartment) {
	t.Helper()
	private, public := NewKey()
	c, err := w.Compartment(public)
	if err != nil {
		t.Fatal(err)
	}
	return private, c
}

// durably waits for what an Append returned.
func durably(t *testing.T, commit *Commit, err error) {
	t.Helper()
	if err == nil {
		err = commit.Err()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// types is the types and the texts of frames, without the first and the last.
func types(frames []Frame) string {
	var words []string
	for _, f := range frames[1 : len(frames)-1] {
		words = append(words, f.Type.String())
		if f.Type == TypeData {
			words = append(words, fmt.Sprintf("%d/%d:%s", f.Channel, f.Stream, f.Data))
		}
	}
	return strings.Join(words, " ")
}

func TestCompartment(t *testing.T) {
	b := newBench(t, nil)
	w := b.create(t, "S-1")
	key, keys := compartment(t, w)
	otherKey, others := compartment(t, w)
	for _, f := range []struct {
		append func(Frame) (*Commit, error)
		Frame
	}{
		{w.Append, data(0, Stdout, "Password:")},
		{keys.Append, data(3, Stdin, "hunter2")},
		{w.Append, data(3, Stdout, "$ ")},
		{keys.Append, data(4, Stdin, "")},
		{others.Append, data(0, Stdin, "else")},
		{keys.Append, Frame{Type: TypeEOF, Channel: 3}},
		{keys.Append, Frame{Type: 200}}, // of the future, in a compartment
		{keys.Append, Frame{Type: TypeData, Data: bytes.Repeat([]byte("x"), maxSealed)}},
	} {
		c, err := f.append(f.Frame)
		durably(t, c, err)
	}
	if err := w.Close("closed"); err != nil {
		t.Fatal(err)
	}
	<-b.sealed
	file := b.export(t, "S-1")
	full := strings.Repeat("x", maxSealed)
	stranger, _ := NewKey()
	for _, test := range []struct {
		name string
		keys []PrivateKey
		want string
	}{
		{"no key", nil, "data 0/1:Password: compartment sealed data 3/1:$  sealed compartment sealed sealed sealed sealed"},
		{"a stranger's", []PrivateKey{stranger, b.private}, "data 0/1:Password: compartment sealed data 3/1:$  sealed compartment sealed sealed sealed sealed"},
		{"the key", []PrivateKey{key}, "data 0/1:Password: compartment data 3/0:hunter2 data 3/1:$  data 4/0: compartment sealed eof data 0/0:" + full},
		{"the other", []PrivateKey{otherKey}, "data 0/1:Password: compartment sealed data 3/1:$  sealed compartment data 0/0:else sealed sealed sealed"},
		{"both", []PrivateKey{key, otherKey}, "data 0/1:Password: compartment data 3/0:hunter2 data 3/1:$  data 4/0: compartment data 0/0:else eof data 0/0:" + full},
	} {
		frames, _, err := b.playWith(file, test.keys)
		if got := types(frames); err != nil || got != test.want {
			t.Errorf("with %s: %v\n%.300s\nwant\n%.300s", test.name, err, got, test.want)
		}
	}
	for i := 1; i < 10; i++ {
		frames, _, _ := b.play(file)
		if f := frames[i]; f.Type == TypeSealed && (f.Stream != 0 || f.At == 0) {
			t.Errorf("a sealed frame on stream %d at %v", f.Stream, f.At)
		}
	}
}

func TestCompartmentRefuses(t *testing.T) {
	b := newBench(t, nil)
	w := b.create(t, "S-1")
	_, keys := compartment(t, w)
	for _, f := range []Frame{{}, {Type: TypeHeader}, {Type: TypeEnd}, {Type: TypeCompartment}, {Type: TypeSealed}, {Type: TypeData, Data: make([]byte, maxSealed+1)}} {
		if _, err := keys.Append(f); err == nil {
			t.Errorf("a %v frame of %d bytes was sealed", f.Type, len(f.Data))
		}
	}
	for _, typ := range []Type{TypeCompartment, TypeSealed} {
		if _, err := w.Append(Frame{Type: typ}); err == nil {
			t.Errorf("Append took a %v frame", typ)
		}
	}
	if _, err := w.Compartment(PublicKey{}); err == nil {
		t.Error("a compartment without a key")
	}
	if err := w.Close("closed"); err != nil {
		t.Fatal(err)
	}
	if _, err := keys.Append(data(0, Stdin, "x")); !errors.Is(err, ErrClosed) {
		t.Errorf("a frame after the end: %v", err)
	}
	if _, err := w.Compartment(b.public); !errors.Is(err, ErrClosed) {
		t.Errorf("a compartment after the end: %v", err)
	}
	<-b.sealed
	r, err := Open(bytes.NewReader(b.export(t, "S-1")), b.private, b.bastion)
	if err == nil {
		_, err = r.Next()
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := r.OpenCompartment(b.private); err == nil {
		t.Error("a compartment was opened in the middle")
	}
}

// What is typed is in clear nowhere on the disk, and nothing that the holder of the recording key alone is given holds it.
func TestKeystrokesAreNowhere(t *testing.T) {
	b := newBench(t, nil)
	w := b.create(t, "S-1")
	key, keys := compartment(t, w)
	const secret = "correct horse battery staple"
	for range 3 {
		c, err := keys.Append(data(0, Stdin, secret))
		durably(t, c, err)
		w.cutIf(func(*segment) bool { return true })
	}
	waitSegments(t, b, "S-1", 3)
	look := func(name string, content []byte) {
		if bytes.Contains(content, []byte("horse")) {
			t.Errorf("%s has what was typed", name)
		}
	}
	for name, content := range b.content(t) {
		look(name, content)
	}
	if err := w.Close("closed"); err != nil {
		t.Fatal(err)
	}
	<-b.sealed
	file := b.export(t, "S-1")
	look("the export", file)
	frames, _, err := b.play(file)
	if err != nil {
		t.Fatal(err)
	}
	for i, f := range frames {
		look(fmt.Sprintf("frame %d", i), f.Data)
	}
	if frames, _, err = b.playWith(file, []PrivateKey{key}); err != nil || strings.Count(types(frames), secret) != 3 {
		t.Errorf("with the key: %v %s", err, types(frames))
	}
}

// The memory of a bastion opens what was typed lately, whether somebody goes on typing or not.
func TestCompartmentForgets(t *testing.T) {
	var mu sync.Mutex
	now := time.Now()
	later := func(d time.Duration) {
		mu.Lock()
		now = now.Add(d)
		mu.Unlock()
	}
	b := newBench(t, func(c *Config) {
		c.Now = func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	})
	w := b.create(t, "S-1")
	key, keys := compartment(t, w)
	for i, pause := range []time.Duration{0, 59 * time.Second, time.Second, 30 * time.Second, 30 * time.Second} {
		later(pause)
		c, err := keys.Append(data(0, Stdin, string(rune('a'+i))))
		durably(t, c, err)
	}
	b.cutOld()
	if keys.sender == nil {
		t.Error("a fresh context was dropped")
	}
	later(time.Minute)
	b.cutOld()
	if keys.sender != nil {
		t.Error("the context of who stopped typing is still there")
	}
	c, err := keys.Append(data(0, Stdin, "z"))
	durably(t, c, err)
	if err := w.Close("closed"); err != nil {
		t.Fatal(err)
	}
	if keys.sender != nil {
		t.Error("the context outlives the recording")
	}
	<-b.sealed
	frames, _, err := b.playWith(b.export(t, "S-1"), []PrivateKey{key})
	want := "compartment data 0/0:a data 0/0:b compartment data 0/0:c data 0/0:d compartment data 0/0:e compartment data 0/0:z"
	if got := types(frames); err != nil || got != want {
		t.Errorf("%v\n%s\nwant\n%s", err, got, want)
	}
}

// A bastion that died has kept what was typed, and still nobody but the holder of the key reads it.
func TestCompartmentAfterACrash(t *testing.T) {
	b := newBench(t, nil)
	w := b.create(t, "S-1")
	key, keys := compartment(t, w)
	for i := range 6 {
		c, err := keys.Append(data(0, Stdin, fmt.Sprint(i)))
		durably(t, c, err)
		if i == 2 {
			w.cutIf(func(*segment) bool { return true })
			waitSegments(t, b, "S-1", 1)
			b.sealer.hold(t)
		}
	}
	crashed := b.crash(t)
	b.sealer.unhold()
	crashed.reopen(t)
	defer crashed.Close()
	file := crashed.export(t, "S-1")
	frames, _, err := crashed.playWith(file, []PrivateKey{key})
	if got := types(append(frames, Frame{})); err != nil || got != "compartment data 0/0:0 data 0/0:1 data 0/0:2 data 0/0:3 data 0/0:4 data 0/0:5" {
		t.Errorf("%v %s", err, got)
	}
	if bytes.Contains(file, []byte("hunter2")) {
		t.Error("it is in clear")
	}
}

func TestCompartmentFromManyGoroutines(t *testing.T) {
	b := newBench(t, func(c *Config) { c.SegmentAge = 10 * time.Millisecond })
	w := b.create(t, "S-1")
	key, keys := compartment(t, w)
	var wait sync.WaitGroup
	for channel := range uint32(4) {
		wait.Go(func() {
			for i := range 200 {
				c, err := keys.Append(data(channel, Stdin, fmt.Sprint(i)))
				if err == nil && i%20 == 0 {
					err = c.Err()
				}
				if _, other := w.Append(data(channel, Stdout, "echo")); err != nil || other != nil {
					t.Error(err, other)
				}
			}
		})
	}
	wait.Wait()
	if err := w.Close("closed"); err != nil {
		t.Fatal(err)
	}
	<-b.sealed
	frames, _, err := b.playWith(b.export(t, "S-1"), []PrivateKey{key})
	if err != nil {
		t.Fatal(err)
	}
	next := map[uint32]int{}
	for _, f := range frames {
		if f.Type == TypeData && f.Stream == Stdin {
			if string(f.Data) != fmt.Sprint(next[f.Channel]) {
				t.Fatalf("channel %d has %s where %d belongs", f.Channel, f.Data, next[f.Channel])
			}
			next[f.Channel]++
		}
	}
	if len(next) != 4 || next[0] != 200 {
		t.Errorf("typed were %v", next)
	}
}

// liar is a bastion that writes what an honest one does not.
type liar struct {
	w      *Writer
	sender *hpke.Sender
	key    PrivateKey
}

func (l *liar) frame(f Frame) {
	l.w.mu.Lock()
	defer l.w.mu.Unlock()
	if _, err := l.w.append(f, kindFrame); err != nil {
		panic(err)
	}
}

func (l *liar) begin(number uint32, session, id string) {
	encapsulated, sender, err := hpke.NewSender(l.key.Public().hpke, hpke.HKDFSHA256(), hpke.AES256GCM(),
		ssh.Marshal(compartmentBinding{compartmentVersion, session, l.key.ID()}))
	if err != nil {
		panic(err)
	}
	l.sender = sender
	l.frame(Frame{Type: TypeCompartment, Channel: Global, Data: CompartmentKey{number, id, encapsulated}.Marshal()})
}

func (l *liar) seal(number, channel uint32, plain string) Frame {
	ciphertext, err := l.sender.Seal(ssh.Marshal(sealedBinding{sealedVersion, number, channel}), []byte(plain))
	if err != nil {
		panic(err)
	}
	return Frame{Type: TypeSealed, Channel: channel, Data: Sealed{number, ciphertext}.Marshal()}
}

func TestCompartmentLies(t *testing.T) {
	const good = "\x04\x00typed"
	for _, test := range []struct {
		name string
		want error // with the key of the compartment
		bare error // without
		good int   // frames before the fault, with the key
		tell func(*liar)
	}{
		{"the truth", nil, nil, 3, func(l *liar) { l.begin(0, "S-1", l.key.ID()); l.frame(l.seal(0, 0, good)) }},
		{"altered", ErrAltered, nil, 2, func(l *liar) {
			l.begin(0, "S-1", l.key.ID())
			f := l.seal(0, 0, good)
			f.Data[9] ^= 1
			l.frame(f)
		}},
		{"reordered", ErrAltered, nil, 2, func(l *liar) {
			l.begin(0, "S-1", l.key.ID())
			a, b := l.seal(0, 0, good), l.seal(0, 0, good)
			l.frame(b)
			l.frame(a)
		}},
		{"left out", ErrAltered, nil, 3, func(l *liar) {
			l.begin(0, "S-1", l.key.ID())
			l.frame(l.seal(0, 0, good))
			l.seal(0, 0, good)
			l.frame(l.seal(0, 0, good))
		}},
		{"twice", ErrAltered, nil, 3, func(l *liar) {
			l.begin(0, "S-1", l.key.ID())
			f := l.seal(0, 0, good)
			l.frame(f)
			l.frame(f)
		}},
		{"on another channel", ErrAltered, nil, 2, func(l *liar) {
			l.begin(0, "S-1", l.key.ID())
			f := l.seal(0, 0, good)
			f.Channel = 7
			l.frame(f)
		}},
		{"of another session", ErrAltered, nil, 2, func(l *liar) { l.begin(0, "S-2", l.key.ID()); l.frame(l.seal(0, 0, good)) }},
		{"of another compartment", ErrAltered, nil, 3, func(l *liar) {
			l.begin(0, "S-1", l.key.ID())
			f := l.seal(0, 0, good)
			l.begin(1, "S-1", l.key.ID())
			f.Data[3] = 1
			l.frame(f)
		}},
		{"another key's encapsulation", ErrAltered, nil, 2, func(l *liar) {
			mine := l.key
			l.key, _ = NewKey()
			l.begin(0, "S-1", mine.ID())
			l.frame(l.seal(0, 0, good))
			l.key = mine
		}},
		{"an end inside", ErrMalformed, nil, 2, func(l *liar) { l.begin(0, "S-1", l.key.ID()); l.frame(l.seal(0, 0, "\x09\x00bye")) }},
		{"a sealed one inside", ErrMalformed, nil, 2, func(l *liar) { l.begin(0, "S-1", l.key.ID()); l.frame(l.seal(0, 0, "\x0d\x00")) }},
		{"no compartment", ErrMalformed, ErrMalformed, 1, func(l *liar) {
			l.frame(Frame{Type: TypeSealed, Data: Sealed{0, make([]byte, 18)}.Marshal()})
		}},
		{"a number left out", ErrMalformed, ErrMalformed, 1, func(l *liar) { l.begin(1, "S-1", l.key.ID()) }},
		{"too short", ErrMalformed, ErrMalformed, 2, func(l *liar) {
			l.begin(0, "S-1", l.key.ID())
			l.frame(Frame{Type: TypeSealed, Data: Sealed{0, make([]byte, 17)}.Marshal()})
		}},
		{"a short key", ErrMalformed, ErrMalformed, 1, func(l *liar) {
			l.frame(Frame{Type: TypeCompartment, Channel: Global, Data: CompartmentKey{0, l.key.ID(), make([]byte, 9)}.Marshal()})
		}},
		{"no content", ErrMalformed, ErrMalformed, 1, func(l *liar) { l.frame(Frame{Type: TypeSealed}) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := newBench(t, nil)
			l := &liar{w: b.create(t, "S-1")}
			l.key, _ = NewKey()
			test.tell(l)
			if err := l.w.Close("closed"); err != nil {
				t.Fatal(err)
			}
			<-b.sealed
			file := b.export(t, "S-1")
			frames, _, err := b.playWith(file, []PrivateKey{l.key})
			if fault := new(Fault); !errors.Is(err, test.want) || test.want != nil && (!errors.As(err, &fault) || int(fault.Frame) != test.good || len(frames) != test.good) {
				t.Errorf("with the key: %d frames, %v, want %d and %v", len(frames), err, test.good, test.want)
			}
			if _, _, err := b.play(file); !errors.Is(err, test.bare) {
				t.Errorf("without the key: %v, want %v", err, test.bare)
			}
		})
	}
}
