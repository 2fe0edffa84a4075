package play

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"postern/bastion/meter"
	"postern/recorder"
)

// transfer has the bastion's meter record what passes of a file.
func transfer(number uint32, keep, path string, pass func(*meter.File)) []recorder.Frame {
	log := new(meter.Log)
	log.Reset()
	f := meter.NewFile(log, recorder.File{Number: number, Protocol: "sftp", Path: path, Access: "read", Keep: keep})
	pass(f)
	return log.Frames()
}

func noise(n int) []byte {
	b, sum := make([]byte, 0, n+32), [32]byte{}
	for len(b) < n {
		sum = sha256.Sum256(sum[:])
		b = append(b, sum[:]...)
	}
	return b[:n]
}

func readManifest(t *testing.T, dir string) []Taken {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, manifestName))
	if err != nil {
		t.Fatal(err)
	}
	var list []Taken
	if err := json.Unmarshal(b, &list); err != nil {
		t.Fatalf("%v in\n%s", err, b)
	}
	return list
}

func TestFiles(t *testing.T) {
	content := noise(300_000)
	hash := func(b []byte) string { sum := sha256.Sum256(b); return hex.EncodeToString(sum[:]) }
	sparse := func(pieces ...recorder.Range) []byte { // what is there of content
		b := make([]byte, pieces[len(pieces)-1].To)
		for _, p := range pieces {
			copy(b[p.From:p.To], content[p.From:p.To])
		}
		return b
	}
	inPieces := func(size int, pass func(uint64, []byte)) {
		for at := 0; at < len(content); at += size {
			pass(uint64(at), content[at:min(at+size, len(content))])
		}
	}
	for _, test := range []struct {
		name     string
		keep     string
		path     string
		pass     func(*meter.File)
		file     string // its name; empty: there is none
		content  []byte
		taken    Taken // without About, Kept
		pieces   int
		received bool
	}{
		{name: "in full", keep: meter.Full, path: "/srv/dump.sql", pass: func(f *meter.File) { inPieces(32768, f.Read); f.End(); f.Done("ok") },
			file: "0001-dump.sql", content: content, taken: Taken{Direction: "received", Bytes: 300_000, SHA256: hash(content), Complete: true, Verified: 300_000}, pieces: 1},
		{name: "its head", keep: meter.Head, path: "dump.sql", pass: func(f *meter.File) { inPieces(32768, f.Write); f.Done("ok") },
			file: "0001-dump.sql.head", content: content[:65536], taken: Taken{Direction: "sent", Bytes: 300_000, SHA256: hash(content), Verified: 65536}, pieces: 1},
		{name: "a head that ends inside a piece", keep: meter.Head, path: "dump.sql", pass: func(f *meter.File) { inPieces(50_000, f.Write); f.Done("ok") },
			file: "0001-dump.sql.head", content: content[:65536], taken: Taken{Direction: "sent", Bytes: 300_000, SHA256: hash(content), Verified: 50_000}, pieces: 1},
		{name: "smaller than a head", keep: meter.Head, path: "x", pass: func(f *meter.File) { f.Read(0, content[:9]); f.End(); f.Done("ok") },
			file: "0001-x", content: content[:9], taken: Taken{Direction: "received", Bytes: 9, SHA256: hash(content[:9]), Complete: true, Verified: 9}, pieces: 1},
		{name: "a hash alone", keep: meter.Hash, path: "x", pass: func(f *meter.File) { inPieces(32768, f.Read); f.End(); f.Done("ok") },
			taken: Taken{Direction: "received", Bytes: 300_000, SHA256: hash(content)}},
		{name: "empty", keep: meter.Full, path: "x", pass: func(f *meter.File) { f.End(); f.Done("ok") },
			file: "0001-x", content: []byte{}, taken: Taken{Direction: "received", SHA256: hash(nil), Complete: true}},
		{name: "nothing passed", keep: meter.Full, path: "x", pass: func(f *meter.File) { f.Done("no such file") }},
		{name: "resumed", keep: meter.Full, path: "x", pass: func(f *meter.File) { f.Read(1000, content[1000:5000]); f.End(); f.Done("ok") },
			file: "0001-x.part", content: sparse(recorder.Range{From: 1000, To: 5000}), taken: Taken{Direction: "received", Bytes: 4000, SHA256: hash(content[1000:5000]), Verified: 4000}, pieces: 1},
		{name: "with holes", keep: meter.Full, path: "x", pass: func(f *meter.File) { f.Read(0, content[:100]); f.Read(5000, content[5000:5100]); f.Done("ok") },
			file: "0001-x.part", content: sparse(recorder.Range{To: 100}, recorder.Range{From: 5000, To: 5100}), taken: Taken{Direction: "received", Bytes: 200, Verified: 100}, pieces: 2},
		{name: "backwards", keep: meter.Full, path: "x", pass: func(f *meter.File) { f.Write(100, content[100:200]); f.Write(0, content[:100]); f.Done("ok") },
			file: "0001-x", content: content[:200], taken: Taken{Direction: "sent", Bytes: 200, Complete: true, Verified: 100}, pieces: 1},
		{name: "far away", keep: meter.Full, path: "x", pass: func(f *meter.File) { f.Write(0, content[:100]); f.Write(1<<50, content[:100]); f.Done("ok") },
			file: "0001-x.head", content: content[:100], taken: Taken{Direction: "sent", Bytes: 200, Verified: 100, Note: "what is beyond 1099511627776 bytes is left out"}, pieces: 1},
		{name: "the end of the numbers", keep: meter.Full, path: "x", pass: func(f *meter.File) { f.Write(1<<64-50, content[:100]); f.Done("ok") },
			taken: Taken{Direction: "sent", Bytes: 100, SHA256: hash(content[:100]), Verified: 100, Note: "what is beyond 1099511627776 bytes is left out"}},
		{name: "to nowhere", keep: meter.Full, path: "../../../etc/..", pass: func(f *meter.File) { f.Read(0, content[:9]); f.Done("ok") },
			file: "0001-file", content: content[:9], taken: Taken{Direction: "received", Bytes: 9, SHA256: hash(content[:9]), Complete: true, Verified: 9}, pieces: 1},
		{name: "evil", keep: meter.Full, path: "/x/-rf ~\x1b[31m\n$(id)`ü" + strings.Repeat("y", 5000), pass: func(f *meter.File) { f.Read(0, content[:9]); f.Done("ok") },
			file: "0001-rf____31m___id___" + strings.Repeat("y", 62), content: content[:9], taken: Taken{Direction: "received", Bytes: 9, SHA256: hash(content[:9]), Complete: true, Verified: 9}, pieces: 1},
		{name: "cut off", keep: meter.Full, path: "x", pass: func(f *meter.File) { f.Read(0, content[:9]) },
			file: "0001-file.head", content: content[:9], taken: Taken{Direction: "received", Bytes: 9, Verified: 9, Note: "the recording ends before this file does"}, pieces: 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "new")
			tally, err := Files(record(t, transfer(1, test.keep, test.path, test.pass)...).open(t, false), dir)
			if err != nil {
				t.Fatal(err)
			}
			list := readManifest(t, dir)
			if len(list) != 1 {
				t.Fatalf("%d in the manifest, %+v", len(list), tally)
			}
			got := list[0]
			if pieces := len(got.Kept); pieces != test.pieces {
				t.Errorf("kept %v", got.Kept)
			}
			if got.About != nil && got.About.Path != test.path && !strings.Contains(test.name, "evil") {
				t.Errorf("it is about %q", got.About.Path)
			}
			want := test.taken
			want.File = test.file
			got.About, got.Kept = nil, nil
			if g, w := asJSON(t, got), asJSON(t, want); g != w {
				t.Errorf("told\n%s\nwant\n%s", g, w)
			}
			onlyThese(t, dir, test.file)
			if test.file != "" {
				if b, err := os.ReadFile(filepath.Join(dir, test.file)); err != nil || !bytes.Equal(b, test.content) {
					t.Errorf("%s has %d bytes, want %d: %v", test.file, len(b), len(test.content), err)
				}
			}
		})
	}
}

