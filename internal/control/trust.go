package control

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Save writes the directory that --trust names. It replaces nothing that differs: whom we trust changes by a
// person's decision, not because a server said so.
func (t Trust) Save(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, f := range []struct{ name, text string }{
		{"known_hosts", strings.Join(t.KnownHosts, "\n")},
		{"user_ca.pub", t.UserCA}, {"session_ca.pub", t.SessionCA}, {"host_ca.pub", t.HostCA}, {"gateway_ca.pub", t.GatewayCA},
		{"log.vkey", t.Log},
	} {
		if err := keep(filepath.Join(dir, f.name), strings.TrimSpace(f.text)+"\n"); err != nil {
			return err
		}
	}
	return nil
}

// NameIn is the name of the CA that a trust directory is about, which `postern-ca init --name` gave it: that of its log. Without a log.vkey it is [DefaultName].
func NameIn(dir string) string {
	vkey, err := os.ReadFile(filepath.Join(dir, "log.vkey"))
	if name, _, found := strings.Cut(string(vkey), "+"); err == nil && found && name != "" {
		return name
	}
	return DefaultName
}

// keep writes a file that is not there, and refuses one that says something else.
func keep(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if os.IsExist(err) {
		old, err := os.ReadFile(path)
		if err == nil && string(old) != text {
			err = fmt.Errorf("%s differs from what the CA says; if its key was changed on purpose, remove the file first", path)
		}
		return err
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		return err
	}
	return f.Sync()
}
