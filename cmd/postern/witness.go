package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"postern/ca/auditlog"
	"postern/internal/command"
	"postern/internal/control"
	"postern/internal/durable"
)

var witnessCommand = &cli.Command{
	Name:  "witness",
	Usage: "watch from another machine that the log only grows, and cosign what was seen",
	Subcommands: []*cli.Command{{
		Name:  "init",
		Usage: "make the witness's key; verifiers and the CA's operator are given what it prints",
		Flags: []cli.Flag{&cli.StringFlag{Name: "name", Usage: "`NAME` of the witness, such as example.org/w1 (default: the name of this machine)"}},
		Action: func(c *cli.Context) error {
			return withHome(c, func(s settings) error { return initWitness(s, c.String("name")) })
		},
	}, {
		Name:  "vkey",
		Usage: "the witness's verifier key, for --witness and for the file witnesses of the CA",
		Action: func(c *cli.Context) error {
			return withHome(c, func(s settings) error {
				w, err := s.cosigner()
				if err == nil {
					fmt.Println(w.VerifierKey())
				}
				return err
			})
		},
	}, {
		Name:  "once",
		Usage: "look at the log, and cosign it if it has only grown",
		Flags: []cli.Flag{&cli.StringFlag{Name: "file", Usage: "what postern witness request wrote, for a witness without a network; prints what to give to postern witness submit: `FILE` or -"}},
		Action: func(c *cli.Context) error {
			return withHome(c, func(s settings) error {
				if c.IsSet("file") {
					return s.witnessFile(c.String("file"))
				}
				return s.witnessOnce(c.Context)
			})
		},
	}, {
		Name:  "run",
		Usage: "once, again and again, until the log forks or shrinks",
		Flags: []cli.Flag{&cli.DurationFlag{Name: "every", Value: 5 * time.Minute, Usage: "`TIME` between two looks"}},
		Action: func(c *cli.Context) error {
			if c.Duration("every") < time.Second {
				return command.Misuse("--every is at least 1s")
			}
			return withHome(c, func(s settings) error { return s.witnessRun(c.Context, c.Duration("every")) })
		},
	}, {
		Name:  "request",
		Usage: "write what a witness without a network needs: checkpoint and proof",
		Flags: []cli.Flag{&cli.Int64Flag{Name: "old", DefaultText: "it never looked", Usage: "`LEAVES` that the witness saw last"}, outputFlag},
		Action: func(c *cli.Context) error {
			if err := command.FlagsOnly(c); err != nil {
				return err
			}
			return witnessRequest(c)
		},
	}, {
		Name:  "submit",
		Usage: "hand a cosigned checkpoint, on standard input, to the CA",
		Action: func(c *cli.Context) error {
			if err := command.FlagsOnly(c); err != nil {
				return err
			}
			b, err := io.ReadAll(io.LimitReader(os.Stdin, maxCosigned))
			if err != nil {
				return err
			}
			ca, err := connect(c)
			if err != nil {
				return err
			}
			defer ca.close()
			return submit(c.Context, ca.Client, b)
		},
	}},
}

const maxCosigned = 1 << 20

func withHome(c *cli.Context, fn func(settings) error) error {
	if err := command.FlagsOnly(c); err != nil {
		return err
	}
	s, err := settingsOf(c)
	if err != nil {
		return err
	}
	return fn(s)
}

func (s settings) witnessHome() string { return filepath.Join(s.Home, "witness") }

func initWitness(s settings, name string) error {
	if name == "" {
		var err error
		if name, err = os.Hostname(); err != nil {
			return err
		}
	}
	seed := make([]byte, ed25519.SeedSize)
	rand.Read(seed)
	w, err := auditlog.NewCosigner(name, seed)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(s.witnessHome(), 0o700); err != nil {
		return err
	}
	path := filepath.Join(s.witnessHome(), "key")
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return fmt.Errorf("%s exists; what it cosigned counts for those who know it, so it is never replaced", path)
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f, w.Secret())
	if err := errors.Join(err, f.Sync(), f.Close(), durable.SyncDir(s.witnessHome())); err != nil {
		return err
	}
	fmt.Fprintln(os.Stderr, "the key is in "+path+"; this line is for verifiers (--witness) and for the file witnesses of the CA:")
	_, err = fmt.Println(w.VerifierKey())
	return err
}

func (s settings) cosigner() (*auditlog.Cosigner, error) {
	path := filepath.Join(s.witnessHome(), "key")
	secret, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, errors.New("this machine is no witness yet; make its key with: postern witness init")
	}
	if err != nil {
		return nil, err
	}
	w, err := auditlog.OpenCosigner(string(secret))
	if err != nil {
		err = fmt.Errorf("%s: %w", path, err)
	}
	return w, err
}

// look is what a witness is shown: a checkpoint, and the proof that what it saw before is a prefix of it.
type look struct {
	old        int64
	proof      auditlog.Proof
	checkpoint []byte
}

