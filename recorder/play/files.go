package play

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"postern/recorder"
)

// manifestName is the file that says what the others are. Their names begin with a number, so none of them is called that.
const manifestName = "manifest.json"

// Taken is one direction of a transferred file, as the manifest of [Files] tells of it.
type Taken struct {
	File      string `json:"file,omitempty"`      // its name in the directory; absent: nothing of it was kept
	Direction string `json:"direction,omitempty"` // received (from the host) or sent; absent: nothing passed
	Channel   uint32 `json:"channel"`

	About *recorder.File `json:"about,omitempty"` // absent: the recording ends before the file does

	Bytes    uint64           `json:"bytes"`            // that passed
	SHA256   string           `json:"sha256,omitempty"` // of them, as the bastion computed it
	Kept     []recorder.Range `json:"kept,omitempty"`   // what is in File
	More     bool             `json:"more,omitempty"`   // and further ranges, which are not listed
	Complete bool             `json:"complete"`         // all that passed is in File
	Verified uint64           `json:"verified"`         // bytes of the beginning of what passed whose hash is the bastion's
	Wrong    bool             `json:"wrong,omitempty"`  // what was kept does not have the bastion's hash
	Note     string           `json:"note,omitempty"`
}

// Tally counts what [Files] wrote.
type Tally struct{ Whole, Heads, Parts, Nothing, Wrong int }

// Files writes what a recording has of the contents of transferred files into dir, which is made or must be empty, and a manifest that says what each is
// and what is missing. Nothing in a recording chooses a place outside dir. What is not kept of a file is a hole in it. The hashes are compared as far as
// the bastion computed them.
func Files(r *recorder.Reader, dir string) (Tally, error) {
	root, err := emptyDir(dir)
	if err != nil {
		return Tally{}, err
	}
	defer root.Close()
	out, err := root.Create(manifestName)
	if err != nil {
		return Tally{}, err
	}
	t := &taker{root: root, manifest: bufio.NewWriter(out), open: map[fileLane]*taking{}}
	for f, ferr := range Frames(r) {
		if err = ferr; err == nil {
			err = t.frame(f)
		}
		if err != nil {
			break
		}
	}
	err = errors.Join(err, t.close(), out.Close())
	if err == nil && t.tally.Wrong > 0 {
		err = fmt.Errorf("%d files do not have the hash that the bastion computed; %s says which", t.tally.Wrong, manifestName)
	}
	return t.tally, err
}

func emptyDir(dir string) (*os.Root, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	if len(entries) > 0 {
		return nil, fmt.Errorf("%s is not empty; name a directory that is, or one that is not there yet", dir)
	}
	return os.OpenRoot(dir)
}

type fileLane struct {
	lane
	file uint32
}

// taker writes files. Their names are known when they are done, so until then they have others.
type taker struct {
	root     *os.Root
	manifest *bufio.Writer
	open     map[fileLane]*taking
	writing  *os.File // the one written to last,
	name     string   // and its name
	number   int
	lines    int
	tally    Tally
}

func (t *taker) frame(f recorder.Frame) error {
	switch f.Type {
	case recorder.TypeExtent:
		e, err := f.Extent()
		if err != nil || e.File == 0 {
			return nil
		}
		return t.extent(fileLane{lane{f.Channel, f.Stream}, e.File}, e)
	case recorder.TypeEvent:
		e, err := f.Event()
		var about recorder.File
		if err != nil || e.Name != recorder.EventFile || json.Unmarshal(e.JSON, &about) != nil {
			return nil
		}
		return t.file(f.Channel, about)
	}
	return nil
}

func (t *taker) extent(id fileLane, e recorder.Extent) error {
	x := t.open[id]
	if x == nil {
		t.number++
		x = newTaking(fmt.Sprintf(".%04d", t.number), t.number, e.Offset)
		t.open[id] = x
	}
	if !x.pass(e) {
		return nil
	}
	f, err := t.writer(x.name)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(e.Kept, int64(e.Offset))
	return err
}

