// Command age-plugin-lamp is an age plugin for tests: a token that wants a PIN and a touch, whose secret is in a file. Its recipients are classic.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"

	"filippo.io/age"
	"filippo.io/age/plugin"
)

// lamp is the token.
type lamp struct {
	p        *plugin.Plugin
	identity *age.X25519Identity
}

func (l *lamp) Unwrap(stanzas []*age.Stanza) ([]byte, error) {
	var mine []*age.Stanza
	for _, s := range stanzas {
		if s.Type == "lamp" {
			mine = append(mine, &age.Stanza{Type: "X25519", Args: s.Args, Body: s.Body})
		}
	}
	if len(mine) == 0 {
		return nil, age.ErrIncorrectIdentity
	}
	pin, err := l.p.RequestValue("PIN of the lamp:", true)
	if err != nil {
		return nil, err
	}
	if pin != "1234" {
		return nil, errors.New("wrong PIN")
	}
	if err := l.p.DisplayMessage("touch the lamp\x1b[2J now"); err != nil {
		return nil, err
	}
	return l.identity.Unwrap(mine)
}

type socket struct{ to *age.X25519Recipient }

func (s socket) Wrap(key []byte) ([]*age.Stanza, error) {
	stanzas, err := s.to.Wrap(key)
	for _, stanza := range stanzas {
		stanza.Type = "lamp"
	}
	return stanzas, err
}

func main() {
	p, err := plugin.New("lamp")
	if err != nil {
		panic(err)
	}
	p.RegisterFlags(nil)
	generate := flag.Bool("generate", false, "make a token")
	flag.Parse()
	if *generate {
		create()
		return
	}
	p.HandleRecipient(func(data []byte) (age.Recipient, error) {
		to, err := age.ParseX25519Recipient(string(data))
		return socket{to}, err
	})
	p.HandleIdentity(func(data []byte) (age.Identity, error) {
		identity, err := age.ParseX25519Identity(string(data))
		return &lamp{p, identity}, err
	})
	os.Exit(p.Main())
}

func create() {
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		panic(err)
	}
	fmt.Printf("# recipient: %s\n%s\n", plugin.EncodeRecipient("lamp", []byte(identity.Recipient().String())), plugin.EncodeIdentity("lamp", []byte(identity.String())))
}
