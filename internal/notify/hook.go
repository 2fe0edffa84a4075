package notify

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Hook is one place that is told.
type Hook struct {
	Name    string   `json:"name"`              // a-z 0-9 -; what was told is remembered under it
	URL     string   `json:"url,omitempty"`     // a webhook: https, or http on loopback
	Command []string `json:"command,omitempty"` // or a program, which reads the message on its standard input
	Events  []string `json:"events,omitempty"`  // as in [Events], or a part of one up to a dot; empty: all
	Form    string   `json:"form,omitempty"`    // json; or slack, for whoever takes what Slack takes. Empty: json
	Secret  string   `json:"secret,omitempty"`  // file with the key of the signature; relative to the file of the hooks

	key []byte
}

// The forms of a message.
const (
	formJSON  = "json"
	formSlack = "slack"
)

const leastSecret = 16 // bytes

var hookName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,39}$`)

// Load reads a file of hooks: {"hooks": [ … ]}. An error names the hook and what is wrong with it.
func Load(path string) ([]Hook, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var file struct {
		Hooks []Hook `json:"hooks"`
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&file); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if d.More() {
		return nil, fmt.Errorf("%s: something follows the hooks", path)
	}
	names := map[string]bool{}
	for i := range file.Hooks {
		h := &file.Hooks[i]
		if err := h.complete(filepath.Dir(path)); err != nil {
			return nil, fmt.Errorf("%s: hook %d %q: %w", path, i+1, h.Name, err)
		}
		if names[h.Name] {
			return nil, fmt.Errorf("%s: two hooks are called %q", path, h.Name)
		}
		names[h.Name] = true
	}
	return file.Hooks, nil
}

func (h *Hook) complete(dir string) error {
	if h.Form == "" {
		h.Form = formJSON
	}
	switch {
	case !hookName.MatchString(h.Name):
		return errors.New("its name has 1 to 40 of a-z, 0-9 and -")
	case (h.URL == "") == (len(h.Command) == 0):
		return errors.New("it has either a url or a command")
	case h.Form != formJSON && h.Form != formSlack:
		return fmt.Errorf("form %q is unknown (forms are: json, slack)", h.Form)
	case len(h.Command) > 0 && (h.Form != formJSON || h.Secret != ""):
		return errors.New("a command reads the json form, and needs no secret")
	}
	for _, e := range h.Events {
		if !slices.ContainsFunc(Events, func(known string) bool { return covers(e, known) }) {
			return fmt.Errorf("there is no event %q (events are: %s)", e, strings.Join(Events, ", "))
		}
	}
	if h.URL == "" {
		return nil
	}
	if err := checkURL(h.URL); err != nil {
		return err
	}
	return h.readSecret(dir)
}

// checkURL lets nothing leave this machine unencrypted: a message says who reaches what.
func checkURL(text string) error {
	u, err := url.Parse(text)
	if err != nil {
		return errors.New("its url cannot be read") // it may hold a token
	}
	host := net.ParseIP(u.Hostname())
	local := u.Hostname() == "localhost" || host != nil && host.IsLoopback()
	if u.Host == "" || u.Scheme != "https" && (u.Scheme != "http" || !local) {
		return errors.New("its url is https://…, or http:// on this machine")
	}
	return nil
}

func (h *Hook) readSecret(dir string) error {
	if h.Secret == "" {
		if h.Form == formSlack {
			return nil // its url is the secret
		}
		return errors.New("it needs a secret: name a file with at least 16 bytes that the receiver has too")
	}
	path := h.Secret
	if !filepath.IsAbs(path) {
		path = filepath.Join(dir, path)
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("%s can be read by others; chmod 600 it", path)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if h.key = bytes.TrimSpace(data); len(h.key) < leastSecret {
		return fmt.Errorf("%s holds %d bytes; a secret has at least %d", path, len(h.key), leastSecret)
	}
	return nil
}

// covers says whether a word of a hook's events means that event: itself, or the part before a dot.
func covers(word, event string) bool {
	return word == event || strings.HasPrefix(event, word+".")
}

func (h *Hook) wants(event string) bool {
	return len(h.Events) == 0 || slices.ContainsFunc(h.Events, func(w string) bool { return covers(w, event) })
}