func asJSON(t *testing.T, v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func onlyThese(t *testing.T, dir string, file string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != file && e.Name() != manifestName {
			t.Errorf("there is %q", e.Name())
		}
	}
}

func TestFilesThatAreNotWhatWasHashed(t *testing.T) {
	log := new(meter.Log)
	log.Reset()
	f := meter.NewFile(log, recorder.File{Number: 1, Path: "x", Keep: meter.Full})
	f.Read(0, []byte("hello\n"))
	f.Done("ok")
	frames := log.Frames()
	frames[0].Data[len(frames[0].Data)-2] ^= 1
	dir := t.TempDir()
	tally, err := Files(record(t, frames...).open(t, false), dir)
	if err == nil || tally.Wrong != 1 || !readManifest(t, dir)[0].Wrong {
		t.Errorf("%+v, %v", tally, err)
	}
}

func TestFilesSideBySide(t *testing.T) {
	var frames []recorder.Frame
	logs := [3]meter.Log{}
	for i := range logs {
		logs[i].Reset()
	}
	a := meter.NewFile(&logs[0], recorder.File{Number: 1, Path: "same", Keep: meter.Full})
	b := meter.NewFile(&logs[1], recorder.File{Number: 2, Path: "same", Keep: meter.Full})
	both := meter.NewFile(&logs[2], recorder.File{Number: 3, Path: "both", Keep: meter.Full})
	take := func(i int) {
		for _, f := range logs[i].Frames() {
			f.Data = bytes.Clone(f.Data)
			frames = append(frames, f)
		}
		logs[i].Reset()
	}
	for i := range 3 {
		a.Read(uint64(i), []byte{'a'})
		take(0)
		b.Read(uint64(i), []byte{'b'})
		take(1)
		both.Read(uint64(i), []byte{'r'})
		both.Write(uint64(i), []byte{'w'})
		take(2)
	}
	for i, f := range []*meter.File{a, b, both} {
		f.Done("ok")
		take(i)
	}
	dir := t.TempDir()
	tally, err := Files(record(t, frames...).open(t, false), dir)
	if err != nil || tally != (Tally{Whole: 4}) {
		t.Fatalf("%+v, %v", tally, err)
	}
	for name, want := range map[string]string{"0001-same": "aaa", "0002-same": "bbb", "0003-both": "rrr", "0004-both": "www"} {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != want {
			t.Errorf("%s is %q, %v", name, got, err)
		}
	}
	if _, err := Files(record(t, frames...).open(t, false), dir); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("into a directory that is in use: %v", err)
	}
}