// writer opens a file unless it is the one that is open.
func (t *taker) writer(name string) (*os.File, error) {
	if t.writing != nil && t.name == name {
		return t.writing, nil
	}
	if err := t.idle(); err != nil {
		return nil, err
	}
	f, err := t.root.OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o600)
	if err == nil {
		t.writing, t.name = f, name
	}
	return f, err
}

func (t *taker) idle() error {
	if t.writing == nil {
		return nil
	}
	f := t.writing
	t.writing = nil
	return f.Close()
}

// file finishes both directions of a file that its event tells of.
func (t *taker) file(channel uint32, about recorder.File) error {
	nothing := true
	for _, way := range []struct {
		stream byte
		*recorder.Transfer
	}{{recorder.Stdout, about.Read}, {recorder.Stdin, about.Written}} {
		id := fileLane{lane{channel, way.stream}, about.Number}
		x := t.open[id]
		if x == nil && way.Transfer == nil {
			continue
		}
		nothing = false
		if x == nil {
			t.number++
			x = newTaking(fmt.Sprintf(".%04d", t.number), t.number, 0)
		}
		delete(t.open, id)
		if err := t.finish(x, id, &about, way.Transfer); err != nil {
			return err
		}
	}
	if !nothing {
		return nil
	}
	t.tally.Nothing++
	return t.tell(Taken{Channel: channel, About: &about})
}

// finish gives a file its name and its place in the manifest.
func (t *taker) finish(x *taking, id fileLane, about *recorder.File, transfer *recorder.Transfer) error {
	told := x.told(about, transfer)
	told.Channel, told.Direction = id.channel, "received"
	if id.stream == recorder.Stdin {
		told.Direction = "sent"
	}
	if told.Wrong {
		t.tally.Wrong++
	}
	suffix := ""
	switch {
	case told.Complete:
		t.tally.Whole++
	case len(told.Kept) == 0:
		t.tally.Nothing++
		return t.tell(told)
	case len(told.Kept) == 1 && told.Kept[0].From == 0 && !told.More:
		t.tally.Heads++
		suffix = ".head"
	default:
		t.tally.Parts++
		suffix = ".part"
	}
	name := ""
	if about != nil {
		name = about.Path
	}
	told.File = fmt.Sprintf("%04d-%s%s", x.number, safeName(name), suffix)
	if _, err := t.writer(x.name); err != nil { // one without bytes is not there yet
		return err
	}
	if err := errors.Join(t.idle(), t.root.Rename(x.name, told.File)); err != nil {
		return err
	}
	return t.tell(told)
}

func (t *taker) tell(told Taken) error {
	b, err := json.Marshal(told)
	if err != nil {
		return err
	}
	separator := ",\n"
	if t.lines == 0 {
		separator = "[\n"
	}
	t.lines++
	t.manifest.WriteString(separator) // a bufio.Writer keeps its error
	_, err = t.manifest.Write(b)
	return err
}

// close finishes what the recording does not tell the end of.
func (t *taker) close() (err error) {
	left := slices.SortedFunc(maps.Keys(t.open), func(a, b fileLane) int { return t.open[a].number - t.open[b].number })
	for _, id := range left {
		err = errors.Join(err, t.finish(t.open[id], id, nil, nil))
	}
	if t.lines == 0 {
		t.manifest.WriteString("[")
	}
	t.manifest.WriteString("\n]\n")
	return errors.Join(err, t.idle(), t.manifest.Flush())
}

// safeName keeps of a path the last name, and of that what is a plain letter on every system.
func safeName(path string) string {
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-+=@", r) {
			return r
		}
		return '_'
	}, path[strings.LastIndexByte(path, '/')+1:])
	name = strings.TrimLeft(name[:min(len(name), 80)], ".-")
	if name == "" {
		return "file"
	}
	return name
}
