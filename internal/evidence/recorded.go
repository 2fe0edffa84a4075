package evidence

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"postern/internal/verify"
	"postern/recorder"
)

const (
	maxOutline = 512 << 20
	maxBody    = 1 << 20
)

// Recorded is what is proven of the recording of one session.
type Recorded struct {
	Session  string   `json:"session"`
	Whole    bool     `json:"whole"`              // all of it is here
	Segments []uint64 `json:"segments,omitempty"` // otherwise: those that are
	Of       uint64   `json:"of"`                 // segments of the recording; 0: nothing of it is in the bundle
	Frames   uint64   `json:"frames"`             // of the recording
	Read     bool     `json:"read"`               // what is here was opened and read to its last frame
	Live     bool     `json:"live,omitempty"`     // it was not over when it was taken, so more followed

	Destroyed string `json:"destroyed,omitempty"` // by whose order, and the receipt
}

// recordings checks what is here of each recording against the leaves.
func (b *Bundle) recordings(r *Report, used map[string]bool) {
	for _, s := range r.Log.Sessions {
		dir := "recordings/" + s.ID + "/"
		for _, name := range b.order {
			if strings.HasPrefix(name, dir) {
				used[name] = true
			}
		}
		done := Recorded{Session: s.ID}
		if s.Destroyed != nil {
			done.Destroyed = s.Destroyed.String()
		}
		name, err := b.recording(&done, s, dir)
		if err != nil {
			r.find(name, "%v", err)
		}
		r.Recordings = append(r.Recordings, done)
	}
}

// recording checks one, and returns with an error the file that is at fault.
func (b *Bundle) recording(done *Recorded, s verify.Session, dir string) (string, error) {
	key, err := b.sessionKey(s.ID)
	if err != nil {
		return dir + "session.key", err
	}
	_, whole := b.members[dir+"recording"]
	_, outline := b.members[dir+"outline"]
	switch {
	case whole && outline:
		return dir + "outline", errors.New("the whole recording is there too")
	case whole:
		if name := b.segmentsOf(s.ID); len(name) > 0 {
			return segmentName(s.ID, name[0]), errors.New("the whole recording is there too")
		}
		return dir + "recording", b.wholeRecording(done, s, key, dir)
	case outline:
		return b.outlined(done, s, key, dir)
	case key != nil:
		return dir + "session.key", errors.New("it opens nothing in this bundle")
	case len(b.segmentsOf(s.ID)) > 0:
		return segmentName(s.ID, b.segmentsOf(s.ID)[0]), errors.New("without the outline nothing shows its place")
	}
	return "", nil
}

func (b *Bundle) sessionKey(session string) (*recorder.PrivateKey, error) {
	m, ok := b.members["recordings/"+session+"/session.key"]
	if !ok {
		return nil, nil
	}
	text, err := content(m, maxSmall)
	if err != nil {
		return nil, err
	}
	k, err := recorder.ParseSessionKey(text)
	if err != nil {
		return nil, err
	}
	private := k.PrivateKey()
	return &private, nil
}

func (b *Bundle) wholeRecording(done *Recorded, s verify.Session, key *recorder.PrivateKey, dir string) error {
	m := b.members[dir+"recording"]
	if _, err := m.data.Seek(0, io.SeekStart); err != nil {
		return err
	}
	sum, err := verify.Recording(m.data, s, key)
	if err != nil {
		return err
	}
	done.Whole, done.Of, done.Frames, done.Read, done.Live = true, sum.Segments, sum.Frames, key != nil, !sum.Sealed
	return over(done, s)
}

// over makes sure that the end of a recording that has one is in the leaves too: without them it is only the bastion's word.
func over(done *Recorded, s verify.Session) error {
	if !done.Live && !s.Sealed {
		return errors.New("it has an end, and no leaf in here says so; make the bundle again when the log has it")
	}
	return nil
}

// segmentsOf lists the segments that are files of their own.
func (b *Bundle) segmentsOf(session string) (list []uint64) {
	for _, name := range b.order {
		number, ok := strings.CutPrefix(name, "recordings/"+session+"/segment-")
		if n, err := strconv.ParseUint(number, 10, 64); ok && err == nil {
			list = append(list, n)
		}
	}
	return list
}

// source gives an outline and some segments to readers of recordings.
type source struct {
	b       *Bundle
	session string
	outline []byte
}

// Outline implements [recorder.Source].
func (s source) Outline(context.Context) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(s.outline)), nil
}

// Body implements [recorder.Source].
func (s source) Body(_ context.Context, segment uint64) ([]byte, error) {
	return s.b.read(segmentName(s.session, segment), maxBody)
}

// outlined checks a recording of which only some segments are here: the outline proves order, number and hashes of all of them.
func (b *Bundle) outlined(done *Recorded, s verify.Session, key *recorder.PrivateKey, dir string) (string, error) {
	text, err := b.read(dir+"outline", maxOutline)
	if err != nil {
		return dir + "outline", err
	}
	src := source{b, s.ID, text}
	parts, err := verify.Outline(context.Background(), src, s)
	if err != nil {
		return dir + "outline", err
	}
	done.Segments, done.Of = b.segmentsOf(s.ID), parts.Segments
	done.Frames, done.Live = parts.Frames, !parts.Sealed
	if err := over(done, s); err != nil {
		return dir + "outline", err
	}
	for _, n := range done.Segments {
		body, err := b.read(segmentName(s.ID, n), maxBody)
		if err != nil {
			return segmentName(s.ID, n), err
		}
		if n >= uint64(len(parts.Bodies)) || sha256.Sum256(body) != parts.Bodies[n] {
			return segmentName(s.ID, n), fmt.Errorf("it is not segment %d of the recording, as the bastion signed it", n)
		}
	}
	if key == nil {
		return "", nil
	}
	archive, err := verify.OpenOutline(context.Background(), src, s, *key)
	if err != nil {
		return dir + "session.key", err
	}
	for _, n := range done.Segments {
		if _, err := archive.Frames(context.Background(), n); err != nil {
			return segmentName(s.ID, n), err
		}
	}
	done.Read = true
	return "", nil
}

// Archive opens what is here of a recording that the bundle has the key of, to read it. Call Check first.
func (b *Bundle) Archive(ctx context.Context, r *Report, session string) (*recorder.Archive, []uint64, error) {
	i := slices.IndexFunc(r.Log.Sessions, func(s verify.Session) bool { return s.ID == session })
	if i < 0 {
		return nil, nil, fmt.Errorf("the bundle is not about session %s", session)
	}
	s, dir := r.Log.Sessions[i], "recordings/"+session+"/"
	key, err := b.sessionKey(session)
	if err != nil || key == nil {
		return nil, nil, errors.Join(err, fmt.Errorf("%ssession.key is missing, so nobody can read the recording out of this bundle", dir))
	}
	if m, whole := b.members[dir+"recording"]; whole {
		exported, err := recorder.OpenExported(m.data, m.data.Size())
		if err != nil {
			return nil, nil, err
		}
		a, err := verify.OpenOutline(ctx, exported, s, *key)
		if err != nil {
			return nil, nil, err
		}
		var all []uint64
		for _, p := range a.Parts() {
			all = append(all, p.Number)
		}
		return a, all, nil
	}
	text, err := b.read(dir+"outline", maxOutline)
	if err != nil {
		return nil, nil, err
	}
	a, err := verify.OpenOutline(ctx, source{b, session, text}, s, *key)
	return a, b.segmentsOf(session), err
}
