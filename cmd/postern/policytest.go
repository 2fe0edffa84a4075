package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"postern/ca/auditlog"
	"postern/internal/command"
	"postern/internal/control"
	"postern/policy"
)

var policyTestCommand = &cli.Command{
	Name:      "test",
	Usage:     "decide cases and compare with what they expect; or say what DIR would have decided for the requests of the log",
	ArgsUsage: "DIR",
	Flags: []cli.Flag{
		&cli.StringSliceFlag{Name: "cases", Usage: "cases, in YAML or JSON; may be repeated; without it all in the directory tests of DIR: `FILE`"},
		&cli.BoolFlag{Name: "replay-history", Usage: "decide again what was asked for at the CA"},
		&cli.StringFlag{Name: "since", Usage: "with --replay-history, what was asked for from then on: 30d, 12h, 2w (ago), 2026-10-01, or a time: `WHEN`", Value: "30d"},
		jsonFlag,
	},
	Action: func(c *cli.Context) error {
		given, err := command.Exactly(c, "DIR")
		if err != nil {
			return err
		}
		set, err := loadPolicy(given[0])
		if err != nil {
			return err
		}
		switch history := c.Bool("replay-history"); {
		case history && c.IsSet("cases"):
			return command.Misuse("--cases and --replay-history are two things; ask for one")
		case history:
			return replayHistory(c, set, given[0])
		case c.IsSet("since"):
			return command.Misuse("--since belongs to --replay-history")
		}
		return testCases(c, set, given[0])
	},
}

// tested is the outcome of a case.
type tested struct {
	Name    string   `json:"name"`
	Place   string   `json:"place"` // file:line
	OK      bool     `json:"ok"`
	Differs []string `json:"differs,omitempty"`
}

func testCases(c *cli.Context, set *policy.Set, dir string) error {
	cases, err := readCases(c.StringSlice("cases"), dir)
	if err != nil {
		return err
	}
	wrong := 0
	for _, test := range cases {
		t := tested{Name: test.Name, Place: test.Place, Differs: set.Test(test)}
		if t.OK = len(t.Differs) == 0; !t.OK {
			wrong++
		}
		if c.Bool("json") {
			if err := jsonLine(c.App.Writer, t); err != nil {
				return err
			}
			continue
		}
		if !t.OK {
			fmt.Fprintf(c.App.Writer, "%s: %s\n", t.Place, t.Name)
			for _, line := range t.Differs {
				fmt.Fprintf(c.App.Writer, "  %s\n", line)
			}
		}
	}
	if !c.Bool("json") {
		fmt.Fprintf(c.App.Writer, "%s, %d as expected\n", count(len(cases), "case"), len(cases)-wrong)
	}
	if wrong > 0 {
		return errDenied
	}
	return nil
}

// readCases reads the files, or all that lie in tests. No case at all is an error: a build that tests nothing would be green for ever.
func readCases(files []string, dir string) (cases []policy.Case, err error) {
	if len(files) == 0 {
		for _, pattern := range []string{"*.yaml", "*.yml", "*.json"} {
			found, err := filepath.Glob(filepath.Join(dir, "tests", pattern))
			if err != nil {
				return nil, err
			}
			files = append(files, found...)
		}
		slices.Sort(files)
	}
	for _, file := range files {
		content, rerr := os.ReadFile(file)
		if rerr != nil {
			return nil, rerr
		}
		more, perr := policy.ParseCases(file, content)
		err, cases = errors.Join(err, perr), append(cases, more...)
	}
	if err == nil && len(cases) == 0 {
		err = fmt.Errorf("there are no cases; put some into %s, or name a file with --cases", filepath.Join(dir, "tests"))
	}
	return cases, err
}

// replayed is what another policy would have made of a request.
type replayed struct {
	Request string    `json:"request"`
	Leaf    int64     `json:"leaf"`
	At      time.Time `json:"at"`
	Person  string    `json:"person"`
	Targets []string  `json:"targets"`
	Policy  string    `json:"policy"`            // that decided it
	Differs []string  `json:"differs,omitempty"` // a line each
}

