package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"postern/ca/auditlog"
	"postern/internal/command"
	"postern/internal/control"
	"postern/internal/report"
	"postern/internal/verify"
)

var reportCommand = &cli.Command{
	Name:  "report",
	Usage: "who reached which host as which account, why, who approved, what ran and what moved: proven, then printed",
	Flags: []cli.Flag{
		&cli.StringFlag{Name: "from", Usage: "the period begins at this `TIME`: a date in UTC, or how long ago (default: the first of last month)"},
		&cli.StringFlag{Name: "to", Usage: "and ends before this `TIME` (default: now, or without --from the first of this month)"},
		&cli.StringFlag{Name: "user", Usage: "of this `PERSON` only; a * stands for anything"},
		&cli.StringFlag{Name: "host", Usage: "of this `HOST` only; a * stands for anything"},
		&cli.StringFlag{Name: "by", Value: "person", Usage: "group sessions by person, host, day or request: `GROUP`"},
		&cli.StringFlag{Name: "format", Usage: "text, html, csv or json: `FORMAT` (default: by the name of the file, else text)"},
		&cli.StringFlag{Name: "csv", Usage: "which `TABLE`: sessions, commands, files, requests or approvals"},
		&cli.IntFlag{Name: "share", Value: 80, Usage: "name who approved more than `N` of a hundred requests of one person"},
		&cli.BoolFlag{Name: "no-recordings", Usage: "leave out what recordings say; needs no auditor's key"},
		&cli.BoolFlag{Name: "thorough", Usage: "read every frame instead of the bastions' indexes, and say where they differ"},
		outputFlag, viewReasonFlag, witnessFlag, witnessesFlag, withinFlag,
	},
	Action: func(c *cli.Context) error {
		if err := command.FlagsOnly(c); err != nil {
			return err
		}
		o, write, err := reportOptions(c)
		if err != nil {
			return err
		}
		if o.Reason, err = viewReason(c); err != nil {
			return err
		}
		d, err := demanded(c)
		if err != nil {
			return err
		}
		out, err := openOutput(c.String("output"))
		if err != nil {
			return err
		}
		defer out.abandon()
		ca, err := connect(c)
		if err != nil {
			return err
		}
		defer ca.close()
		r, err := ca.report(c, o, d)
		if err != nil {
			return err
		}
		if err := out.write(func(w io.Writer) error { return write(r, w) }); err != nil {
			return err
		}
		return incomplete(r)
	},
}

// reportOptions reads the flags, and says how the report is written.
func reportOptions(c *cli.Context) (o report.Options, write func(*report.Report, io.Writer) error, err error) {
	now := time.Now().UTC()
	first := time.Date(now.Year(), now.Month(), 1, 0, 0, 0, 0, time.UTC)
	o = report.Options{From: first.AddDate(0, -1, 0), To: first, Made: now, User: c.String("user"), Host: c.String("host"), Group: c.String("by"), Share: c.Int("share")}
	if c.String("from") != "" {
		o.To = now
	}
	for name, at := range map[string]*time.Time{"from": &o.From, "to": &o.To} {
		if text := c.String(name); text != "" {
			if *at, err = command.Since(text, now); err != nil {
				return o, nil, command.Misuse("--%s: %v", name, err)
			}
		}
	}
	switch {
	case !o.From.Before(o.To):
		return o, nil, command.Misuse("the period from %s to %s is empty", o.From.Format(time.RFC3339), o.To.Format(time.RFC3339))
	case badPattern(o.User) || badPattern(o.Host):
		return o, nil, command.Misuse("--user and --host are names, or patterns such as 'ehr-*'")
	case !slices.Contains(report.Groups, o.Group):
		return o, nil, command.Misuse("--by is one of %s", strings.Join(report.Groups, ", "))
	case o.Share < 1 || o.Share > 100:
		return o, nil, command.Misuse("--share is from 1 to 100")
	case c.Bool("thorough") && c.Bool("no-recordings"):
		return o, nil, command.Misuse("--thorough is about what --no-recordings leaves out")
	}
	write, err = reportForm(c.String("format"), c.String("csv"), c.String("output"))
	return o, write, err
}

func badPattern(pattern string) bool {
	_, err := path.Match(pattern, "")
	return err != nil
}

