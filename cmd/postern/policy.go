package main

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"postern/internal/command"
	"postern/policy"
)

var policyCommand = &cli.Command{
	Name:        "policy",
	Usage:       "check a policy directory, ask what it would decide, and test that",
	Subcommands: []*cli.Command{policyCheckCommand, policyExplainCommand, policyTestCommand},
}

var policyCheckCommand = &cli.Command{
	Name:      "check",
	Usage:     "check a policy directory as a whole",
	ArgsUsage: "DIR",
	Action: func(c *cli.Context) error {
		given, err := command.Exactly(c, "DIR")
		if err != nil {
			return err
		}
		set, err := loadPolicy(given[0])
		if err != nil {
			return err
		}
		fmt.Fprintln(c.App.Writer, set.Summary())
		return nil
	},
}

var policyExplainCommand = &cli.Command{
	Name:      "explain",
	Usage:     "say whether PERSON may open TARGET, what would be needed, and why not",
	ArgsUsage: "PERSON TARGET --dir DIR",
	Flags: []cli.Flag{
		&cli.StringFlag{Name: "dir", Usage: "the policy directory `DIR`"},
		&cli.DurationFlag{Name: "for", Usage: "for how long, such as 20m: `TIME`", DefaultText: "not said"},
		&cli.StringFlag{Name: "reason", Usage: "the reason that would be given: `TEXT`"},
		&cli.StringFlag{Name: "only", Usage: "capabilities that would be asked for, such as shell,exec: `LIST`"},
		&cli.StringFlag{Name: "rule", Usage: "judge by this rule alone (`ID`)"},
		&cli.BoolFlag{Name: "emergency", Usage: "judge by the rules for emergencies"},
		&cli.BoolFlag{Name: "sealed", Usage: "judge by the rules for sealed grants, which postern prepare asks for"},
		&cli.StringFlag{Name: "source", Usage: "the `ADDRESS` the person would come from"},
		&cli.TimestampFlag{Name: "at", Usage: "the `TIME` it would happen, such as 2026-11-22T09:00:00Z", Layout: time.RFC3339, DefaultText: "now"},
		&cli.BoolFlag{Name: "json", Usage: "one JSON object"},
	},
	Action: explainPolicy,
}

func explainPolicy(c *cli.Context) error {
	given, err := command.Exactly(c, "PERSON", "TARGET")
	if err != nil {
		return err
	}
	if err := command.Required(c, "dir"); err != nil {
		return err
	}
	query, err := policyQuery(c, given[0], given[1])
	if err != nil {
		return err
	}
	set, err := loadPolicy(c.String("dir"))
	if err != nil {
		return err
	}
	explanation := set.Explain(query)
	explanation.Turns = set.Turns(query)
	if c.Bool("json") {
		err = jsonLine(c.App.Writer, explanation)
	} else {
		_, err = fmt.Fprint(c.App.Writer, explanation)
	}
	if err == nil && !explanation.Granted {
		return errDenied
	}
	return err
}

// errDenied sets the exit status; what there is to say was printed.
var errDenied = cli.Exit("", 1)

func policyQuery(c *cli.Context, person, target string) (policy.Query, error) {
	account, host, ok := strings.Cut(target, "@")
	if !ok || account == "" || host == "" {
		return policy.Query{}, command.Misuse("%q is not account@host, such as root@phi1", target)
	}
	query := policy.Query{
		Person: person, Account: account, Host: host,
		For: c.Duration("for"), Reason: c.String("reason"), Rule: c.String("rule"), At: time.Now(),
		Emergency: c.Bool("emergency"), Sealed: c.Bool("sealed"),
	}
	if query.Emergency && query.Sealed {
		return query, command.Misuse("no rule is for emergencies and for sealed grants: --emergency or --sealed")
	}
	if c.IsSet("for") && query.For <= 0 {
		return query, command.Misuse("--for %s is not a positive duration", query.For)
	}
	if at := c.Timestamp("at"); at != nil {
		query.At = *at
	}
	query.Capabilities = strings.FieldsFunc(c.String("only"), func(r rune) bool { return r == ',' || r == ' ' })
	if source := c.String("source"); source != "" {
		address, err := netip.ParseAddr(source)
		if err != nil {
			return query, command.Misuse("--source %q is not an IP address", source)
		}
		query.Source = address
	}
	return query, nil
}

// loadPolicy names the directory once above the errors, each of which has a line to itself.
func loadPolicy(dir string) (*policy.Set, error) {
	set, err := policy.Load(os.DirFS(dir))
	if err != nil {
		return nil, fmt.Errorf("the policy in %s does not load:\n%w", dir, err)
	}
	return set, nil
}
