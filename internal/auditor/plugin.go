package auditor

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"unicode"

	"filippo.io/age"
	"filippo.io/age/plugin"

	"postern/internal/control"
)

// Prompts is how who opens or seals a box is asked and told: for a passphrase, a PIN, a touch of a token.
type Prompts struct {
	Ask  func(prompt string) ([]byte, error) // nil: nobody is there to answer
	Tell func(text string)                   // nil: nobody is there to read
}

var errNobody = errors.New("nobody is there to answer")

// ui lets a plugin talk to a person. What it says is text of a program that is not ours.
func (p Prompts) ui() *plugin.ClientUI {
	tell := func(format string, args ...any) {
		if p.Tell != nil {
			p.Tell(printable(fmt.Sprintf(format, args...)))
		}
	}
	ask := func(format string, args ...any) (string, error) {
		if p.Ask == nil {
			return "", errNobody
		}
		answer, err := p.Ask(printable(fmt.Sprintf(format, args...)) + " ")
		return strings.TrimRight(string(answer), "\r\n"), err
	}
	return &plugin.ClientUI{
		DisplayMessage: func(name, message string) error { tell("age-plugin-%s: %s", name, message); return nil },
		RequestValue: func(name, message string, _ bool) (string, error) {
			return ask("age-plugin-%s: %s", name, message)
		},
		Confirm: func(name, message, yes, no string) (bool, error) {
			if no == "" {
				_, err := ask("age-plugin-%s: %s (Enter: %s)", name, message, yes)
				return err == nil, err
			}
			answer, err := ask("age-plugin-%s: %s (1: %s, 2: %s)", name, message, yes, no)
			return answer == "1", err
		},
		WaitTimer: func(name string) { tell("waiting for age-plugin-%s; it may want a touch", name) },
	}
}

func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, text)
}

// missing names the program that is not there.
func missing(err error) error {
	var gone *plugin.NotFoundError
	if errors.As(err, &gone) {
		return fmt.Errorf("the program age-plugin-%s is not on the PATH; install it where this runs", gone.Name)
	}
	return err
}

// isPlugin says whether a recipient is one of a plugin, age1NAME1….
func isPlugin(public string) bool {
	name, _, err := plugin.ParseRecipient(public)
	return err == nil && name != "pq" && name != "tag" && name != "tagpq"
}

// parse makes a recipient to seal to.
func (p Prompts) parse(r control.Recipient) (age.Recipient, error) {
	if isPlugin(r.Public) {
		return plugin.NewRecipient(r.Public, p.ui())
	}
	to, err := age.ParseHybridRecipient(r.Public)
	if err != nil {
		return nil, fmt.Errorf("recipient %s is none that a box can be sealed to: %w", r.Label(), err)
	}
	return to, nil
}

// identities are all that a file has, as one: the secret ones first, for they ask nobody.
type identities []age.Identity

func (list identities) Unwrap(stanzas []*age.Stanza) ([]byte, error) {
	for _, identity := range list {
		key, err := identity.Unwrap(stanzas)
		if !errors.Is(err, age.ErrIncorrectIdentity) {
			return key, missing(err)
		}
	}
	return nil, age.ErrIncorrectIdentity
}

// wantsHands says whether a person has to be there.
func (list identities) wantsHands() bool {
	for _, identity := range list {
		if _, ok := identity.(*plugin.Identity); ok {
			return true
		}
	}
	return false
}

// parseIdentities reads lines of AGE-SECRET-KEY-PQ-1… and of AGE-PLUGIN-NAME-1….
func (p Prompts) parseIdentities(text string) (identities, error) {
	var secret, plugged identities
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#':
		case strings.HasPrefix(line, "AGE-PLUGIN-"):
			identity, err := plugin.NewIdentity(line, p.ui())
			if err != nil {
				return nil, err
			}
			plugged = append(plugged, identity)
		default:
			list, err := age.ParseIdentities(strings.NewReader(line))
			if err != nil {
				return nil, err
			}
			secret = append(secret, list...)
		}
	}
	all := append(secret, plugged...)
	if len(all) == 0 {
		return nil, errors.New("there is no identity in it")
	}
	return all, nil
}

// Adopt makes an identity of a plugin the one in dir. text is what the plugin's own program wrote, and recipient what it is sealed to; empty:
// as a comment in text says. Where text is empty it is an identity of the plugin that is named, of the kind that has no data.
func Adopt(dir, text, name, recipient string) (string, error) {
	if text == "" {
		if text = plugin.EncodeIdentity(name, nil); text == "" {
			return "", fmt.Errorf("%q is not the name of an age plugin", name)
		}
	}
	list, err := Prompts{}.parseIdentities(text)
	if err != nil {
		return "", err
	}
	if recipient == "" {
		recipient = commented(text)
	}
	if !isPlugin(recipient) {
		if _, err := age.ParseHybridRecipient(recipient); err != nil {
			return "", errors.New("what is it sealed to? name that with --recipient age1NAME1…")
		}
	}
	if !list.wantsHands() {
		return "", errors.New("the identity is a secret in a file and none of a plugin; make one with: postern auditor init")
	}
	if !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	return recipient, keep(dir, []byte(text), recipient)
}

// commented finds the recipient that a plugin's program wrote beside the identity.
func commented(text string) string {
	for line := range strings.Lines(text) {
		comment, ok := strings.CutPrefix(strings.TrimSpace(line), "#")
		_, value, named := strings.Cut(comment, ":")
		if value = strings.TrimSpace(value); ok && named && strings.HasPrefix(value, "age1") {
			return value
		}
	}
	return ""
}

// ReadIdentity reads the identity in a file that is not in POSTERN_HOME: a recovery identity, from where it is kept.
func ReadIdentity(path string, p Prompts) (Identity, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return p.open(path, data)
}
