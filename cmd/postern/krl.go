package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/crypto/ssh"
	"golang.org/x/term"

	"postern/ca/krl"
	"postern/internal/command"
)

var krlCommand = &cli.Command{
	Name:  "krl",
	Usage: "the key revocation list that OpenSSH hosts read: fetch, look into, ask",
	Flags: []cli.Flag{
		&cli.StringFlag{Name: "file", Usage: "the list in `FILE` (default: the CA's, as it is now)"},
		&cli.StringSliceFlag{Name: "query", Usage: "is `WHAT` revoked: a file with keys or certificates, a fingerprint SHA256:…, or a serial; exit 1 if anything is"},
		&cli.BoolFlag{Name: "text", Usage: "say what is in it (default on a terminal and with --file)"},
		&cli.BoolFlag{Name: "list", Usage: "and name everything that is revoked"},
		jsonFlag,
		&cli.StringFlag{Name: "o", Usage: "write the list to `FILE` (default: standard output)"},
	},
	Action: func(c *cli.Context) error {
		if err := command.FlagsOnly(c); err != nil {
			return err
		}
		file, err := krlBytes(c)
		if err != nil {
			return err
		}
		switch {
		case c.IsSet("query"):
			return queryKRL(c, file)
		case c.String("o") != "":
			return saveKRL(filepath.Clean(c.String("o")), file)
		case c.Bool("text"), c.Bool("list"), c.Bool("json"), c.IsSet("file"), term.IsTerminal(int(os.Stdout.Fd())):
			return showKRL(c, file)
		}
		_, err = os.Stdout.Write(file)
		return err
	},
}

func krlBytes(c *cli.Context) ([]byte, error) {
	if path := c.String("file"); path != "" {
		return os.ReadFile(path)
	}
	return fetchKRL(c.Context, c)
}

func fetchKRL(ctx context.Context, c *cli.Context) ([]byte, error) {
	ca, err := connect(c)
	if err != nil {
		return nil, err
	}
	defer ca.close()
	return ca.Run(ctx, nil, "krl")
}

func saveKRL(path string, file []byte) error {
	if err := writeFile(path, file); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "%s: %d bytes; postern krl --file %s shows it\n", path, len(file), path)
	return nil
}

// parseKRL says of a damaged list what to do with it: to sshd it may be a shorter list that revokes less, or one that locks everybody out.
func parseKRL(file []byte) (*krl.List, error) {
	list, err := krl.Parse(file)
	if err != nil {
		return nil, fmt.Errorf("%w: the list is cut or malformed; fetch it anew, and give it to no sshd", err)
	}
	return list, nil
}

// krlShown is a list with --json.
type krlShown struct {
	CA          string      `json:"ca"` // what the comment says
	Version     uint64      `json:"version"`
	Made        time.Time   `json:"made"`
	Bytes       int         `json:"bytes"`
	Whole       bool        `json:"whole"` // it tells its own size, so a cut cannot go unnoticed
	Authorities []krl.Shape `json:"authorities"`
	Keys        int         `json:"keys"`
	KeyHashes   int         `json:"key_hashes"`
}

func showKRL(c *cli.Context, file []byte) error {
	list, err := parseKRL(file)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		shown := krlShown{CA: list.Comment, Version: list.Version, Made: list.Generated, Bytes: len(file), Whole: list.Whole(), Authorities: list.Shapes()}
		shown.Keys, shown.KeyHashes = list.Keys()
		return jsonLines([]krlShown{shown})
	}
	fmt.Print(describeKRL(list, len(file), time.Now()))
	if c.Bool("list") {
		fmt.Printf("\n%s", list)
	}
	return nil
}

