package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/crypto/ssh"

	"postern/internal/auditor"
	"postern/internal/control"
)

var (
	dryRunFlag  = &cli.BoolFlag{Name: "dry-run", Usage: "say what would happen, and change nothing"}
	acceptFlag  = &cli.StringSliceFlag{Name: "accept", Usage: "believe that the recipient with this `A-…` is whom the CA says, or that it is retired; asked for on a terminal"}
	pluginsFlag = &cli.BoolFlag{Name: "plugins", Usage: "take recipients of age plugins (age1NAME1…), whose strength against quantum computers nobody here can tell"}
)

// signing is who decides, and with what.
type signing struct {
	*client
	me     control.Identity
	signer ssh.Signer
}

func (c *client) signing(cc *cli.Context) (*signing, error) {
	me, err := control.Call[control.Identity](cc.Context, c.Client, nil, "whoami")
	if err != nil {
		return nil, err
	}
	signer, err := c.keys.named(me.Key)
	return &signing{c, me, signer}, err
}

// decide signs a decision and hands it to the CA. A dry run is not signed, so it asks for no touch.
func (s *signing) decide(cc *cli.Context, d control.Custody) (out control.Decided, err error) {
	d.Auditor = s.me.Name
	words := []string{"custody"}
	if cc.Bool("dry-run") {
		words = append(words, "--dry-run")
	} else if d, err = d.Sign(s.me.Name, s.signer); err != nil {
		return out, err
	}
	upload, err := json.Marshal(d)
	if err != nil {
		return out, err
	}
	printed, err := s.Run(cc.Context, bytes.NewReader(upload), append(words, "--json")...)
	if err == nil {
		err = json.Unmarshal(printed, &out)
	}
	return out, err
}

// book is whom keys may be sealed to. What the CA added or took away since this machine last looked is shown, for that is how a CA in the
// wrong hands would get itself among those who can read, and everybody else's recovery out.
func (s *signing) book(cc *cli.Context) (*auditor.Book, error) {
	b, err := auditor.OpenBook(s.settings.Home)
	if err != nil {
		return nil, err
	}
	list, err := control.List[control.Custody](cc.Context, s.Client, "book")
	if err != nil {
		return nil, err
	}
	fresh, gone, err := b.Compare(list)
	if err != nil {
		return nil, err
	}
	for _, c := range gone {
		question := fmt.Sprintf("The CA does not have %s (%s) among the recipients any more. Leave it out from now on?", c.Recipient.Label(), c.Recipient.ID)
		if err := s.believe(cc, c, question); err != nil {
			return nil, err
		}
		if err := b.Forget(*c.Recipient); err != nil {
			return nil, err
		}
	}
	for _, c := range fresh {
		question := fmt.Sprintf("%s enrolled %s (%s) on %s: %q. Seal keys to it?", c.Auditor, c.Recipient.Label(), c.Recipient.ID, c.At.Format(time.DateOnly), c.Reason)
		if err := s.believe(cc, c, question); err != nil {
			return nil, err
		}
		if err := b.Accept(c); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// remember keeps what this auditor enrolled and retired on this machine, so that they are not asked about it.
func (s *signing) remember(c control.Custody) error {
	if c.Recipient == nil {
		return nil
	}
	b, err := auditor.OpenBook(s.settings.Home)
	if err != nil {
		return err
	}
	if c.Act == control.Enrol {
		return b.Accept(c)
	}
	return b.Forget(*c.Recipient)
}

func (s *signing) believe(cc *cli.Context, c control.Custody, question string) error {
	key, err := c.Verify()
	if err != nil {
		return err
	}
	mine := bytes.Equal(key.Marshal(), s.signer.PublicKey().Marshal())
	if mine && !strings.Contains(question, "any more") || slices.Contains(cc.StringSlice("accept"), c.Recipient.ID) {
		return nil
	}
	yes, err := confirm(visible(fmt.Sprintf("%s (signed with %s)", question, ssh.FingerprintSHA256(key))))
	if errors.Is(err, errNoTerminal) {
		return fmt.Errorf("%s Ask %s, and if it is so, give --accept %s", question, c.Auditor, c.Recipient.ID)
	}
	if err == nil && !yes {
		err = fmt.Errorf("%s (%s) was not accepted; if the CA is not lying, that auditor can say so", c.Recipient.Label(), c.Recipient.ID)
	}
	return err
}

// mine is this auditor's own recipient, by the name that the book has for it.
func (s *signing) mine(b *auditor.Book) (control.Recipient, error) {
	public, err := auditor.Recipient(s.settings.Home)
	if err != nil {
		return control.Recipient{}, err
	}
	r := b.Names([]control.Recipient{{ID: control.RecipientID(public), Public: public}})[0]
	if r.Name == "" {
		r.Name = s.me.Name
	}
	return r, nil
}

func (s *signing) prompts() auditor.Prompts {
	return auditor.Prompts{Ask: askSecret, Tell: func(text string) { fmt.Fprintln(os.Stderr, word(text)) }}
}

func labels(list []control.Recipient) string {
	var names []string
	for _, r := range list {
		names = append(names, r.Label())
	}
	if len(names) == 0 {
		return "-"
	}
	return strings.Join(names, ", ")
}
