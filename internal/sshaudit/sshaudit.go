// Package sshaudit has ssh-audit judge a server, for tests. Start with [Run].
//
// How it is judged: an algorithm that ssh-audit fails is a failure, and so is a run that saw no algorithms. An algorithm that it does
// not know is none: 2.5.0, which Debian 12 has, is older than mlkem768x25519-sha256 and than strict key exchange. The tests of
// internal/algo hold the list of everything that may be offered, so that an unknown name cannot hide a bad one.
package sshaudit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strings"
)

// Report is what ssh-audit saw and made of it.
type Report struct {
	KeyExchanges, HostKeys, Ciphers, MACs []string

	Failures []string // one line each
	Warnings []string
}

// Exit statuses of ssh-audit.
const (
	good    = 0
	warning = 2
	failure = 3
)

// Run audits the server at address. An error means that there was no audit, not that it was bad.
func Run(ctx context.Context, address string) (Report, error) {
	path, err := exec.LookPath("ssh-audit")
	if err != nil {
		return Report{}, errors.New("ssh-audit is missing; install it with: apt-get install ssh-audit")
	}
	listed, _, err := run(ctx, path, "--json", address)
	if err != nil {
		return Report{}, err
	}
	var r Report
	if err := r.read(listed); err != nil {
		return Report{}, fmt.Errorf("ssh-audit --json: %w", err)
	}
	text, status, err := run(ctx, path, "--no-colors", address)
	if err != nil {
		return Report{}, err
	}
	r.judge(text)
	if (status == failure) != (len(r.Failures) > 0) {
		return Report{}, fmt.Errorf("ssh-audit ends with %d, and its text has %d failures: %s", status, len(r.Failures), text)
	}
	return r, nil
}

func run(ctx context.Context, path, option, address string) ([]byte, int, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, 0, err
	}
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, path, option, "--port="+port, host)
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return nil, 0, fmt.Errorf("ssh-audit: %w", err)
	}
	switch status := cmd.ProcessState.ExitCode(); status {
	case good, warning, failure:
		return out.Bytes(), status, nil
	default:
		return nil, 0, fmt.Errorf("ssh-audit ends with %d: %s%s", status, &out, &errs)
	}
}

func (r *Report) read(listed []byte) error {
	type named struct{ Algorithm string }
	var j struct {
		KEX, Key []named
		Enc, MAC []json.RawMessage
	}
	if err := json.Unmarshal(listed, &j); err != nil {
		return err
	}
	names := func(list []named) (out []string) {
		for _, n := range list {
			out = append(out, n.Algorithm)
		}
		return out
	}
	r.KeyExchanges, r.HostKeys = names(j.KEX), names(j.Key)
	var err error
	if r.Ciphers, err = either(j.Enc); err != nil {
		return err
	}
	if r.MACs, err = either(j.MAC); err != nil {
		return err
	}
	if len(r.KeyExchanges) == 0 || len(r.HostKeys) == 0 || len(r.Ciphers) == 0 || len(r.MACs) == 0 {
		return errors.New("it saw no algorithms")
	}
	return nil
}

// either reads names as 2.5.0 writes them, or objects as later versions do.
func either(list []json.RawMessage) (names []string, err error) {
	for _, raw := range list {
		var n struct{ Algorithm string }
		if json.Unmarshal(raw, &n.Algorithm) != nil {
			if err := json.Unmarshal(raw, &n); err != nil {
				return nil, err
			}
		}
		names = append(names, n.Algorithm)
	}
	return names, nil
}

func (r *Report) judge(text []byte) {
	subject := ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if name, _, ok := strings.Cut(line, " -- "); ok && strings.HasPrefix(line, "(") {
			subject = strings.TrimSpace(name) + ": "
		}
		switch {
		case strings.Contains(line, "[fail]"):
			r.Failures = append(r.Failures, subject+after(line, "[fail]"))
		case strings.Contains(line, "[warn]") && !strings.Contains(line, "unknown algorithm"):
			r.Warnings = append(r.Warnings, subject+after(line, "[warn]"))
		}
	}
}

func after(line, mark string) string {
	_, rest, _ := strings.Cut(line, mark)
	return strings.TrimSpace(rest)
}