func TestNoFiles(t *testing.T) {
	dir := t.TempDir()
	if tally, err := Files(record(t).open(t, false), dir); err != nil || tally != (Tally{}) || len(readManifest(t, dir)) != 0 {
		t.Errorf("%+v, %v", tally, err)
	}
}

// Whatever extents follow each other, the ranges that are kept are sorted, apart, and just the bytes that are there.
func FuzzTaking(f *testing.F) {
	f.Add([]byte{0, 5, 5, 3, 20, 1, 18, 9, 255, 255})
	f.Fuzz(func(t *testing.T, b []byte) {
		x := newTaking("x", 1, 0)
		var there [600]bool
		for ; len(b) > 1; b = b[2:] {
			offset, n := int(b[0]), int(b[1])
			x.pass(recorder.Extent{File: 1, Offset: uint64(offset), Length: uint32(n), Kept: make([]byte, n)})
			for i := range n {
				there[offset+i] = true
			}
		}
		end := -1
		for _, r := range x.kept {
			if int(r.From) <= end || r.To <= r.From {
				t.Fatalf("ranges %v", x.kept)
			}
			for i := r.From; i < r.To; i++ {
				if !there[i] {
					t.Fatalf("byte %d is in %v", i, x.kept)
				}
				there[i] = false
			}
			end = int(r.To)
		}
		for i, missing := range there {
			if missing {
				t.Fatalf("byte %d is not in %v", i, x.kept)
			}
		}
	})
}
