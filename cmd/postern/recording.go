package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/crypto/ssh"

	"postern/internal/auditor"
	"postern/internal/command"
	"postern/internal/control"
	"postern/internal/verify"
	"postern/recorder"
)

var viewReasonFlag = &cli.StringFlag{Name: "reason", Value: "not said", Usage: "why you look at it, for the log: `TEXT`"}

var outputFlag = &cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "write to `FILE` (default: standard output)"}

var recordingCommand = &cli.Command{
	Name:  "recording",
	Usage: "sealed recordings as files",
	Subcommands: []*cli.Command{{
		Name:      "fetch",
		Usage:     "keep a sealed recording as a file; postern verify --recording FILE checks it",
		ArgsUsage: "S-… -o FILE",
		Flags:     []cli.Flag{outputFlag, viewReasonFlag},
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

// writing lets fn write a file, which is there only if it is whole; without a path it is standard output.
func writing(path string, fn func(io.Writer) error) error {
	if path == "" {
		return fn(os.Stdout)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	err = fn(f)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

// fetch copies the sealed recording of a session to w. The view is in the log before the first byte comes.
func (c *client) fetch(cc *cli.Context, id, because string, w io.Writer) (control.Audit, error) {
	audit, err := control.Call[control.Audit](cc.Context, c.Client, nil, append([]string{"audit", id}, reasonWords(because)...)...)
	if err != nil {
		return audit, err
	}
	public, _, _, _, err := ssh.ParseAuthorizedKey([]byte(audit.Certificate))
	cert, ok := public.(*ssh.Certificate)
	if err != nil || !ok {
		return audit, errors.New("the CA answered the audit without a certificate")
	}
	signer, err := c.keys.named(ssh.FingerprintSHA256(cert.Key))
	if err != nil {
		return audit, err
	}
	return audit, auditor.Fetch(cc.Context, audit, signer, c.settings.knownHosts(), w)
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
func (c *client) open(cc *cli.Context, id string, keystrokes bool) (*recording, error) {
	f, err := os.CreateTemp("", "postern-recording-*")
	if err != nil {
		return nil, err
	}
	os.Remove(f.Name())
	r := &recording{File: f}
	because := cc.String("reason")
	if keystrokes {
		because = "with what was typed: " + because
	}
	audit, err := c.fetch(cc, strings.ToUpper(id), because, f)
	if err == nil {
		err = r.unlock(audit, c.settings.Home, keystrokes)
	}
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	if _, r.damage = verify.Recording(f, r.session, &r.key); r.damage != nil {
		fmt.Fprintf(os.Stderr, "%s\n", colour(red, fmt.Sprintf("WARNING: the recording of %s does not verify: %v", r.session.ID, r.damage)))
	} else if !r.session.Sealed {
		fmt.Fprintf(os.Stderr, "%s is not sealed to its end yet; this is what there is so far\n", r.session.ID)
	}
	return r, nil
}

func (r *recording) unlock(audit control.Audit, home string, keystrokes bool) error {
	if _, err := audit.RecordingKey.Verify(); err != nil {
		return err
	}
	identity, err := auditor.Open(home, askSecret)
	if err != nil {
		return err
	}
	if r.key, err = auditor.OpenRecordingKey(audit.RecordingKey, identity); err != nil {
		return err
	}
	if keystrokes {
		typed, err := auditor.OpenKeystrokeKey(audit, identity)
		if err != nil {
			return err
		}
		r.typed = &typed
	}
	r.session.Session = audit.Session
	r.session.BastionKey, _, _, _, err = ssh.ParseAuthorizedKey([]byte(audit.Bastion.Key))
	if err != nil {
		return fmt.Errorf("key of bastion %s: %w", audit.Bastion.Name, err)
	}
	return nil
}

// reader reads the recording from its beginning.
func (r *recording) reader() (*recorder.Reader, error) {
	if _, err := r.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	reader, err := recorder.Open(r.File, r.key, r.session.BastionKey.(ssh.CryptoPublicKey).CryptoPublicKey())
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
