package play

import (
	"bytes"
	"encoding/binary"
	"testing"

	"golang.org/x/crypto/ssh"

	"postern/bastion/meter"
	"postern/bastion/sftp"
	"postern/recorder"
)

// packet is one of SFTP.
func packet(kind byte, fields any) []byte {
	body := ssh.Marshal(fields)
	b := binary.BigEndian.AppendUint32(nil, uint32(1+len(body)))
	return append(append(b, kind), body...)
}

// What FORMAT.md says of an SFTP conversation is true of what the bastion records: frames and extents in their order are its bytes.
func TestConversationIsMadeWholeAgain(t *testing.T) {
	type status struct {
		ID, Code     uint32
		Text, Tongue string
	}
	content := noise(200_000)
	client := [][]byte{
		packet(1, struct{ Version uint32 }{3}),
		packet(3, struct {
			ID           uint32
			Path         string
			Flags, Attrs uint32
		}{1, "/srv/dump", 0x1b, 0}),
		packet(6, struct {
			ID     uint32
			Handle string
			Offset uint64
			Data   []byte
		}{2, "h", 0, content}),
		packet(5, struct {
			ID     uint32
			Handle string
			Offset uint64
			Length uint32
		}{3, "h", 0, 200_000}),
		packet(4, struct {
			ID     uint32
			Handle string
		}{4, "h"}),
	}
	host := [][]byte{
		packet(2, struct{ Version uint32 }{3}),
		packet(102, struct {
			ID     uint32
			Handle string
		}{1, "h"}),
		packet(101, status{ID: 2, Text: "Success"}),
		packet(103, struct {
			ID   uint32
			Data []byte
		}{3, content}),
		packet(101, status{ID: 4}),
	}
	log := new(meter.Log)
	decoder := sftp.New(sftp.Config{Read: true, Write: true, Keep: meter.Full}, log)
	frames := []recorder.Frame{told(1, 0, recorder.EventProtocol, recorder.Protocol{Name: "sftp"})}
	take := func(_ meter.Step, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range log.Frames() {
			f.Channel, f.Data = 1, bytes.Clone(f.Data)
			frames = append(frames, f)
		}
		log.Reset()
	}
	log.Reset()
	for i := range client {
		take(decoder.Client(nil, client[i]))
		take(decoder.Host(nil, host[i]))
	}
	decoder.Close()
	var whole [2][]byte
	for f, err := range Frames(record(t, frames...).open(t, false)) {
		if err != nil {
			t.Fatal(err)
		}
		switch f.Type {
		case recorder.TypeData:
			whole[f.Stream] = append(whole[f.Stream], f.Data...)
		case recorder.TypeExtent:
			e, err := f.Extent()
			if err != nil || e.File == 0 {
				t.Fatal(e.File, err)
			}
			whole[f.Stream] = append(whole[f.Stream], e.Kept...)
		}
	}
	if !bytes.Equal(whole[recorder.Stdin], bytes.Join(client, nil)) || !bytes.Equal(whole[recorder.Stdout], bytes.Join(host, nil)) {
		t.Errorf("%d bytes and %d, not %d and %d", len(whole[0]), len(whole[1]), len(bytes.Join(client, nil)), len(bytes.Join(host, nil)))
	}
}