// replayHistory decides again what is in the log, which is proven first. What differs is for people to judge, so it is no failure.
func replayHistory(c *cli.Context, set *policy.Set, dir string) error {
	since, err := command.Since(c.String("since"), time.Now())
	if err != nil {
		return command.Misuse("--since: %v", err)
	}
	bySource, err := mentionsSource(os.DirFS(dir))
	if err != nil {
		return err
	}
	ca, err := connect(c)
	if err != nil {
		return err
	}
	defer ca.close()
	proof, err := ca.proveLog(c.Context)
	if err != nil {
		return err
	}
	if n := len(proof.Failures); n > 0 {
		return fmt.Errorf("the log does not verify (%s), so its requests prove nothing; see: postern verify", count(n, "failure"))
	}
	asked, differ := 0, 0
	for _, in := range proof.Policies {
		then := groupsOf(proof.leaves[in.Leaf])
		for _, r := range in.Requests {
			if r.Created.Before(since) {
				continue
			}
			asked++
			out := replayed{r.ID, r.Leaf, r.Created, r.Person, r.Targets, in.Digest, decideAnew(set, r.Request, then)}
			if len(out.Differs) > 0 {
				differ++
			}
			if err := showReplayed(c, out); err != nil {
				return err
			}
		}
	}
	if !c.Bool("json") {
		fmt.Fprintf(c.App.Writer, "%s since %s, %d of them decided differently by %s\n", count(asked, "request"), since.UTC().Format(time.RFC3339), differ, set.Digest())
		fmt.Fprintln(c.App.Writer, notKnown(bySource))
	}
	return nil
}

// notKnown says what the log does not have, so that nobody reads more into the answer than there is.
func notKnown(bySource bool) string {
	text := "not known: what was refused and so never filed, whether a rule was asked for by name, and capabilities that were asked for and left out"
	if bySource {
		text += "; and the address that each came from, which these rules may read: they deny where it is unknown"
	}
	return text
}

func showReplayed(c *cli.Context, r replayed) error {
	if c.Bool("json") {
		return jsonLine(c.App.Writer, r)
	}
	if len(r.Differs) == 0 {
		return nil
	}
	fmt.Fprintf(c.App.Writer, "%s %s %s %s\n", r.Request, r.At.UTC().Format(time.RFC3339), r.Person, strings.Join(r.Targets, " "))
	for _, line := range r.Differs {
		fmt.Fprintf(c.App.Writer, "  %s\n", line)
	}
	return nil
}

// groupsOf is who was in which group by the policy of a leaf.
func groupsOf(leaf []byte) map[string][]string {
	groups := map[string][]string{}
	if e, err := auditlog.Decode(leaf); err == nil && e.Policy != nil {
		for group, people := range e.Policy.Groups {
			for _, person := range people {
				groups[person] = append(groups[person], group)
			}
		}
	}
	return groups
}

// decideAnew says how a policy would decide a request otherwise than it was, a line each.
func decideAnew(set *policy.Set, r control.Request, then map[string][]string) (differs []string) {
	differ := func(format string, args ...any) {
		if line := fmt.Sprintf(format, args...); !slices.Contains(differs, line) {
			differs = append(differs, line)
		}
	}
	rule := ""
	if len(r.Rules) == 1 && slices.Contains(set.Rules(), r.Rules[0]) {
		rule = r.Rules[0] // it may have been asked for by name
	}
	var needs, rules, limits []string
	for _, by := range usersOf(r) {
		target := by.target
		account, host, _ := strings.Cut(target, "@")
		d := set.Decide(policy.Query{Person: by.person, Account: account, Host: host, Capabilities: r.Capabilities,
			For: time.Duration(r.ForSeconds) * time.Second, Reason: r.Reason, Rule: rule, At: r.Created, Sealed: r.Sheet != nil})
		if len(d.Allowed) == 0 || len(d.Refused) > 0 {
			differ("%s would be denied: %s", target, strings.Join(d.Why, "; "))
			continue
		}
		for _, n := range d.Needs {
			needs = append(needs, n.String())
		}
		rules = append(rules, d.Rules...)
		limits = append(limits, d.Limits.String())
		if text := lacks(r, d); text != "" {
			differ("%s would want %s", target, text)
		}
	}
	if len(differs) == 0 {
		var had []string
		for _, n := range r.Needs {
			had = append(had, fmt.Sprintf("%d of %s", n.Count, n.Group))
		}
		unlike(differ, "approvals", had, needs)
		unlike(differ, "rules", r.Rules, rules)
		unlike(differ, "limits", []string{r.Limits}, limits)
	}
	if p, known := set.Person(r.Person); known && len(differs) > 0 {
		unlike(differ, r.Person+"'s groups", then[r.Person], p.Groups)
	}
	return differs
}

func unlike(differ func(string, ...any), what string, was, is []string) {
	plain := func(list []string) []string {
		return slices.DeleteFunc(slices.Compact(slices.Sorted(slices.Values(list))), func(s string) bool { return s == "" })
	}
	if was, is = plain(was), plain(is); !slices.Equal(was, is) {
		differ("%s: %s, was %s", what, orNone(is), orNone(was))
	}
}

func orNone(list []string) string {
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, ", ")
}
