package server

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"unicode"

	"golang.org/x/crypto/ssh"

	"postern/ca"
	"postern/internal/control"
)

const maxInput = 1 << 20

// command is one operation. Arguments are counted before run is called.
type command struct {
	usage       string
	least, most int
	options     []string
	run         func(context.Context, *call) error
}

// commands is every operation of the control plane. It is filled by init so that help may print it.
var commands map[string]*command

func init() {
	commands = map[string]*command{
		"help":   {"help", 0, 9, nil, help},
		"whoami": {"whoami", 0, 0, nil, whoami},

		"request":     {"request ACCOUNT@HOST… --reason TEXT [--for 20m] [--only CAPABILITY,…] [--rule ID] [--emergency]", 1, 99, []string{"reason", "for", "only", "rule", "emergency"}, ask},
		"requests":    {"requests [--all] [--follow]", 0, 0, []string{"all", "follow"}, requests},
		"show":        {"show ID|TARGET… [--statement] [--decision approve|deny|withdraw|revoke|review|clear] [--verdict justified|misused] [--reason TEXT] [--for 2h]", 1, 9, []string{"statement", "decision", "verdict", "reason", "for"}, show},
		"approve":     {"approve ID <SIGNATURE", 1, 1, nil, decision("approve")},
		"deny":        {"deny ID --reason TEXT <SIGNATURE", 1, 1, []string{"reason"}, decision("deny")},
		"withdraw":    {"withdraw ID [--reason TEXT] <SIGNATURE", 1, 1, []string{"reason"}, decision("withdraw")},
		"review":      {"review ID --verdict justified|misused --reason TEXT <SIGNATURE", 1, 1, []string{"verdict", "reason"}, decision("review")},
		"clear":       {"clear ID --reason TEXT <SIGNATURE", 1, 1, []string{"reason"}, decision("clear")},
		"reviews":     {"reviews", 0, 0, nil, reviews},
		"extend":      {"extend ID --for 15m --reason TEXT", 1, 1, []string{"for", "reason"}, extend},
		"prepare":     {"prepare ACCOUNT@HOST --bastion NAME --holders NAME|FINGERPRINT,… --reason TEXT [--for 15m] [--valid 720h] [--only CAPABILITY,…] [--rule ID]", 1, 1, []string{"bastion", "holders", "reason", "for", "valid", "only", "rule"}, prepare},
		"sheet":       {"sheet ID", 1, 1, nil, sheet},
		"certificate": {"certificate ID [<PUBLIC-KEY]", 1, 1, nil, certificate},

		"revoke":      {"revoke TARGET… --reason TEXT [--for 2h] [--dry-run] <SIGNATURE", 1, 9, []string{"reason", "for", "dry-run"}, revoke},
		"receipts":    {"receipts SEQ [--wait 2s]", 1, 1, []string{"wait"}, receipts},
		"revocations": {"revocations [--from N] [--ping]", 0, 0, []string{"from", "ping"}, revocations},
		"krl":         {"krl", 0, 0, nil, printKRL},
		"hosts":       {"hosts", 0, 0, nil, hosts},
		"bastions":    {"bastions", 0, 0, nil, bastions},

		"sessions":       {"sessions [--live]", 0, 0, []string{"live"}, sessions},
		"audit":          {"audit SESSION… --kind KIND --reason TEXT --key PUBLIC-KEY [--keystrokes] [--statement] <SIGNATURE", 1, 2 * control.MaxView, []string{"kind", "reason", "key", "keystrokes", "statement"}, audit},
		"recording-keys": {"recording-keys", 0, 0, nil, recordingKeys},
		"recording-key":  {"recording-key <JSON", 0, 0, nil, addRecordingKey},

		"custody":   {"custody [--dry-run] <JSON", 0, 0, []string{"dry-run"}, custody},
		"holds":     {"holds", 0, 0, nil, holds},
		"book":      {"book", 0, 0, nil, book},
		"rewrap":    {"rewrap [--dry-run] <JSON", 0, 0, []string{"dry-run"}, rewrap},
		"retention": {"retention [--dry-run]", 0, 0, []string{"dry-run"}, retention},
		"deletions": {"deletions [--from N]", 0, 0, []string{"from"}, deletions},
		"deleted":   {"deleted <JSON", 0, 0, nil, deleted},

		"log":        {"log [--from N] [--to N] [--follow]", 0, 0, []string{"from", "to", "follow"}, printLog},
		"checkpoint": {"checkpoint [--cosigned]", 0, 0, []string{"cosigned"}, checkpoint},
		"cosign":     {"cosign <CHECKPOINT", 0, 0, nil, cosign},
		"proof":      {"proof --to N --from N|--leaf N", 0, 0, []string{"from", "to", "leaf"}, proof},
		"trust":      {"trust", 0, 0, nil, trust},

		"bastion-certificates": {"bastion-certificates <PUBLIC-KEY", 0, 0, nil, bastionCertificates},
		"session-open":         {"session-open <JSON", 0, 0, nil, sessionOpen},
		"sheet-key":            {"sheet-key <JSON", 0, 0, nil, sheetKey},
		"sheet-use":            {"sheet-use <JSON", 0, 0, nil, sheetUse},
		"cut-receipt":          {"cut-receipt <JSON", 0, 0, nil, cutReceipt},
		"risk":                 {"risk <JSON", 0, 0, nil, risk},
		"session-progress":     {"session-progress <JSON", 0, 0, nil, sessionProgress},
		"host-state":           {"host-state <JSON", 0, 0, nil, hostState},
		"host-ended":           {"host-ended <JSON", 0, 0, nil, hostEnded},
		"host-certificate":     {"host-certificate <PUBLIC-KEY", 0, 0, nil, hostCertificate},
	}
}