// reportForm chooses a format: the one that is named, or meant by --csv, or by the ending of the file.
func reportForm(format, table, file string) (func(*report.Report, io.Writer) error, error) {
	if format == "" {
		format = "text"
		for _, ending := range []string{"html", "csv", "json"} {
			if strings.HasSuffix(file, "."+ending) {
				format = ending
			}
		}
		if table != "" {
			format = "csv"
		}
	}
	if table != "" && (format != "csv" || !slices.Contains(report.Tables, table)) {
		return nil, command.Misuse("--csv is one of %s, and of --format csv", strings.Join(report.Tables, ", "))
	}
	switch format {
	case "text":
		return (*report.Report).Text, nil
	case "html":
		return (*report.Report).HTML, nil
	case "json":
		return (*report.Report).JSON, nil
	case "csv":
		if table == "" {
			table = report.Tables[0]
		}
		return func(r *report.Report, w io.Writer) error { return r.CSV(w, table) }, nil
	}
	return nil, command.Misuse("--format is text, html, csv or json")
}

// incomplete is what a script must not miss of a report that was written.
func incomplete(r *report.Report) error {
	if n := len(r.Proof.Failures); n > 0 {
		return fmt.Errorf("the report is made, and the log does not verify: %d things should not be; do not trust this CA until they are explained", n)
	}
	bad := 0
	for _, gap := range r.Recordings {
		if gap.Bad {
			bad++
		}
	}
	if bad > 0 {
		return fmt.Errorf("the report is made, and %d recordings are missing from it or not whole: it names them", bad)
	}
	return nil
}

func (c *client) report(cc *cli.Context, o report.Options, d demand) (*report.Report, error) {
	ctx := cc.Context
	me, err := control.Call[control.Identity](ctx, c.Client, nil, "whoami")
	if err != nil {
		return nil, err
	}
	o.By = me.Name
	var ledger report.Ledger
	var book auditlog.Book
	w, err := c.walkLog(ctx, func(i int64, e auditlog.Entry, leaf []byte) {
		ledger.Add(i, e)
		_ = book.Add(leaf) // walkLog compares the root
	})
	if err != nil {
		return nil, err
	}
	checked := w.report
	p := report.Proof{Leaves: w.tree.N, Root: w.tree.Hash.String(), Before: w.before, Failures: checked.Failures, Notes: checked.Notes, Recordings: report.NotRead}
	if err := c.witnessReport(ctx, &p, &book, d); err != nil {
		return nil, err
	}
	r := ledger.Report(o, p)
	if cc.Bool("no-recordings") || len(r.Sessions) == 0 {
		return r, nil
	}
	reading := reading{report: r, logged: checked.Sessions, thorough: cc.Bool("thorough")}
	if err := reading.read(ctx, c.desk(), o.Reason); err != nil {
		return nil, err
	}
	return r, nil
}

// witnessReport holds the log against what witnesses say of it, as [client.askWitnesses] does.
func (c *client) witnessReport(ctx context.Context, p *report.Proof, book *auditlog.Book, d demand) error {
	if len(d.witnesses) == 0 {
		return nil
	}
	keys, err := trusted(c.settings.Trust)
	if err != nil {
		return err
	}
	list, err := c.cosigned(ctx)
	if err != nil {
		return err
	}
	witnesses, odd, err := d.hold(list, book, keys.Log)
	if odd != nil {
		signed, _ := c.Run(ctx, nil, "checkpoint") // of the log that we were shown, as it is now
		m := memory{dir: rememberedLogs(c.settings.Home, keys.Log), vkey: keys.Log}
		return m.conflict(err, odd, signed)
	}
	if err != nil {
		return err
	}
	for _, w := range witnesses {
		p.Witnesses = append(p.Witnesses, report.Witness{Name: w.Witness, Leaves: w.Leaves, At: w.At.UTC()})
	}
	covered, ok := d.covered(witnesses)
	if !ok {
		p.Failures = append(p.Failures, verify.Failure{Leaf: -1, Text: fmt.Sprintf("%d witnesses must have cosigned the log, and %d did", d.need, len(witnesses))})
		return nil
	}
	if covered == p.Leaves {
		return nil
	}
	next, err := control.List[control.Leaf](ctx, c.Client, "log", "--from", strconv.FormatInt(covered, 10), "--to", strconv.FormatInt(covered+1, 10))
	if err == nil && (len(next) != 1 || waited(next[0].Data, d.within)) {
		p.Failures = append(p.Failures, verify.Failure{Leaf: covered, Text: fmt.Sprintf("this entry waits for cosignatures since more than %s, with %d behind it", short(d.within), p.Leaves-covered-1)})
	}
	return err
}

// progressed shows on a terminal how far something is that takes long.
func progressed(what string, done, of int) {
	if colour(bold, "") == "" || of < 20 {
		return
	}
	fmt.Fprintf(os.Stderr, "\r%s %d of %d", what, done, of)
	if done == of {
		fmt.Fprint(os.Stderr, "\r\x1b[K")
	}
}
