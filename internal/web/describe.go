package web

import (
	"context"
	"net/http"
	"strings"

	"golang.org/x/crypto/ssh"

	"postern/ca/statement"
	"postern/internal/control"
	"postern/internal/sshsig"
	"postern/recorder"
	"postern/recorder/index"
)

// description is a session as its page shows it.
type description struct {
	Session control.Session  `json:"session"`
	Header  recorder.Header  `json:"header"`
	Length  float64          `json:"length"` // seconds
	Request *control.Request `json:"request,omitempty"`
	Unknown string           `json:"unknown,omitempty"` // why there is no request
	Votes   []vote           `json:"votes"`
	Outline outline          `json:"outline"`
}

// vote is a decision and what this process found of its signature.
type vote struct {
	control.Vote
	Good  bool   `json:"good"`
	Why   string `json:"why,omitempty"`   // it is not
	Token string `json:"token,omitempty"` // what a FIDO key proved
}

func (s *Server) describe(ctx context.Context, o *opening) (description, error) {
	d := description{Session: o.session, Header: o.header, Length: seconds(o.length()), Outline: o.outline(), Votes: []vote{}}
	request, err := s.config.Request(ctx, o.session.Request)
	if err != nil {
		d.Unknown = err.Error()
		return d, nil
	}
	d.Request = &request
	for _, v := range request.Votes {
		d.Votes = append(d.Votes, check(request, v))
	}
	d.Request.Votes = nil // they are in Votes
	return d, nil
}

// check verifies the signature of a vote, and that what was signed is this request. Whose key it is says the policy in the log: postern verify checks that.
func check(r control.Request, v control.Vote) vote {
	bad := func(why string) vote { return vote{Vote: v, Why: why} }
	signature, err := sshsig.Verify([]byte(v.Signature), control.Namespace, []byte(v.Statement))
	if err != nil {
		return bad(err.Error())
	}
	if ssh.FingerprintSHA256(signature.Key) != v.Key {
		return bad("another key signed than the one that is named")
	}
	signed, err := statement.Parse(v.Statement)
	switch {
	case err != nil:
		return bad(err.Error())
	case signed.Text() != statement.About(r.AsAsked(), signed.CA, v.Decision, v.Person, signed.Because).Finding(signed.Verdict).Text() || r.Digest != statement.Digest(r):
		return bad("what was signed is not what the request says")
	}
	good := vote{Vote: v, Good: true}
	if strings.HasPrefix(signature.Key.Type(), "sk-") {
		good.Token = "touch"
		if signature.Verified {
			good.Token = "touch and PIN"
		}
	}
	return good
}

// entry is what a page learns of a segment: not the text at its ends, which has passed no filter.
type entry struct {
	Segment  uint64          `json:"segment"`
	Begin    float64         `json:"begin"` // seconds
	End      float64         `json:"end"`
	Output   uint64          `json:"output"`
	Activity []uint32        `json:"activity,omitempty"` // bytes in each second
	Commands []index.Command `json:"commands,omitempty"`
	Files    []index.File    `json:"files,omitempty"`
	Forwards []index.Forward `json:"forwards,omitempty"`
	Marks    []index.Mark    `json:"marks,omitempty"`
	Lanes    []lane          `json:"lanes,omitempty"`
	Cut      bool            `json:"cut,omitempty"`
}

// lane is a channel that printed something people read.
type lane struct {
	Channel  uint32 `json:"channel"`
	Terminal bool   `json:"terminal,omitempty"`
}

func entryOf(e index.Entry) *entry {
	told := &entry{Segment: e.Segment, Begin: seconds(e.Begin), End: seconds(e.End), Output: e.Output, Activity: e.Activity, Commands: e.Commands, Files: e.Files,
		Forwards: e.Forwards, Marks: e.Marks, Cut: e.Cut}
	for _, l := range e.Lanes {
		told.Lanes = append(told.Lanes, lane{l.Channel, l.Terminal})
	}
	for _, s := range e.Sizes {
		told.Lanes = append(told.Lanes, lane{s.Channel, true})
	}
	return told
}

// news is a line of the stream of events: one of these.
type news struct {
	Entry *entry  `json:"entry,omitempty"`
	Again bool    `json:"again,omitempty"` // the entry takes the place of one that was told
	Index string  `json:"index,omitempty"` // "whole", or why it is not
	Proof *proof  `json:"proof,omitempty"`
	Long  float64 `json:"length,omitempty"`
}

// events streams the index, then how far the verification is, until there is no more to tell.
func (s *Server) events(w http.ResponseWriter, r *http.Request) {
	o, err := s.already(r.PathValue("id"))
	if err != nil {
		answer(func(*http.Request) (any, error) { return nil, err })(w, r)
		return
	}
	t := teller{lines: newLines(w), opening: o}
	for {
		now := o.state()
		if t.tell(now) != nil || now.proof.Checked || now.proof.Fault != "" && now.indexed {
			return
		}
		select {
		case <-now.changed:
		case <-r.Context().Done():
			return
		}
	}
}

// teller knows what it has told.
type teller struct {
	lines
	opening *opening
	entries int
	differ  int
	whole   bool
}

func (t *teller) tell(now state) error {
	for ; t.entries < len(now.entries); t.entries++ {
		if err := t.write(news{Entry: entryOf(now.entries[t.entries])}); err != nil {
			return err
		}
	}
	for ; t.differ < len(now.differ); t.differ++ {
		if err := t.write(news{Entry: entryOf(now.entries[now.differ[t.differ]]), Again: true}); err != nil {
			return err
		}
	}
	if now.indexed && !t.whole {
		t.whole = true
		if err := t.write(news{Index: wholeOr(now.lost), Long: seconds(t.opening.length())}); err != nil {
			return err
		}
	}
	return t.write(news{Proof: &now.proof})
}

func wholeOr(err error) string {
	if err != nil {
		return err.Error()
	}
	return "whole"
}
