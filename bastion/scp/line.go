package scp

import (
	"bytes"
	"errors"
	"strconv"
	"strings"
)

// line is one line of either side.
type line struct {
	kind byte   // T C D E; 0 1 2
	mode uint32 // C D
	size uint64 // C
	name string // C D
	text string // T: what follows the letter; 1 2: the message
}

func (l line) directory() bool { return l.kind == 'D' || l.kind == 'E' }

// parse reads a line with its end. An error is what the side that sent it does wrong.
func parse(b []byte) (line, error) {
	if len(b) == 1 && b[0] == 0 {
		return line{}, nil
	}
	if len(b) < 2 || len(b) > mostLine {
		return line{}, errors.New("sends a line that is too long, or none")
	}
	l := line{kind: b[0], text: string(b[1 : len(b)-1])}
	if strings.IndexByte(l.text, 0) >= 0 {
		return line{}, errors.New("sends a line with a NUL in it")
	}
	good := false
	switch l.kind {
	case 1, 2:
		return l, nil
	case 'E':
		good = l.text == ""
	case 'T':
		good = times(l.text)
	case 'C', 'D':
		good = l.entry()
	default:
		return line{}, errors.New("sends what is no line of it")
	}
	if !good {
		return line{}, errors.New("sends a line " + string(l.kind) + " that is not well-formed")
	}
	return l, nil
}

// times checks <mtime> <microseconds> <atime> <microseconds>. Seconds before 1970 come from some clients as 2^64 less something.
func times(text string) bool {
	fields := strings.Split(text, " ")
	if len(fields) != 4 {
		return false
	}
	for i, f := range fields {
		n, err := strconv.ParseUint(f, 10, 64)
		if err != nil || f[0] == '+' || i%2 == 1 && n > 999_999 {
			return false
		}
	}
	return true
}

// entry reads <mode> <size> <name>.
func (l *line) entry() bool {
	mode, rest, _ := strings.Cut(l.text, " ")
	size, name, _ := strings.Cut(rest, " ")
	m, err := strconv.ParseUint(mode, 8, 32)
	if err != nil || len(mode) != 4 || strings.Trim(mode, "01234567") != "" {
		return false
	}
	n, err := strconv.ParseInt(size, 10, 64)
	if err != nil || strings.Trim(size, "0123456789") != "" || l.kind == 'D' && n != 0 {
		return false
	}
	if name == "" || name == "." || name == ".." || strings.IndexByte(name, '/') >= 0 {
		return false
	}
	l.mode, l.size, l.name, l.text = uint32(m), uint64(n), name, ""
	return true
}

// message is what a line of kind 1 or 2 says, so that nobody takes it for our own words.
func (l line) message() string {
	text := string(bytes.ToValidUTF8([]byte(l.text), []byte("\ufffd")))
	if text == "" || text == ok || text == interrupted {
		return "error: " + text
	}
	return text
}