// witness checks a look against everything seen before, remembers it, and only then signs: a witness that signed and forgot could
// be shown a fork. next is asked for the look once it is known what was seen last.
func (s settings) witness(next func(old int64) (look, error)) ([]byte, error) {
	w, err := s.cosigner()
	if err != nil {
		return nil, err
	}
	vkey, err := logKey(s.Trust)
	if err != nil {
		return nil, err
	}
	m, err := openMemory(s.witnessHome(), vkey)
	if err != nil {
		return nil, err
	}
	defer m.close()
	before, older, err := m.last()
	if err != nil {
		return nil, err
	}
	l, err := next(older.N)
	if err != nil {
		return nil, err
	}
	newer, err := auditlog.OpenCheckpoint(l.checkpoint, vkey)
	if err != nil {
		return nil, err
	}
	if l.old != older.N && newer.N > older.N {
		return nil, fmt.Errorf("the proof is from %d leaves on, and this witness saw %d; write one with: postern witness request --old %d", l.old, older.N, older.N)
	}
	if err := auditlog.CheckConsistency(l.proof, newer, older); err != nil {
		return nil, m.conflict(err, before, l.checkpoint)
	}
	if err := m.keep(l.checkpoint); err != nil {
		return nil, err
	}
	fmt.Fprintf(os.Stderr, "%d leaves, %s\n", newer.N, grown(older.N, newer.N))
	return w.Cosign(l.checkpoint, vkey, time.Now())
}

func grown(older, newer int64) string {
	switch {
	case older == 0:
		return "seen for the first time: what was there before is taken on trust"
	case older == newer:
		return "as before"
	}
	return fmt.Sprintf("grown from the %d seen before", older)
}

func logKey(trust string) (string, error) {
	b, err := os.ReadFile(filepath.Join(trust, "log.vkey"))
	return strings.TrimSpace(string(b)), err
}

func (s settings) witnessOnce(ctx context.Context) error {
	ca, err := s.connect(ctx)
	if err != nil {
		return err
	}
	defer ca.close()
	cosigned, err := s.witness(func(old int64) (look, error) { return fetchLook(ctx, ca.Client, old) })
	if err != nil {
		return err
	}
	return submit(ctx, ca.Client, cosigned)
}

func submit(ctx context.Context, ca *control.Client, cosigned []byte) error {
	said, err := ca.Run(ctx, bytes.NewReader(cosigned), "cosign")
	if err != nil {
		return fmt.Errorf("the CA does not keep the cosignature: %w", err)
	}
	_, err = fmt.Fprint(os.Stdout, visible(string(said)))
	return err
}

func fetchLook(ctx context.Context, ca *control.Client, old int64) (look, error) {
	l := look{old: old}
	var err error
	if l.checkpoint, err = ca.Run(ctx, nil, "checkpoint"); err != nil {
		return l, err
	}
	size, err := claimedSize(l.checkpoint)
	if err != nil || old == 0 || size <= old {
		return l, err
	}
	answer, err := control.Call[control.Proof](ctx, ca, nil, "proof", "--from", strconv.FormatInt(old, 10), "--to", strconv.FormatInt(size, 10))
	for _, h := range answer.Hashes {
		if len(h) != 32 {
			return l, errors.New("the CA answered with a proof that is none")
		}
		l.proof = append(l.proof, [32]byte(h))
	}
	return l, err
}

// claimedSize is what a checkpoint says before anybody looked at its signature: only what to ask next depends on it.
func claimedSize(checkpoint []byte) (int64, error) {
	lines := strings.SplitN(string(checkpoint), "\n", 3)
	if len(lines) < 3 {
		return 0, errors.New("the CA answered with a checkpoint that is none")
	}
	return strconv.ParseInt(lines[1], 10, 64)
}

// witnessRun goes on through a CA that cannot be reached, and ends at a log that is not what it was.
func (s settings) witnessRun(ctx context.Context, every time.Duration) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		err := s.witnessOnce(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, auditlog.ErrShrank), errors.Is(err, auditlog.ErrForked):
			return err
		case err != nil:
			fmt.Fprintln(os.Stderr, "postern: "+visible(err.Error()))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// format is the body of an add-checkpoint request of C2SP tlog-witness, so that other witnesses take it too.
func (l look) format() []byte {
	return fmt.Appendf(nil, "old %d\n%s\n%s", l.old, l.proof, l.checkpoint)
}

func parseLook(text []byte) (look, error) {
	head, checkpoint, ok := strings.Cut(string(text), "\n\n")
	first, hashes, _ := strings.Cut(head, "\n")
	number, is := strings.CutPrefix(first, "old ")
	old, err := strconv.ParseInt(number, 10, 64)
	if !ok || !is || err != nil || old < 0 {
		return look{}, errors.New("this is not what postern witness request writes")
	}
	if hashes != "" {
		hashes += "\n"
	}
	proof, err := auditlog.ParseProof(hashes)
	l := look{old, proof, []byte(checkpoint)}
	if err == nil && string(l.format()) != string(text) {
		err = errors.New("this is not as postern witness request writes it")
	}
	return l, err
}

func witnessRequest(c *cli.Context) error {
	ca, err := connect(c)
	if err != nil {
		return err
	}
	defer ca.close()
	l, err := fetchLook(c.Context, ca.Client, c.Int64("old"))
	if err != nil {
		return err
	}
	return writing(c.String("output"), func(w io.Writer) error {
		_, err := w.Write(l.format())
		return err
	})
}

func (s settings) witnessFile(path string) error {
	f := os.Stdin
	if path != "-" {
		var err error
		if f, err = os.Open(path); err != nil {
			return err
		}
		defer f.Close()
	}
	text, err := io.ReadAll(io.LimitReader(f, maxCosigned))
	if err != nil {
		return err
	}
	l, err := parseLook(text)
	if err != nil {
		return err
	}
	cosigned, err := s.witness(func(int64) (look, error) { return l, nil })
	if err == nil {
		_, err = os.Stdout.Write(cosigned)
	}
	return err
}
