package main

import (
	"fmt"
	"os"

	"postern/internal/verify"
)

// A report fits a screen; --json has all of it.
const shownFindings = 20

func (p *proof) print() error {
	seen := "this machine looked for the first time"
	if p.Before > 0 {
		seen = fmt.Sprintf("grown from the %d seen before", p.Before)
	}
	err := facts(os.Stdout,
		"log", fmt.Sprintf("%d leaves, signed, %s", p.Leaves, seen),
		"remembered", p.Memory,
		"witnesses", p.witnesses(),
		"policies", p.policies(),
		"requests", fmt.Sprintf("%d with %s; %s", p.Requests, count(p.Votes, "signed decision"), count(p.Revocations, "revocation")),
		"certificates", fmt.Sprintf("user %d, session %d, host %d, gateway %d", p.Certificates["user"], p.Certificates["session"], p.Certificates["host"], p.Certificates["gateway"]),
		"sessions", fmt.Sprintf("%d, looked at in %s", len(p.Sessions), count(len(p.Views), "view")),
		"recordings", p.recordings())
	listed("note: ", yellow, p.Notes)
	listed("BAD: ", red, p.Failures)
	if len(p.Failures) == 0 {
		fmt.Println(colour(green, "everything verifies"))
	}
	return err
}

func listed(word, paint string, list []verify.Failure) {
	for i, f := range list {
		if i == shownFindings {
			fmt.Println(colour(paint, fmt.Sprintf("%sand %d more; --json lists them", word, len(list)-i)))
			return
		}
		fmt.Println(colour(paint, word+visible(f.String())))
	}
}

func (p *proof) policies() string {
	if len(p.Policies) == 0 {
		return ""
	}
	last := p.Policies[len(p.Policies)-1]
	text := fmt.Sprintf("%d, the last %s since %s", len(p.Policies), last.Digest, utc(last.Since))
	if p.Reviewed > 0 {
		text += fmt.Sprintf("; %d compared with the directories you named, their decisions made again", p.Reviewed)
	}
	return text
}

func (p *proof) recordings() string {
	if p.Checked+p.Open+p.Destroyed == 0 && len(p.Sessions) > 0 {
		return "not looked at"
	}
	text := fmt.Sprintf("%d pass through all %d heads that were logged of them", p.Checked, p.Heads)
	if p.Read > 0 {
		text += fmt.Sprintf(", %d of them read to the last frame", p.Read)
	}
	if p.Open > 0 {
		text += fmt.Sprintf("; %d not sealed yet", p.Open)
	}
	if p.Destroyed > 0 {
		text += fmt.Sprintf("; of %d that were destroyed as ordered, what is left matches", p.Destroyed)
	}
	return text
}
