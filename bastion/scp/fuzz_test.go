package scp

import (
	"bytes"
	"strings"
	"testing"

	"postern/bastion/meter"
	"postern/recorder"
)

// What is accepted as a command is words to a splitter that was written apart, and parses to the same when each word is quoted.
func FuzzParseCommand(f *testing.F) {
	for _, c := range commands {
		f.Add(c.line)
	}
	for _, line := range refused {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		c, ok := ParseCommand(line)
		if !ok {
			return
		}
		words, outside := shellWords(line)
		if words == nil {
			t.Fatalf("%q does not end its quotes", line)
		}
		if strings.ContainsAny(outside, ";&|<>()$`\\\"'\n\r\t\x00#{}!^") {
			t.Fatalf("%q has %q outside of quotes", line, outside)
		}
		tail := words[len(words)-len(c.Paths):]
		if words[0] != "scp" || strings.Join(tail, "\x00") != strings.Join(c.Paths, "\x00") {
			t.Fatalf("%q is %q and %q", line, words, c.Paths)
		}
		quoted := "scp"
		for _, w := range words[1 : len(words)-len(c.Paths)] {
			quoted += " " + w
		}
		if words[len(words)-len(c.Paths)-1] != "--" {
			quoted += " --"
		}
		for _, p := range c.Paths {
			quoted += " " + requote(p)
		}
		again, ok := ParseCommand(quoted)
		if !ok || again.Source != c.Source || again.Recursive != c.Recursive || strings.Join(again.Paths, "\x00") != strings.Join(c.Paths, "\x00") {
			t.Fatalf("%q is %+v, but %q is %+v %v", line, c, quoted, again, ok)
		}
	})
}

// shellWords splits by the rules of POSIX alone, and says what stood outside of quotes. nil: a quote does not end.
func shellWords(line string) (words []string, outside string) {
	var word []byte
	var quote byte
	in := false
	for i := 0; i < len(line); i++ {
		c := line[i]
		switch {
		case quote == '\'' && c != '\'', quote == '"' && c != '"':
			word = append(word, c)
		case quote != 0:
			quote = 0
		case c == '\'' || c == '"':
			quote, in = c, true
		case c == '\\' && i+1 < len(line):
			i++
			word, in = append(word, line[i]), true
		case c == ' ':
			if in {
				words, word, in = append(words, string(word)), nil, false
			}
		default:
			word, in = append(word, c), true
			outside += string(c)
		}
	}
	if quote != 0 {
		return nil, ""
	}
	if in {
		words = append(words, string(word))
	}
	return words, outside
}

func requote(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r == '\'' || r == '!' || r == '\\' {
			b.WriteString("''\\" + string(r))
		} else {
			b.WriteString("'" + string(r) + "'")
		}
	}
	return b.String()
}

// Whatever both sides say: no panic, what goes on is a prefix of what came and is what the frames have, and nothing grows without bound.
func FuzzDecoder(f *testing.F) {
	add := func(c Command, steps talk) {
		var script []byte
		for _, s := range steps {
			for len(s) > 1 {
				n := min(len(s)-1, 127)
				head := byte(n)
				if s[0] == 'c' {
					head |= 0x80
				}
				script = append(append(script, head), s[1:1+n]...)
				s = s[:1] + s[1+n:]
			}
		}
		f.Add(c.Source, c.Recursive, script)
	}
	add(upload, talk{"h\x00", "cT1 0 1 0\n", "h\x00", "cC0644 3 a\n", "h\x00", "cabc\x00", "h\x00", "cD0755 0 d\n", "h\x00", "c\x01x\n", "cE\n", "h\x00"})
	add(download, talk{"c\x00", "hD0755 0 d\n", "c\x00", "hC0644 3 a\n", "c\x00", "habc", "c\x00", "h\x00", "hE\n", "c\x00", "h\x02enough\n"})
	add(upload, talk{"h\x00", "cC0644 3 a\n", "h\x00", "ca", "h\x01fi", "cbc\x02e", "hrst\n", "cnough\n"})
	add(plain, talk{"c\x00", "hC0644 3 x\n", "c\x01no\n", "hC0644 0 y\n", "c\x00", "h\x01bad\n", "c\x00", "h\x01x\n"})
	f.Fuzz(func(t *testing.T, source, recursive bool, script []byte) {
		var log meter.Log
		d := New(Command{Source: source, Recursive: recursive, Paths: []string{"/x"}}, meter.Full, &log)
		var came, gone [2][]byte
		events, failed := 0, false
		for len(script) > 0 {
			n := min(int(script[0]&0x7f), len(script)-1)
			stream, take := byte(recorder.Stdout), d.Host
			if script[0]&0x80 != 0 {
				stream, take = recorder.Stdin, d.Client
			}
			piece := script[1 : 1+n]
			script = script[1+n:]
			log.Reset()
			before := len(gone[stream])
			step, err := take(gone[stream], piece)
			if failed && (err == nil || len(step.Forward) > before) {
				t.Fatal("goes on after an error")
			}
			if !failed {
				came[stream] = append(came[stream], piece...)
			}
			failed = err != nil
			gone[stream] = step.Forward
			if step.Answer != nil || !bytes.Equal(append(bytes.Clone(gone[stream]), d.held[stream]...), came[stream]) {
				t.Fatalf("came %q, passed %q, held %q", came[stream], gone[stream], d.held[stream])
			}
			var recorded []byte
			for _, frame := range log.Frames() {
				if frame.Type == recorder.TypeEvent {
					events++
				} else if recorded = append(recorded, passed(frame)...); frame.Stream != stream {
					t.Fatal("recorded on the other stream")
				}
			}
			if !bytes.Equal(recorded, step.Forward[before:]) {
				t.Fatalf("recorded %q, passed %q", recorded, step.Forward[before:])
			}
		}
		log.Reset()
		d.Close()
		events += len(log.Frames())
		if all := len(gone[0]) + len(gone[1]); events > all+1 || !failed && len(d.held[0])+len(d.held[1]) > 2*mostLine {
			t.Fatalf("%d events of %d bytes", events, all)
		}
	})
}
