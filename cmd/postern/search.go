package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"postern/internal/auditor"
	"postern/internal/command"
	"postern/internal/control"
	"postern/internal/search"
	"postern/recorder"
)

var searchCommand = &cli.Command{
	Name:      "search",
	Usage:     "find text in recordings: on screens, in output, commands and the names of files",
	ArgsUsage: "REGEXP",
	Description: "REGEXP is a regular expression as in https://pkg.go.dev/regexp/syntax that matches within a line. One without capitals finds them too. " +
		"The exit status is 0 with hits, 1 without.",
	Flags: append([]cli.Flag{
		&cli.StringFlag{Name: "in", Value: "output,commands,files", Usage: "look in these `SOURCES`: output, commands, files"},
		&cli.StringSliceFlag{Name: "session", Usage: "in this session `S-…` only; may be given several times"},
		&cli.BoolFlag{Name: "case", Usage: "capitals are not small letters"},
		&cli.BoolFlag{Name: "thorough", Usage: "read everything, and do not believe what the bastions' index says"},
		&cli.IntFlag{Name: "context", Aliases: []string{"C"}, DefaultText: "none", Usage: "show `N` lines of output around each hit"},
		&cli.BoolFlag{Name: "sessions", Aliases: []string{"l"}, Usage: "print the sessions with hits only"},
	}, append(sessionFlags, jsonFlag, viewReasonFlag)...),
	Action: func(c *cli.Context) error {
		args, err := command.Exactly(c, "REGEXP")
		if err != nil {
			return err
		}
		q, err := searchQuery(c, args[0])
		if err != nil {
			return err
		}
		filter, err := sessionFilterOf(c, c.StringSlice("session"), time.Now())
		if err != nil {
			return err
		}
		return searchAll(c, q, filter)
	},
}

func searchQuery(c *cli.Context, pattern string) (*search.Query, error) {
	p, err := search.Compile(pattern, c.Bool("case"))
	if err != nil {
		return nil, command.Misuse("%v", err)
	}
	q := &search.Query{Pattern: p, Context: c.Int("context"), Thorough: c.Bool("thorough")}
	if q.Context < 0 || q.Context > 100 {
		return nil, command.Misuse("--context is 0 to 100")
	}
	for source := range strings.SplitSeq(c.String("in"), ",") {
		switch source = strings.TrimSpace(source); source {
		case "output":
			q.In = append(q.In, search.Output)
		case "commands", "command":
			q.In = append(q.In, search.Command)
		case "files", "file":
			q.In = append(q.In, search.File)
		default:
			return nil, command.Misuse("--in: there is no source %q (sources are: output, commands, files)", source)
		}
	}
	return q, nil
}

// searchAll looks for q in the sessions that the filter keeps, newest first.
func searchAll(c *cli.Context, q *search.Query, filter sessionFilter) error {
	ca, err := connect(c)
	if err != nil {
		return err
	}
	defer ca.close()
	sessions, err := control.List[control.Session](c.Context, ca.Client, "sessions")
	if err != nil {
		return err
	}
	sessions = slices.DeleteFunc(sessions, func(s control.Session) bool { return !filter.keeps(s) })
	if len(sessions) == 0 {
		return errors.New("no sessions to search: postern sessions takes the same filters, and shows only your own unless a rule permits you audit")
	}
	slices.SortStableFunc(sessions, func(a, b control.Session) int { return b.Started.Compare(a.Started) })
	var ids []string
	for _, s := range sessions {
		ids = append(ids, s.ID)
	}
	access, err := ca.desk().View(c.Context, auditor.View{Kind: control.ViewSearch, Reason: c.String("reason")}, ids...)
	if err != nil {
		return err
	}
	defer access.Close()
	out := newFindings(c, sessions)
	q.Partial = out.missing
	err = q.Sessions(c.Context, opening(access, ids), search.Teller{Hit: out.hit, Done: out.done, Progress: out.bar.show})
	return out.end(c.Context, err)
}

func opening(access *auditor.Access, ids []string) (list []search.Session) {
	for _, id := range ids {
		list = append(list, search.Session{ID: id, Open: func(ctx context.Context) (*recorder.Archive, error) { return access.Archive(ctx, id) }})
	}
	return list
}

// findings are printed as they come.
type findings struct {
	sessions map[string]control.Session
	json     bool
	list     bool // sessions only
	context  bool
	bar      *searchBar

	mu      sync.Mutex
	partial map[string][]string // by session, what is not on record

	hits, searched int
	failed         []string
	inSession      int           // hits
	jump           time.Duration // of the hit under which stands how to get there
}

