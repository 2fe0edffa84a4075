package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/urfave/cli/v2"
	"golang.org/x/crypto/ssh"

	"postern/internal/auditor"
	"postern/internal/command"
	"postern/internal/control"
	"postern/internal/verify"
	"postern/recorder"
)

var outputFlag = &cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "write to `FILE` (default: standard output)"}

var recordingCommand = &cli.Command{
	Name:  "recording",
	Usage: "sealed recordings as files",
	Subcommands: []*cli.Command{{
		Name:      "fetch",
		Usage:     "keep a sealed recording as a file; postern verify --recording FILE checks it",
		ArgsUsage: "S-… -o FILE",
		Flags:     []cli.Flag{&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "write to `FILE`"}, viewReasonFlag},
		Action: func(c *cli.Context) error {
			args, err := command.Exactly(c, "S-…")
			if err != nil {
				return err
			}
			if c.String("output") == "" {
				return command.Misuse("name a file with -o FILE")
			}
			return fetchSealed(c, args[0])
		},
	}},
}

// recording is a fetched one, in a file that is gone when it is closed. What is in it is sealed.
type recording struct {
	*os.File
	session verify.Session
	key     recorder.PrivateKey
	typed   *recorder.PrivateKey // of what was typed, if that was asked for
	damage  error                // why it does not verify
}

// open fetches a recording and the private half of its key, with keystrokes also that of theirs, and verifies all of it before a byte is
// shown. A recording that is damaged is still given: what is good of it may be all there is.
func (c *client) open(cc *cli.Context, view auditor.View, id string) (*recording, error) {
	access, err := c.desk().View(cc.Context, view, id)
	if err != nil {
		return nil, err
	}
	defer access.Close()
	f, err := os.CreateTemp("", "postern-recording-*")
	if err != nil {
		return nil, err
	}
	os.Remove(f.Name())
	r := &recording{File: f}
	if err = r.unlock(access, id, view.Keystrokes); err == nil {
		err = access.Fetch(cc.Context, id, f)
	}
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	_, r.damage = verify.Recording(f, r.session, &r.key)
	if errors.Is(r.damage, recorder.ErrShredded) {
		f.Close()
		return nil, shredded(id)
	}
	if r.damage != nil {
		warnOf(fmt.Errorf("the recording of %s does not verify: %w", r.session.ID, r.damage))
	} else if !r.session.Sealed {
		fmt.Fprintf(os.Stderr, "%s is not sealed to its end yet; this is what there is so far. To see it while it runs: postern watch %[1]s\n", r.session.ID)
	}
	return r, nil
}

func (r *recording) unlock(access *auditor.Access, id string, keystrokes bool) (err error) {
	if r.session, err = access.Session(id); err != nil {
		return err
	}
	if r.key, err = access.Key(id); err != nil || !keystrokes {
		return err
	}
	typed, err := access.KeystrokeKey(id)
	r.typed = &typed
	return err
}

// reader reads the recording from its beginning.
func (r *recording) reader() (*recorder.Reader, error) {
	if _, err := r.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	bastion, ok := r.session.BastionKey.(ssh.CryptoPublicKey)
	if !ok {
		return nil, fmt.Errorf("nobody knows the key of bastion %s", r.session.Bastion)
	}
	reader, err := recorder.Open(r.File, r.key, bastion.CryptoPublicKey())
	if err != nil {
		return nil, err
	}
	if r.typed != nil {
		if err := reader.OpenCompartment(*r.typed); err != nil {
			return nil, err
		}
	}
	return reader, verify.Expect(reader, r.session)
}

// openedKeys opens recording keys for one who is an auditor, each once.
type openedKeys struct {
	identity auditor.Identity
	logged   map[string]control.RecordingKey
	opened   map[string]*recorder.PrivateKey
}

// key returns the private half, or nil when this person cannot open it.
func (o *openedKeys) key(id string) *recorder.PrivateKey {
	if o.identity == nil {
		return nil
	}
	if key, done := o.opened[id]; done {
		return key
	}
	o.opened[id] = nil
	if private, err := auditor.OpenRecordingKey(o.logged[id], o.identity); err == nil {
		o.opened[id] = &private
	}
	return o.opened[id]
}
