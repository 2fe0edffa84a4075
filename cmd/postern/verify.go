package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/crypto/ssh"

	"postern/ca/auditlog"
	"postern/internal/auditor"
	"postern/internal/command"
	"postern/internal/control"
	"postern/internal/verify"
	"postern/recorder"
)

var verifyCommand = &cli.Command{
	Name:      "verify",
	Usage:     "prove the log, the approvals, the certificates and the recordings, trusting no server; or a FILE that postern evidence made",
	ArgsUsage: "[FILE]",
	Flags: []cli.Flag{
		witnessFlag, witnessesFlag, withinFlag, policyDirsFlag,
		&cli.BoolFlag{Name: "no-recordings", Usage: "leave the recordings out"},
		&cli.StringFlag{Name: "recording", Usage: "check this sealed recording against the log, and no other: `FILE`"},
		&cli.BoolFlag{Name: "text", Usage: "print what the host printed, of a FILE that was made with --open"},
		viewReasonFlag,
		jsonFlag,
	},
	Action: func(c *cli.Context) error {
		if c.NArg() == 1 {
			return verifyBundle(c, c.Args().First())
		}
		if err := command.FlagsOnly(c); err != nil {
			return err
		}
		if c.Bool("text") {
			return command.Misuse("--text is for a FILE that postern evidence made")
		}
		file, recordings := c.String("recording"), !c.Bool("no-recordings")
		reason, err := "", error(nil)
		if file == "" && recordings {
			if reason, err = viewReason(c); err != nil {
				return err
			}
		}
		d, err := demanded(c)
		if err != nil {
			return err
		}
		sets, err := loadReviewed(c.StringSlice("policy"))
		if err != nil {
			return err
		}
		ca, err := connect(c)
		if err != nil {
			return err
		}
		defer ca.close()
		proof, err := ca.proveLog(c.Context)
		if err != nil {
			return err
		}
		if err := ca.askWitnesses(c.Context, proof, d); err != nil {
			return err
		}
		proof.Reviewed = judge(&proof.Report, sets, func(i int64) auditlog.Entry {
			e, _ := auditlog.Decode(proof.leaves[i]) // what does not decode is a failure already
			return e
		})
		switch {
		case file != "":
			err = proof.file(file)
		case recordings:
			err = ca.proveRecordings(c.Context, proof, reason)
		}
		if err != nil {
			return err
		}
		return proof.conclude(c.Bool("json"))
	},
}

// proof is what was found out.
type proof struct {
	verify.Report
	Leaves    int64       `json:"leaves"`
	Before    int64       `json:"before"`              // leaves of the log when this machine last looked
	Memory    string      `json:"memory"`              // file with the checkpoint that is remembered
	Witnessed []witnessed `json:"witnessed,omitempty"` // by whom, and how far

	Reviewed  int `json:"reviewed"`   // policies that were compared with a directory
	Checked   int `json:"recordings"` // that pass through every head that was logged of them
	Heads     int `json:"heads"`      // so many
	Read      int `json:"read"`       // of the recordings, those read to the last frame
	Open      int `json:"not_sealed"` // sessions whose recording is not sealed to its end yet
	Destroyed int `json:"destroyed"`  // as was ordered; what is left of them verifies

	keys       openedKeys
	leaves     [][]byte
	checkpoint []byte
	trust      verify.Keys
}

// proveLog is [client.walkLog] for who needs the leaves, and the recording keys among them.
func (c *client) proveLog(ctx context.Context) (*proof, error) {
	p := &proof{}
	w, err := c.walkLog(ctx, func(_ int64, _ auditlog.Entry, leaf []byte) { p.leaves = append(p.leaves, leaf) })
	if err != nil {
		return nil, err
	}
	p.Report, p.Leaves, p.Before, p.Memory = w.report, w.tree.N, w.before, w.memory
	p.checkpoint, p.trust = w.checkpoint, w.keys
	boxes, err := control.List[control.RecordingKey](ctx, c.Client, "recording-keys")
	if err != nil {
		return nil, err
	}
	p.keys = auditorKeys(c.settings.Home, p.leaves, boxes)
	return p, nil
}

