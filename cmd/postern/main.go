// Command postern asks for access, approves it, and lets auditors see and prove what was done with it.
// It is the comfortable client of commands that ca/PROTOCOL.md describes and that stock ssh can give as well.
package main

import (
	"errors"

	"github.com/urfave/cli/v2"

	"postern/internal/command"
	"postern/internal/control"
)

func main() { command.Main(newApp(), explain) }

func newApp() *cli.App {
	app := command.Prepare(&cli.App{
		Name:      "postern",
		Usage:     "minutes of SSH access, approved, recorded, revocable",
		UsageText: "postern [--ca A] [--trust D] [--key F] [--home D] COMMAND …",
		Flags:     settingsFlags,
		Commands: []*cli.Command{
			whoamiCommand,
			requestCommand,
			requestsCommand,
			watchRequestsCommand,
			showCommand,
			approveCommand,
			denyCommand,
			withdrawCommand,
			reviewCommand,
			reviewsCommand,
			clearCommand,
			certificateCommand,
			prepareCommand,
			sheetCommand,
			extendCommand,
			doneCommand,
			sshConfigCommand,
			sessionsCommand,
			viewsCommand,
			revokeCommand,
			revocationsCommand,
			krlCommand,
			hostsCommand,
			bastionsCommand,
			auditorCommand,
			recordingKeyCommand,
			recordingKeysCommand,
			holdCommand,
			retentionCommand,
			shredCommand,
			searchCommand,
			replayCommand,
			watchCommand,
			exportCommand,
			recordingCommand,
			evidenceCommand,
			verifyCommand,
			witnessCommand,
			reportCommand,
			logCommand,
			checkpointCommand,
			trustCommand,
			policyCommand,
		},
	})
	withExamples(app.Commands, "")
	return app
}

// explain gives an error of the CA the exit status that the CA gave, and makes text of other people safe to show.
func explain(err error) (text string, status int) {
	var refused *control.Refused
	if errors.As(err, &refused) && refused.Status > 0 && refused.Status < 126 {
		status = refused.Status
	}
	return visible(err.Error()), status
}
