package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"postern/internal/control"
	"postern/policy"
)

// terms are what a request means for who uses it and for who approves it, a line each: where its forwards lead, what is kept
// of its sessions, and what they may not do too much of.
func terms(r control.Request) []string {
	var lines []string
	if len(r.Destinations) > 0 {
		lines = append(lines, "forwards may lead to "+strings.Join(r.Destinations, ", "))
	}
	if r.Record != nil {
		lines = append(lines, "recorded: "+strings.Join(kept(*r.Record, r.Capabilities), ", "))
	}
	if r.Emergency && r.Owes != nil {
		lines = append(lines, "an emergency: "+r.Owes.String())
	}
	if r.Sheet != nil {
		lines = append(lines, "a sealed grant: "+r.Sheet.String())
	}
	if r.Limits != "" {
		lines = append(lines, "limits: "+r.Limits)
	}
	return lines
}

func printTerms(w io.Writer, r control.Request) {
	for _, line := range terms(r) {
		fmt.Fprintln(w, word(line))
	}
}

// kept names what is recorded, of what can pass with these capabilities.
func kept(r control.Record, capabilities []string) []string {
	may := func(any ...string) bool {
		return slices.ContainsFunc(any, func(c string) bool { return slices.Contains(capabilities, c) })
	}
	words := []string{"what is printed"}
	if r.Keystrokes {
		words = append(words, "what is typed, passwords too")
	}
	if may("exec") {
		words = append(words, upTo(r.Streams, "what goes into and comes out of commands"))
	}
	if may("sftp-read", "sftp-write", "scp-read", "scp-write", "exec") {
		words = append(words, files(r.Files))
	}
	if may("forward-local", "forward-remote", "x11") {
		words = append(words, upTo(r.Forwards, "what goes through forwards"))
	}
	if r.RetainDays > 0 {
		words = append(words, fmt.Sprintf("for %d days", r.RetainDays))
	}
	return words
}

func upTo(size int64, what string) string {
	switch {
	case size < 0:
		return "all of " + what
	case size == 0:
		return "a checksum of " + what
	}
	return what + " (at most " + policy.Size(size) + " each)"
}

func files(keep string) string {
	switch keep {
	case policy.FilesFull:
		return "all of every file"
	case policy.FilesHash:
		return "a checksum of every file"
	}
	return "the beginning of every file"
}