// trusted reads the keys that the operator handed out.
func trusted(dir string) (verify.Keys, error) {
	var keys verify.Keys
	for name, key := range map[string]*ssh.PublicKey{"user_ca": &keys.User, "session_ca": &keys.Session, "host_ca": &keys.Host, "gateway_ca": &keys.Gateway} {
		path := filepath.Join(dir, name+".pub")
		data, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			return keys, fmt.Errorf("%w: your operator hands out the trust directory; set POSTERN_TRUST or --trust to it", err)
		}
		if err != nil {
			return keys, err
		}
		if *key, _, _, _, err = ssh.ParseAuthorizedKey(data); err != nil {
			return keys, fmt.Errorf("%s: %w", path, err)
		}
	}
	vkey, err := os.ReadFile(filepath.Join(dir, "log.vkey"))
	keys.Log = strings.TrimSpace(string(vkey))
	return keys, err
}

// auditorKeys finds the recording keys in the log. Their private halves, which the CA has in boxes, are opened for an auditor whose identity
// wants no passphrase and no touch: verifying is for scripts too.
func auditorKeys(home string, leaves [][]byte, boxes []control.RecordingKey) openedKeys {
	keys := openedKeys{logged: map[string]control.RecordingKey{}, opened: map[string]*recorder.PrivateKey{}}
	for _, leaf := range leaves {
		if e, err := auditlog.Decode(leaf); err == nil && e.RecordingKey != nil {
			keys.logged[e.RecordingKey.ID] = *e.RecordingKey
		}
	}
	for _, b := range boxes { // what they hold must be the key that was logged, or it does not open
		if k, ok := keys.logged[b.ID]; ok {
			k.Box = b.Box
			keys.logged[b.ID] = k
		}
	}
	if identity, err := auditor.OpenSilently(home); err == nil {
		keys.identity = identity
	}
	return keys
}

// proveRecordings fetches every sealed recording and holds it against the log. All of it is one view.
func (c *client) proveRecordings(ctx context.Context, p *proof, reason string) error {
	var sealed []string
	for _, s := range p.Sessions {
		if s.Sealed {
			sealed = append(sealed, s.ID)
		} else {
			p.Open++
		}
	}
	if len(sealed) == 0 {
		return nil
	}
	access, err := c.desk().View(ctx, auditor.View{Kind: control.ViewVerify, Reason: reason}, sealed...)
	if err != nil {
		return fmt.Errorf("the recordings cannot be fetched: %w; the rest is checked with: postern verify --no-recordings", err)
	}
	defer access.Close()
	for _, s := range p.Sessions {
		if !s.Sealed {
			continue
		}
		err := proveRecording(ctx, access, p, s)
		if ctx.Err() != nil {
			return err
		}
		if err != nil {
			p.Failures = append(p.Failures, verify.Failure{Leaf: s.Leaf, Text: fmt.Sprintf("recording of %s: %v", s.ID, err)})
		}
	}
	return nil
}

func proveRecording(ctx context.Context, access *auditor.Access, p *proof, s verify.Session) error {
	if s.Destroyed != nil {
		return p.remains(ctx, access, s)
	}
	f, err := os.CreateTemp("", "postern-recording-*")
	if err != nil {
		return err
	}
	os.Remove(f.Name())
	defer f.Close()
	if err := access.Fetch(ctx, s.ID, f); err != nil {
		return err
	}
	return p.check(f, s)
}

func (p *proof) check(f io.ReadSeeker, s verify.Session) error {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	key := p.keys.key(s.RecordingKey)
	_, err := verify.Recording(f, s, key)
	if err == nil {
		p.Checked++
		p.Heads += len(s.Heads)
		if key != nil {
			p.Read++
		}
	}
	return err
}

// file checks one sealed recording that is at hand.
func (p *proof) file(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	sum, err := recorder.Check(f, nil) // it says whose it is; nothing of that is believed yet
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	i := slices.IndexFunc(p.Sessions, func(s verify.Session) bool { return s.ID == sum.Session })
	if i < 0 {
		return fmt.Errorf("%s: the log knows no session %s", path, sum.Session)
	}
	if err := p.check(f, p.Sessions[i]); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// conclude prints the report. Its error has no text of its own when the report has said it all.
func (p *proof) conclude(asJSON bool) error {
	if asJSON {
		if err := jsonLine(os.Stdout, p); err != nil {
			return err
		}
	} else if err := p.print(); err != nil {
		return err
	}
	if n := len(p.Failures); n > 0 {
		return fmt.Errorf("%d of these things should not be; do not trust this CA until they are explained", n)
	}
	return nil
}
