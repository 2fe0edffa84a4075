package recorder

import "fmt"

// window reads frames from the journal with few system calls when they lie close together.
type window struct {
	file  *journalFile
	begin int64
	buf   []byte
	space []byte
}

const windowSize = 512 << 10

// forget must be called when frames were written since: the window may hold what stood there before them.
func (w *window) forget() { w.buf = nil }

// read returns the ciphertext of the first frame, valid until the next call. The others are those wanted after it.
func (w *window) read(at []where) ([]byte, error) {
	begin, end := int64(at[0].offset), int64(at[0].offset)+int64(at[0].length)
	if w.file != at[0].file || begin < w.begin || end > w.begin+int64(len(w.buf)) {
		if err := w.fill(at); err != nil {
			return nil, err
		}
	}
	return w.buf[begin-w.begin : end-w.begin], nil
}

// fill reads from the first frame to the end of the last that fits.
func (w *window) fill(at []where) error {
	file, begin, end := at[0].file, int64(at[0].offset), int64(0)
	for _, a := range at {
		to := int64(a.offset) + int64(a.length)
		if a.file != file || to-begin > windowSize {
			break
		}
		end = to
	}
	if w.space == nil {
		w.space = make([]byte, windowSize)
	}
	w.file, w.begin, w.buf = file, begin, w.space[:end-begin]
	if n, err := file.f.ReadAt(w.buf, begin); err != nil {
		w.buf = nil
		return fmt.Errorf("journal %s: read %d of %d bytes at %d: %w", file.f.Name(), n, end-begin, begin, err)
	}
	return nil
}

// verbatimBody makes the body of a segment from frames as they are, and completes its header.
func verbatimBody(w *window, at []where, header *segmentHeader) ([]byte, error) {
	chain := newChain(header.First, header.Before)
	var body []byte
	w.forget()
	for i := range at {
		sealed, err := w.read(at[i:])
		if err != nil {
			return nil, err
		}
		chain.step(sealed)
		body = appendVerbatim(body, sealed)
	}
	header.Form, header.Frames, header.After = formVerbatim, uint32(len(at)), chain.head()
	return body, nil
}