func describeKRL(list *krl.List, size int, now time.Time) string {
	var b strings.Builder
	fmt.Fprintf(&b, "ca       %s\nversion  %d\n", word(list.Comment), list.Version)
	if list.Generated.IsZero() || list.Generated.Unix() == 0 {
		b.WriteString("made     it does not say\n")
	} else {
		fmt.Fprintf(&b, "made     %s (%s ago)\n", list.Generated.UTC().Format(time.RFC3339), now.Sub(list.Generated).Round(time.Second))
	}
	told := "whole: it tells its own size"
	if !list.Whole() {
		told = "it does not tell its own size, so nobody can say whether its end is missing"
	}
	fmt.Fprintf(&b, "bytes    %d, %s\n", size, told)
	keys, hashed := list.Keys()
	fmt.Fprintf(&b, "keys     %d, and %d by hash\n", keys, hashed)
	for _, s := range list.Shapes() {
		ca := s.CA
		if ca == "" {
			ca = "any CA"
		}
		fmt.Fprintf(&b, "serials  %d of %s: %s, %s, %s\n", s.Serials, ca, counted(s.Ranges, "range"), counted(s.Bitmaps, "bitmap"), counted(s.Lists, "list"))
		if s.KeyIDs > 0 {
			fmt.Fprintf(&b, "key IDs  %d of %s\n", s.KeyIDs, ca)
		}
	}
	if list.Empty() {
		b.WriteString("nothing is revoked\n")
	}
	return b.String()
}

func counted(s krl.Section, kind string) string {
	if s.Sections != 1 {
		kind += "s"
	}
	return fmt.Sprintf("%d in %d %s", s.Serials, s.Sections, kind)
}

// krlAnswer is one answer with --json.
type krlAnswer struct {
	What    string `json:"what"`
	Revoked bool   `json:"revoked"`
	Because string `json:"because,omitempty"`
}

func queryKRL(c *cli.Context, file []byte) error {
	list, err := parseKRL(file)
	if err != nil {
		return err
	}
	var answers []krlAnswer
	for _, what := range c.StringSlice("query") {
		found, err := askKRL(list, what)
		if err != nil {
			return err
		}
		answers = append(answers, found...)
	}
	revoked := 0
	for _, a := range answers {
		if a.Revoked {
			revoked++
		}
	}
	if c.Bool("json") {
		err = jsonLines(answers)
	} else {
		printAnswers(answers)
	}
	if err == nil && revoked > 0 {
		err = fmt.Errorf("%d of %d asked for: revoked", revoked, len(answers))
	}
	return err
}

func printAnswers(answers []krlAnswer) {
	for _, a := range answers {
		if a.Revoked {
			fmt.Printf("%s: %s (%s)\n", word(a.What), colour(red, "REVOKED"), a.Because)
		} else {
			fmt.Printf("%s: ok\n", word(a.What))
		}
	}
}

func askKRL(list *krl.List, what string) ([]krlAnswer, error) {
	number := strings.TrimPrefix(what, "serial:") // as postern revoke takes it
	if serial, err := strconv.ParseUint(number, 10, 64); err == nil {
		a := krlAnswer{What: "serial " + number}
		if cas := list.SerialRevoked(serial); len(cas) > 0 {
			a.Revoked, a.Because = true, "of "+strings.Join(cas, ", ")
			if cas[0] == "" {
				a.Because = "of any CA"
			}
		}
		return []krlAnswer{a}, nil
	}
	if strings.HasPrefix(what, "SHA256:") {
		revoked, ok := list.FingerprintRevoked(what)
		if !ok {
			return nil, command.Misuse("--query %s: that is no fingerprint as ssh-keygen -l prints it", what)
		}
		a := krlAnswer{What: what, Revoked: revoked}
		if revoked {
			a.Because = "the key"
		}
		return []krlAnswer{a}, nil
	}
	return askFile(list, what)
}

// askFile asks about each line. What cannot be read as a key is an error: it must not pass for one that is not revoked.
func askFile(list *krl.List, path string) (answers []krlAnswer, err error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, command.Misuse("--query %s: that is no serial, no fingerprint SHA256:… and no file", path)
	}
	if err != nil {
		return nil, err
	}
	for n, line := range bytes.Split(text, []byte("\n")) {
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		key, comment, _, _, err := ssh.ParseAuthorizedKey(line)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: no public key or certificate: %w", path, n+1, err)
		}
		a := krlAnswer{What: path, Because: list.Because(key)}
		if comment != "" {
			a.What += " (" + comment + ")"
		}
		a.Revoked = a.Because != ""
		answers = append(answers, a)
	}
	if len(answers) == 0 {
		return nil, errors.New(path + ": no public key or certificate in it")
	}
	return answers, nil
}