const faint = "2"

func newFindings(c *cli.Context, sessions []control.Session) *findings {
	f := &findings{sessions: map[string]control.Session{}, partial: map[string][]string{}, json: c.Bool("json"), list: c.Bool("sessions"), context: c.Int("context") > 0, bar: newSearchBar(len(sessions))}
	for _, s := range sessions {
		f.sessions[s.ID] = s
	}
	return f
}

// foundJSON is a hit as a line of JSON.
type foundJSON struct {
	search.Hit
	At      float64   `json:"at"` // seconds since the session began
	Time    time.Time `json:"time"`
	Person  string    `json:"person"`
	Target  string    `json:"target"`
	Request string    `json:"request"`
	Hits    int       `json:"hits,omitempty"`
}

func (f *findings) hit(h search.Hit) error {
	f.hits++
	f.inSession++
	if f.list {
		return nil
	}
	s := f.sessions[h.Session]
	f.bar.clear()
	if f.json {
		return jsonLine(os.Stdout, foundJSON{Hit: h, At: h.At.Seconds(), Time: s.Started.Add(h.At), Person: s.Person, Target: s.Target, Request: s.Request})
	}
	what := h.Kind
	if h.Seen {
		what = "command seen"
	}
	_, err := fmt.Printf("%s %s %s %s %s: %s\n", colour(yellow, h.Session), position(h.At), word(s.Person), word(s.Target), what, f.text(h))
	if f.inSession == 1 || h.At-f.jump >= time.Minute {
		f.jump = h.At
		from := ""
		if at := h.At.Truncate(time.Second); at > 0 {
			from = " --from " + at.String()
		}
		fmt.Println("  " + colour(faint, "postern replay "+h.Session+from))
	}
	return err
}

// text is the line of a hit, between the lines around it, with the match in bold.
func (f *findings) text(h search.Hit) string {
	line := oneLine(h.Text[:h.Begin]) + colour("1;31", oneLine(h.Text[h.Begin:h.End])) + oneLine(h.Text[h.End:])
	if !f.context {
		return strings.TrimSpace(line)
	}
	var b strings.Builder
	for _, l := range h.Before {
		b.WriteString("\n  | " + oneLine(l))
	}
	b.WriteString("\n  > " + line)
	for _, l := range h.After {
		b.WriteString("\n  | " + oneLine(l))
	}
	return b.String()
}

// oneLine is what a host printed, made safe for a terminal.
func oneLine(text string) string { return word(strings.ReplaceAll(text, "\t", " ")) }

// position is a time in a session: 0:12:03.
func position(at time.Duration) string {
	s := int(at.Seconds())
	return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
}

// missing takes note of output that nobody can search.
func (f *findings) missing(session, text string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.partial[session] = append(f.partial[session], text)
}

func (f *findings) done(id string, err error) error {
	hits := f.inSession
	f.inSession = 0
	f.bar.clear()
	switch {
	case err != nil:
		f.failed = append(f.failed, id)
		fmt.Fprintln(os.Stderr, colour(red, visible(fmt.Sprintf("%s could not be searched: %v", id, err))))
		return nil
	case hits > 0 && f.list && f.json:
		s := f.sessions[id]
		err = jsonLine(os.Stdout, struct {
			control.Session
			Hits int `json:"hits"`
		}{s, hits})
	case hits > 0 && f.list:
		s := f.sessions[id]
		_, err = fmt.Printf("%s  %s  %s  %s  %s\n", id, clock(s.Started, time.Now()), word(s.Person), word(s.Target), many(hits, "hit"))
	}
	f.searched++
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, text := range f.partial[id] {
		fmt.Fprintln(os.Stderr, colour(yellow, word(fmt.Sprintf("%s was searched as far as it goes: %s", id, text))))
	}
	return err
}

// end says what was done, and makes the exit status of it.
func (f *findings) end(ctx context.Context, err error) error {
	f.bar.clear()
	total := fmt.Sprintf("%s in %s", many(f.hits, "hit"), many(f.searched, "session"))
	switch {
	case ctx.Err() != nil:
		fmt.Fprintf(os.Stderr, "interrupted: %s of %d so far\n", total, len(f.sessions))
		return ctx.Err()
	case err != nil:
		return err
	case len(f.failed) > 0:
		return fmt.Errorf("%s; %s could not be searched: %s", total, many(len(f.failed), "session"), strings.Join(f.failed, ", "))
	case f.hits == 0:
		return fmt.Errorf("no match in %s", many(f.searched, "session"))
	}
	fmt.Fprintln(os.Stderr, total)
	return nil
}
