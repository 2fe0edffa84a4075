package sftp

import (
	"encoding/binary"
	"fmt"
	"slices"

	"postern/bastion/meter"
	"postern/recorder"
)

// extensions are the requests that OpenSSH added, as its PROTOCOL file has them, section 4.
var extensions = map[string]*verb{
	"posix-rename@openssh.com":       {name: "posix-rename@openssh.com", fields: "pt", needs: write, changes: true, version: "1"},
	"statvfs@openssh.com":            {name: "statvfs@openssh.com", fields: "p", reply: typeExtendedReply, version: "2"},
	"fstatvfs@openssh.com":           {name: "fstatvfs@openssh.com", fields: "h", reply: typeExtendedReply, version: "2"},
	"hardlink@openssh.com":           {name: "hardlink@openssh.com", fields: "pt", needs: write, changes: true, version: "1"},
	"fsync@openssh.com":              {name: "fsync@openssh.com", fields: "h", needs: write, version: "1"},
	"lsetstat@openssh.com":           {name: "lsetstat@openssh.com", fields: "pa", needs: write, changes: true, version: "1"},
	"limits@openssh.com":             {name: "limits@openssh.com", reply: typeExtendedReply, version: "1"},
	"expand-path@openssh.com":        {name: "expand-path@openssh.com", fields: "p", reply: typeName, version: "1"},
	"copy-data":                      {name: "copy-data", fields: "hoc", needs: read | write, changes: true, version: "1"},
	"home-directory":                 {name: "home-directory", fields: "u", reply: typeName, version: "1"},
	"users-groups-by-id@openssh.com": {name: "users-groups-by-id@openssh.com", fields: "ss", needs: read, reply: typeExtendedReply, version: "1"},
}

// agree takes the host's first packet, which must be VERSION.
func (d *Decoder) agree(step *meter.Step, p []byte) error {
	if p[4] != typeVersion || !d.begun {
		return fmt.Errorf("the host begins with packet type %d instead of answering INIT with VERSION", p[4])
	}
	f := fields{b: p[head:]}
	got := f.uint32()
	if !f.short && got != version {
		return fmt.Errorf("the host speaks SFTP version %d; only version %d can be relayed", got, version)
	}
	shown := slices.Clone(p[:len(p)-len(f.b)])
	for len(f.b) > 0 && !f.short {
		pair := f.b
		name, data := f.string(), f.string()
		if e := extensions[string(name)]; e != nil && string(data) == e.version && e.needs&^d.granted == 0 {
			shown = append(shown, pair[:len(pair)-len(f.b)]...)
		}
	}
	if f.short {
		return fmt.Errorf("%w: VERSION", errShort)
	}
	binary.BigEndian.PutUint32(shown, uint32(len(shown)-4))
	d.agreed = true
	d.log.Data(recorder.Stdout, shown)
	d.pass(step, shown)
	return nil
}