// call is one invocation.
type call struct {
	ca      *ca.CA
	caller  ca.Caller
	key     ssh.PublicKey // with which the caller logged in
	args    []string
	options map[string]string
	in      io.Reader
	out     io.Writer
	leases  Leases
	lent    *lending

	preparing bool // the command is prepare
}

func (c *call) has(option string) bool { _, ok := c.options[option]; return ok }

// json prints one object on one line.
func (c *call) json(v any) error {
	b, err := json.Marshal(v)
	if err == nil {
		_, err = c.out.Write(append(b, '\n'))
	}
	return err
}

// answer prints v for a program or text for a person.
func (c *call) answer(v any, format string, args ...any) error {
	if c.has("json") {
		return c.json(v)
	}
	_, err := io.WriteString(c.out, visible(fmt.Sprintf(format, args...)))
	return err
}

// visible makes text safe for the terminal of somebody with a stock client: some of it is what machines and other people said.
func visible(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, text)
}

// rows prints a list: an object a line for a program, or a table for a person.
func rows[T any](c *call, list []T, header string, row func(T) string) error {
	if c.has("json") {
		for _, v := range list {
			if err := c.json(v); err != nil {
				return err
			}
		}
		return nil
	}
	if len(list) == 0 {
		return nil
	}
	w := tabwriter.NewWriter(c.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, header)
	for _, v := range list {
		fmt.Fprintln(w, strings.ReplaceAll(visible(row(v)), "\n", " "))
	}
	return w.Flush()
}

// input reads all of stdin, which a client that has none closes at once.
func (c *call) input() ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(c.in, maxInput+1))
	if err == nil && len(b) > maxInput {
		err = misused("input is over %d bytes", maxInput)
	}
	return b, err
}

func (c *call) inputJSON(v any) error {
	b, err := c.input()
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return misused("input is not the JSON object that PROTOCOL.md describes: %v", err)
	}
	return nil
}

// publicKey reads a key from stdin; empty means the login key.
func (c *call) publicKey() (ssh.PublicKey, error) {
	b, err := c.input()
	if err != nil {
		return nil, err
	}
	if strings.TrimSpace(string(b)) == "" {
		return c.key, nil
	}
	return ca.ParsePublicKey(string(b))
}

func help(_ context.Context, c *call) error {
	fmt.Fprintf(c.out, "%s, the certificate authority of postern. Commands, each with --json for programs:\n", c.ca.Name())
	for _, name := range slices.Sorted(maps.Keys(commands)) {
		fmt.Fprintln(c.out, "  "+commands[name].usage)
	}
	return nil
}

func whoami(_ context.Context, c *call) error {
	id := c.caller.Identity
	groups := ""
	if len(id.Groups) > 0 {
		groups = " (" + strings.Join(id.Groups, ", ") + ")"
	}
	return c.answer(id, "%s %s%s\nkey    %s\nca     %s\npolicy %s\n", id.Kind, id.Name, groups, id.Key, id.CA, id.Policy)
}
