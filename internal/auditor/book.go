package auditor

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"postern/internal/control"
	"postern/internal/durable"
)

// bookName is the file of recipients that this machine has accepted.
const bookName = "recipients"

// Book is whom keys may be sealed to, as this machine knows. The CA keeps the same list, signed by auditors; but a CA in the wrong hands could
// add one that its thief signed, or leave out the recovery recipient, and nobody would see it in a list of names. So what is new, and what is
// gone, is shown to the auditor once, and what they accepted is remembered here.
type Book struct {
	path     string
	accepted []control.Custody // enrolments, oldest first
}

// OpenBook reads the book in dir; there may be none yet.
func OpenBook(dir string) (*Book, error) {
	b := &Book{path: filepath.Join(dir, bookName)}
	data, err := os.ReadFile(b.path)
	if errors.Is(err, fs.ErrNotExist) {
		return b, nil
	}
	if err != nil {
		return nil, err
	}
	for line := range bytes.Lines(data) {
		var c control.Custody
		if err := json.Unmarshal(line, &c); err != nil {
			return nil, fmt.Errorf("%s: %w", b.path, err)
		}
		if err := enrolment(c); err != nil {
			return nil, fmt.Errorf("%s: %w", b.path, err)
		}
		b.accepted = append(b.accepted, c)
	}
	return b, nil
}

func enrolment(c control.Custody) error {
	if _, err := c.Verify(); err != nil {
		return err
	}
	if c.Act != control.Enrol {
		return fmt.Errorf("%s is not an enrolment", c.ID)
	}
	return nil
}

// Compare holds the CA's list against the book: what is new there, and what it does not have any more.
func (b *Book) Compare(list []control.Custody) (fresh, gone []control.Custody, err error) {
	for _, c := range list {
		if err := enrolment(c); err != nil {
			return nil, nil, fmt.Errorf("the CA's list of recipients: %w", err)
		}
		if !has(b.accepted, c) {
			fresh = append(fresh, c)
		}
	}
	for _, c := range b.accepted {
		if !has(list, c) {
			gone = append(gone, c)
		}
	}
	return fresh, gone, nil
}

func has(list []control.Custody, c control.Custody) bool {
	return slices.ContainsFunc(list, func(o control.Custody) bool { return o.ID == c.ID })
}

// Accept takes an enrolment in.
func (b *Book) Accept(c control.Custody) error {
	return b.write(append(slices.Clone(b.accepted), c))
}

// Forget takes a recipient out.
func (b *Book) Forget(r control.Recipient) error {
	return b.write(slices.DeleteFunc(slices.Clone(b.accepted), func(o control.Custody) bool { return o.Recipient.ID == r.ID }))
}

func (b *Book) write(list []control.Custody) error {
	var text bytes.Buffer
	for _, c := range list {
		line, err := json.Marshal(c)
		if err != nil {
			return err
		}
		text.Write(append(line, '\n'))
	}
	if err := durable.Replace(b.path, text.Bytes()); err != nil {
		return err
	}
	b.accepted = list
	return nil
}

// Recipients lists all that are accepted.
func (b *Book) Recipients() (list []control.Recipient) {
	for _, c := range b.accepted {
		list = append(list, *c.Recipient)
	}
	return list
}

// Recovery lists those that every key is sealed to.
func (b *Book) Recovery() []control.Recipient {
	return slices.DeleteFunc(b.Recipients(), func(r control.Recipient) bool { return !r.Recovery })
}

// Find reads words that name recipients: by a name or an ID of the book, "all" for every auditor in it, or as [Recipients] does.
func (b *Book) Find(words []string, plugins bool) ([]control.Recipient, error) {
	var all []control.Recipient
	for _, word := range words {
		found := slices.DeleteFunc(b.Recipients(), func(r control.Recipient) bool {
			return r.Name != word && r.ID != word && !(word == "all" && !r.Recovery)
		})
		if len(found) == 0 {
			var err error
			if found, err = Recipients([]string{word}, plugins); err != nil {
				return nil, err
			}
		}
		all = With(all, b.Names(found)...)
	}
	return all, nil
}

// Names gives recipients the names that they have in the book, and no others.
func (b *Book) Names(list []control.Recipient) []control.Recipient {
	list = slices.Clone(list)
	for i, r := range list {
		for _, known := range b.Recipients() {
			if known.ID == r.ID {
				list[i] = known
			}
		}
	}
	return list
}
