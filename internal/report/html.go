package report

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"strings"
	"time"
)

//go:embed page.html
var pageText string

//go:embed page.css
var styleText string

// HTML writes the report as one file that needs nothing else: no script, one style, whose hash is all that its policy lets a browser load.
func (r *Report) HTML(w io.Writer) error {
	sum := sha256.Sum256([]byte(styleText))
	return pageTemplate.Execute(w, struct {
		*Report
		Style    template.CSS
		Policy   string
		Sections []*section
		Chart    chart
		Unused   []*Request
		Refused  []*Request
		Attempts []attempt
		CutShort []*Session
		Detailed bool
	}{
		Report: r, Style: template.CSS(styleText), Sections: r.sections(), Chart: r.chart(), Unused: r.unused(), Refused: r.refused(),
		Attempts: r.attempts(), CutShort: r.cutShort(), Detailed: r.Proof.Recordings != NotRead,
		Policy: "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'",
	})
}

// Every text goes through v before html/template escapes it: see [Visible].
var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{
	"v": visible, "list": func(l []string) string { return Visible(strings.Join(l, ", ")) },
	"moment": func(t time.Time) string { return clock(t, moment) }, "minute": func(t time.Time) string { return clock(t, minute) },
	"ofday": func(t time.Time) string { return clock(t, ofDay) }, "day": func(t time.Time) string { return clock(t, time.DateOnly) },
	"table": func(title string, list []Totals, detailed bool) map[string]any {
		return map[string]any{"Title": title, "List": list, "Detailed": detailed}
	},
	"length": length, "size": size, "many": many, "lower": strings.ToLower, "anchor": anchor,
	"within": (*Session).within, "ended": (*Session).ended, "opened": (*Session).opened, "verdict": Proof.verdict, "sources": Proof.sources, "cosigned": Proof.cosigned,
	"words": View.words, "trouble": File.trouble, "exit": func(e *uint32) string {
		if e == nil {
			return ""
		}
		return fmt.Sprint(*e)
	},
}).Parse(pageText))

// visible marks in what other people wrote the characters that one would not see.
func visible(text string) template.HTML {
	var out strings.Builder
	for text != "" {
		n := hidden(text)
		out.WriteString(template.HTMLEscapeString(text[:n]))
		text = text[n:]
		if text == "" {
			break
		}
		escape, size := escaped(text)
		out.WriteString(`<span class="hidden">` + template.HTMLEscapeString(escape) + `</span>`)
		text = text[size:]
	}
	return template.HTML(out.String())
}

// anchor is an id in the page, of text that may be anything.
func anchor(kind, text string) string {
	sum := sha256.Sum256([]byte(text))
	return fmt.Sprintf("%s-%x", kind, sum[:6])
}

func (r *Report) unused() (list []*Request) {
	for _, q := range r.Requests {
		if q.Unused() {
			list = append(list, q)
		}
	}
	return list
}

// refused are the requests that came to nothing.
func (r *Report) refused() (list []*Request) {
	for _, q := range r.Requests {
		if !q.Unused() && len(q.Sessions) == 0 && q.State != pending {
			list = append(list, q)
		}
	}
	return list
}

// cutShort are the sessions that did not end by themselves.
func (r *Report) cutShort() (list []*Session) {
	for _, s := range r.Sessions {
		if s.Cut != "" {
			list = append(list, s)
		}
	}
	return list
}

// attempt is something that the grant did not include.
type attempt struct {
	Session *Session
	At      time.Time
	Kind    string
	Text    string
}

func (r *Report) attempts() (list []attempt) {
	for _, s := range r.Sessions {
		for _, c := range s.Commands {
			if c.Refused {
				list = append(list, attempt{s, c.At, "command", c.Text})
			}
		}
		for _, f := range s.Files {
			if f.Denied {
				list = append(list, attempt{s, f.At, "file", f.Operation + " " + f.Path})
			}
		}
		for _, f := range s.Forwards {
			if f.Denied {
				list = append(list, attempt{s, f.At, "forward", f.Kind + " to " + f.To})
			}
		}
		for _, m := range s.Denied {
			list = append(list, attempt{s, m.At, m.Kind, m.Text})
		}
	}
	return list
}

// chart is the time of sessions by day, drawn 1000 wide and 100 high.
type chart struct {
	Bars  []bar
	Most  string
	First string
	Last  string
}

type bar struct{ X, Y, Width, Height, Text string }

const mostBars = 400

func (r *Report) chart() chart {
	span := int(r.To.Sub(r.From).Hours()+23) / 24
	if span < 2 || span > mostBars || len(r.Sessions) == 0 {
		return chart{}
	}
	open := map[string]Totals{}
	var most int64 = 1
	for _, t := range r.Days {
		open[t.Name] = t
		most = max(most, t.Seconds)
	}
	step := 1000 / float64(span)
	c := chart{Most: length(most), First: r.From.Format(time.DateOnly)}
	for i := range span {
		name := r.From.AddDate(0, 0, i).Format(time.DateOnly)
		c.Last = name
		t := open[name]
		if t.Sessions == 0 {
			continue
		}
		high := max(2, 100*float64(t.Seconds)/float64(most))
		c.Bars = append(c.Bars, bar{
			X: fmt.Sprintf("%.2f", float64(i)*step+step*0.1), Y: fmt.Sprintf("%.2f", 100-high),
			Width: fmt.Sprintf("%.2f", step*0.8), Height: fmt.Sprintf("%.2f", high),
			Text: fmt.Sprintf("%s: %s, %s", name, many(t.Sessions, "session"), length(t.Seconds)),
		})
	}
	return c
}
