package main

import (
	"strings"

	"github.com/urfave/cli/v2"
)

// examples are the command lines that help shows below a command. Each is one that a person types as it stands, with other names.
var examples = map[string][]string{
	"whoami":               {"postern whoami"},
	"request":              {"postern request root@phi1 --for 15m --reason 'INC-4412 restore failed' --wait", "postern request root@phi1 root@phi2 --for 30m --only sftp-read --reason 'monthly export'"},
	"requests":             {"postern requests", "postern requests --all --json"},
	"watch-requests":       {"postern watch-requests"},
	"show":                 {"postern show R-7K2M4Q"},
	"approve":              {"postern approve R-7K2M4Q"},
	"deny":                 {"postern deny R-7K2M4Q --reason 'use the replica'"},
	"withdraw":             {"postern withdraw R-7K2M4Q --reason 'not needed any more'"},
	"review":               {"postern review R-7K2M4Q --verdict justified --reason 'the ward could not see allergies'"},
	"reviews":              {"postern reviews"},
	"clear":                {"postern clear R-7K2M4Q --reason 'talked to her and to her manager'"},
	"certificate":          {"postern certificate R-7K2M4Q && ssh phi1"},
	"prepare":              {"postern prepare root@phi1 --bastion bastion-1 --holders alice,adam --for 30m --reason 'when the CA is down' --wait --out sheet.txt"},
	"sheet take":           {"postern sheet take R-7K2M4Q --out sheet.txt"},
	"sheet list":           {"postern sheet list"},
	"sheet check":          {"postern sheet check sheet.txt"},
	"sheet use":            {"postern sheet use sheet.txt && ssh phi1"},
	"extend":               {"postern extend --for 15m --reason 'the index is at 80 percent'"},
	"done":                 {"postern done"},
	"ssh-config":           {"postern ssh-config >> ~/.ssh/config"},
	"sessions":             {"postern sessions --live", "postern sessions --since 30d --user alice --host 'phi*'"},
	"views":                {"postern views --since 30d --auditor carol"},
	"revoke":               {"postern revoke R-7K2M4Q --reason 'laptop lost'", "postern revoke person:alice --dry-run", "postern revoke person:alice account:root@phi1 --for 2h --reason INC-4412"},
	"revocations":          {"postern revocations --receipts"},
	"krl":                  {"postern krl -o revoked", "postern krl --query id_ed25519-cert.pub"},
	"hosts":                {"postern hosts"},
	"bastions":             {"postern bastions"},
	"auditor init":         {"postern auditor init --passphrase", "postern auditor init --plugin yubikey --identity key.txt"},
	"auditor recipient":    {"postern auditor recipient"},
	"auditor enrol":        {"postern auditor enrol --reason 'carol joined'", "postern auditor enrol age1pq1… --name safe --recovery --reason 'the sheet in the safe'"},
	"auditor retire":       {"postern auditor retire carol --reason 'carol left'"},
	"auditor list":         {"postern auditor list"},
	"auditor recover":      {"postern auditor recover --identity safe.txt --all --reason 'the old token is lost'"},
	"recording-key new":    {"postern recording-key new --months 3 --recipient all"},
	"recording-key rewrap": {"postern recording-key rewrap --add dora --all --reason 'dora joined' --dry-run"},
	"recording-keys":       {"postern recording-keys"},
	"hold add":             {"postern hold add person:alice --reason 'case 2026-17'"},
	"hold release":         {"postern hold release person:alice --reason 'case 2026-17 is closed'"},
	"hold list":            {"postern hold list"},
	"retention run":        {"postern retention run --dry-run"},
	"retention list":       {"postern retention list"},
	"shred":                {"postern shred S-8CHQ2M7KXA --reason 'ordered by the court' --dry-run"},
	"search":               {"postern search 'drop table' --since 30d --reason INC-4412", "postern search '\\.pgpass' --in commands,files --host 'phi*' -l --reason INC-4412"},
	"replay":               {"postern replay S-8CHQ2M7KXA --reason INC-4412", "postern replay S-8CHQ2M7KXA --from 50m --speed 4 --idle 2s --reason INC-4412", "postern replay --web --open --reason 'weekly review'"},
	"watch":                {"postern watch S-8CHQ2M7KXA --reason INC-4412"},
	"export":               {"postern export S-8CHQ2M7KXA --format asciicast -o session.cast --reason INC-4412", "postern export S-8CHQ2M7KXA --format files -o files --reason INC-4412"},
	"recording fetch":      {"postern recording fetch S-8CHQ2M7KXA -o session.sealed --reason INC-4412"},
	"evidence":             {"postern evidence S-8CHQ2M7KXA -o session.tar --reason 'for the court'", "postern evidence R-7K2M4Q -o request.tar --no-recording"},
	"verify":               {"postern verify --no-recordings", "postern verify --reason nightly", "postern verify session.tar"},
	"witness init":         {"postern witness init --name example.org/w1"},
	"witness vkey":         {"postern witness vkey"},
	"witness once":         {"postern witness once"},
	"witness run":          {"postern witness run --every 5m"},
	"witness request":      {"postern witness request --old 1200 -o for-the-witness"},
	"witness submit":       {"postern witness submit < cosigned"},
	"report":               {"postern report --from 2026-10-01 --to 2026-11-01 --reason 'monthly review' -o october.html", "postern report --from 7d --user alice --csv files --reason INC-4412"},
	"log":                  {"postern log --since 1d", "postern log --follow --format ocsf --state siem.state"},
	"checkpoint":           {"postern checkpoint"},
	"trust":                {"postern trust --save trust"},
	"policy check":         {"postern policy check /etc/postern/policy"},
	"policy explain":       {"postern policy explain alice root@phi1 --dir /etc/postern/policy --for 20m"},
	"policy test":          {"postern policy test /etc/postern/policy", "postern policy test new-policy --replay-history --since 30d"},
}

// withExamples puts the examples into the help of their commands.
func withExamples(commands []*cli.Command, before string) {
	for _, c := range commands {
		if len(c.Subcommands) > 0 {
			withExamples(c.Subcommands, before+c.Name+" ")
		} else if lines := examples[before+c.Name]; len(lines) > 0 {
			c.CustomHelpTemplate = cli.CommandHelpTemplate + "\nEXAMPLES:\n   " + strings.Join(lines, "\n   ") + "\n"
		}
	}
}
