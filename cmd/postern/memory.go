package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"postern/ca/auditlog"
	"postern/internal/durable"
)

// memory is what this machine remembers of one log: the last checkpoint that it found consistent with all before, and each that
// it found on the way there. A log that no longer agrees with it lies, now or then, and the two signed checkpoints show it.
type memory struct {
	dir, vkey string
	lock      *os.File
}

// rememberedLogs is a directory of a directory for each log: two CAs may have one name, so the hash of the key is in it.
func rememberedLogs(home, vkey string) string {
	name, rest, _ := strings.Cut(strings.TrimSpace(vkey), "+")
	hash, _, _ := strings.Cut(rest, "+")
	return filepath.Join(home, "log", url.PathEscape(name)+"-"+url.PathEscape(hash))
}

// openMemory waits for others that look at the same log: what one of them finds is what the next begins with.
func openMemory(home, vkey string) (*memory, error) {
	m := &memory{dir: rememberedLogs(home, vkey), vkey: vkey}
	if err := os.MkdirAll(m.dir, 0o700); err != nil {
		return nil, err
	}
	var err error
	if m.lock, err = os.OpenFile(filepath.Join(m.dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(m.lock.Fd()), syscall.LOCK_EX); err != nil {
		m.lock.Close()
		return nil, err
	}
	return m, nil
}

func (m *memory) close() { m.lock.Close() }

func (m *memory) path() string { return filepath.Join(m.dir, "checkpoint") }

// last is the checkpoint seen last; nil: none. One that is damaged is an error, for without it a fork would pass.
func (m *memory) last() ([]byte, auditlog.TreeHead, error) {
	b, err := os.ReadFile(m.path())
	if errors.Is(err, os.ErrNotExist) {
		return nil, auditlog.TreeHead{}, nil
	}
	if err != nil {
		return nil, auditlog.TreeHead{}, err
	}
	tree, err := auditlog.OpenCheckpoint(b, m.vkey)
	if err != nil {
		return nil, tree, fmt.Errorf("%s, which this machine remembers: %w; put it back from a backup, or the line before the last of %s", m.path(), err, m.history())
	}
	return b, tree, nil
}

func (m *memory) history() string { return filepath.Join(m.dir, "history") }

// seen is a line of the history.
type seen struct {
	At         time.Time `json:"at"`
	Checkpoint string    `json:"checkpoint"`
}

// keep remembers a checkpoint that was found consistent with the last.
func (m *memory) keep(checkpoint []byte) error {
	before, older, err := m.last()
	if err != nil {
		return err
	}
	tree, err := auditlog.OpenCheckpoint(checkpoint, m.vkey)
	if err != nil || before != nil && tree == older {
		return err
	}
	line, err := json.Marshal(seen{time.Now().UTC().Truncate(time.Second), string(checkpoint)})
	if err != nil {
		return err
	}
	if err := appendLine(m.history(), line); err != nil {
		return err
	}
	return durable.Replace(m.path(), checkpoint)
}

// conflict saves the two checkpoints that do not go together, and says where. An error that is about something else stays as it is.
func (m *memory) conflict(err error, before, now []byte) error {
	if !errors.Is(err, auditlog.ErrShrank) && !errors.Is(err, auditlog.ErrForked) {
		return err
	}
	path := filepath.Join(m.dir, "conflict-"+time.Now().UTC().Format("20060102T150405Z"))
	text := fmt.Sprintf("%v\n\nBoth of these are signed by the key of the log, %s,\nand no log that is only appended to can have both. Keep this file.\n\n"+
		"Seen before:\n\n%s\nSeen now:\n\n%s", err, strings.TrimSpace(m.vkey), before, now)
	if werr := durable.Replace(path, []byte(text)); werr != nil {
		return errors.Join(err, werr)
	}
	return fmt.Errorf("%w. Both signed checkpoints are in %s: they are the evidence. Stop using this CA until its operator has explained it", err, path)
}

func appendLine(path string, line []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(line, '\n'))
	return errors.Join(err, f.Sync(), f.Close())
}
