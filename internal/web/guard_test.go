package web

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"postern/recorder"
)

// visitor asks a server as some program or page would.
type visitor struct {
	t      *testing.T
	base   string
	cookie *http.Cookie
}

// welcome opens the link, as the browser that it is for.
func welcome(t *testing.T, link string) visitor {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := (&http.Client{Jar: jar}).Get(link)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		t.Fatalf("the link: %s", answer.Status)
	}
	where, _ := url.Parse(link)
	cookies := jar.Cookies(where)
	if len(cookies) != 1 {
		t.Fatalf("the link gave %d cookies", len(cookies))
	}
	base, _, _ := strings.Cut(link, "/open/")
	return visitor{t, base, cookies[0]}
}

// ask makes a request; change, if not nil, makes it another one.
func (v visitor) ask(method, path, body string, change func(*http.Request)) (int, http.Header, string) {
	v.t.Helper()
	r, err := http.NewRequest(method, v.base+path, strings.NewReader(body))
	if err != nil {
		v.t.Fatal(err)
	}
	if v.cookie != nil {
		r.AddCookie(v.cookie)
	}
	if method == http.MethodPost {
		r.Header.Set("Origin", "http://"+r.Host)
		r.Header.Set("Content-Type", "application/json")
	}
	if change != nil {
		change(r)
	}
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	answer, err := client.Do(r)
	if err != nil {
		v.t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	return answer.StatusCode, answer.Header, string(text)
}

func TestOnlyTheBrowserOfTheLink(t *testing.T) {
	w := newWorld(t)
	s := w.restore(t)
	link := w.serve(t, nil)
	v := welcome(t, link)
	stranger := visitor{t: t, base: v.base}
	elsewhere := visitor{t, v.base[:strings.LastIndexByte(v.base, '/')], v.cookie}
	set := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	open := `{"session":"` + s.ID + `"}`
	for _, attack := range []struct {
		name, method, path, body string
		who                      visitor
		change                   func(*http.Request)
		want                     int
	}{
		{"the list, as it should be", "GET", "/api/sessions", "", v, set("Sec-Fetch-Site", "same-origin"), 200},
		{"no cookie", "GET", "/api/sessions", "", stranger, nil, 401},
		{"no cookie, the page itself", "GET", "/", "", stranger, nil, 401},
		{"no cookie, a file of the page", "GET", "/page/main.js", "", stranger, nil, 401},
		{"the cookie, and not the page's place", "GET", "/", "", elsewhere, nil, 401},
		{"a guessed place", "GET", "/" + random() + "/api/sessions", "", elsewhere, nil, 401},
		{"another cookie", "GET", "/api/sessions", "", visitor{t, v.base, &http.Cookie{Name: v.cookie.Name, Value: random()}}, nil, 401},
		{"an empty cookie", "GET", "/api/sessions", "", visitor{t, v.base, &http.Cookie{Name: v.cookie.Name}}, nil, 401},
		{"the cookie of another port", "GET", "/api/sessions", "", visitor{t, v.base, &http.Cookie{Name: "postern-1", Value: v.cookie.Value}}, nil, 401},
		{"the link a second time, by another", "GET", strings.TrimPrefix(link, v.base), "", stranger, nil, 403},
		{"the link a second time, by the same", "GET", strings.TrimPrefix(link, v.base), "", v, nil, 303},
		{"a guessed link", "GET", "/open/" + random(), "", stranger, nil, 403},
		{"an empty link", "GET", "/open/", "", stranger, nil, 403},
		{"the link, for another name", "GET", strings.TrimPrefix(link, v.base), "", v, func(r *http.Request) { r.Host = "evil.example" }, 403},
		{"another name, which leads here", "GET", "/api/sessions", "", v, func(r *http.Request) { r.Host = "evil.example" }, 403},
		{"localhost, which other programs may name", "GET", "/api/sessions", "", v, func(r *http.Request) { r.Host = "localhost" + r.Host[strings.Index(r.Host, ":"):] }, 403},
		{"no port", "GET", "/api/sessions", "", v, func(r *http.Request) { r.Host = "127.0.0.1" }, 403},
		{"another site's page", "GET", "/api/sessions", "", v, set("Sec-Fetch-Site", "cross-site"), 403},
		{"another port's page", "GET", "/api/sessions", "", v, set("Sec-Fetch-Site", "same-site"), 403},
		{"another origin", "GET", "/api/sessions", "", v, set("Origin", "http://evil.example"), 403},
		{"an origin that has none", "POST", "/api/open", open, v, set("Origin", "null"), 403},
		{"a form of another site", "POST", "/api/open", open, v, set("Sec-Fetch-Site", "cross-site"), 403},
		{"an address typed as a form", "POST", "/api/open", open, v, set("Sec-Fetch-Site", "none"), 403},
		{"a POST from nowhere", "POST", "/api/open", open, v, func(r *http.Request) { r.Header.Del("Origin") }, 403},
		{"a form", "POST", "/api/open", open, v, set("Content-Type", "text/plain"), 403},
		{"a form that looks like JSON", "POST", "/api/open", open, v, set("Content-Type", "application/x-www-form-urlencoded; application/json"), 403},
		{"PUT", "PUT", "/api/open", open, v, nil, 403},
		{"OPTIONS before another site's POST", "OPTIONS", "/api/open", "", v, set("Origin", "http://evil.example"), 403},
		{"HEAD", "HEAD", "/", "", v, nil, 403},
		{"opening by GET", "GET", "/api/open", "", v, nil, 405},
		{"the licence of the player", "GET", "/page/LICENSE", "", v, nil, 200},
		{"a path outside", "GET", "/page/..%2f..%2fweb.go", "", v, nil, 403},
		{"a path outside, plainly", "GET", "/page/../../etc/passwd", "", v, nil, 403},
		{"a file of the directory that is no part of the page", "GET", "/page/README.md", "", v, nil, 404},
		{"a directory", "GET", "/page/", "", v, nil, 404},
		{"more than anybody asks", "POST", "/api/open", `{"session":"` + strings.Repeat("S", mostAsked) + `"}`, v, nil, 413},
		{"no JSON", "POST", "/api/open", "session=S-1", v, nil, 400},
		{"two questions", "POST", "/api/open", open + open, v, nil, 400},
		{"a member that is none", "POST", "/api/open", `{"session":"S-1","path":"/etc"}`, v, nil, 400},
		{"an ID that is an option", "POST", "/api/open", `{"session":"--reason"}`, v, nil, 404},
		{"an ID with a path", "POST", "/api/open", `{"session":"../S-1"}`, v, nil, 400},
		{"a session that is not there", "POST", "/api/open", `{"session":"S-NONE"}`, v, nil, 404},
		{"output of a session that nobody opened", "GET", "/api/session/" + s.ID + "/output?channel=0&at=0", "", v, nil, 404},
		{"events of a session that nobody opened", "GET", "/api/session/" + s.ID + "/events", "", v, nil, 404},
	} {
		status, header, text := attack.who.ask(attack.method, attack.path, attack.body, attack.change)
		if status != attack.want {
			t.Errorf("%s: %d, want %d: %.200s", attack.name, status, attack.want, text)
		}
		if status != 200 && strings.Contains(text, "alice") {
			t.Errorf("%s: told of a session: %.200s", attack.name, text)
		}
		if header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: let in by CORS", attack.name)
		}
		for name, want := range map[string]string{"Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store",
			"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin", "Content-Security-Policy": policy} {
			if got := header.Get(name); got != want {
				t.Errorf("%s: %s is %q", attack.name, name, got)
			}
		}
	}
	if views := w.opened(); len(views) > 0 {
		t.Errorf("attacks opened %v", views)
	}
}

func TestTheCookieStaysHere(t *testing.T) {
	w := newWorld(t)
	link := w.serve(t, nil)
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	answer, err := client.Get(link)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	cookie := answer.Header.Get("Set-Cookie")
	base, _, _ := strings.Cut(link, "/open/")
	where, _ := url.Parse(base)
	for _, want := range []string{"HttpOnly", "SameSite=Strict", "Path=" + where.Path + "/"} {
		if !strings.Contains(cookie, want) {
			t.Errorf("the cookie %q is not %s", cookie, want)
		}
	}
	if _, token, _ := strings.Cut(link, "/open/"); len(token) != 43 || strings.Contains(cookie, token) {
		t.Errorf("the link %s has %d letters, and the cookie is %q", link, len(token), cookie)
	}
	if host, _, err := net.SplitHostPort(where.Host); err != nil || host != "127.0.0.1" {
		t.Errorf("it listens on %s", where.Host)
	}
}

// A browser keeps the ports of an address apart for pages, and not for cookies: whoever serves something on another port of this machine is told none.
func TestAnotherPortIsToldNoSecret(t *testing.T) {
	link := newWorld(t).serve(t, nil)
	told := make(chan []*http.Cookie, 1)
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { told <- r.Cookies() }))
	defer other.Close()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	client := http.Client{Jar: jar}
	for _, where := range []string{link, link, other.URL, other.URL + "/api/sessions"} { // the link leads the browser that used it to the page
		answer, err := client.Get(where)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			t.Errorf("%s: %s", where, answer.Status)
		}
		if len(told) > 0 {
			if cookies := <-told; len(cookies) > 0 {
				t.Errorf("another port was told %v", cookies)
			}
		}
	}
}

// A link that a page of another site asks for is not used up by it. One that somebody clicked there is good.
func TestWhereALinkIsClicked(t *testing.T) {
	link := newWorld(t).serve(t, nil)
	for _, test := range []struct {
		mode, dest string
		want       int
	}{{"no-cors", "image", 403}, {"cors", "empty", 403}, {"navigate", "iframe", 403}, {"navigate", "document", 200}, {"navigate", "document", 403}} {
		r, _ := http.NewRequest("GET", link, nil)
		r.Header.Set("Sec-Fetch-Site", "cross-site")
		r.Header.Set("Sec-Fetch-Mode", test.mode)
		r.Header.Set("Sec-Fetch-Dest", test.dest)
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != test.want {
			t.Errorf("%s %s: %s", test.mode, test.dest, answer.Status)
		}
	}
}

// What is asked of a session opens it once, and that stands before anything of it is told.
func TestOpeningIsAView(t *testing.T) {
	w := newWorld(t)
	s := w.restore(t)
	v := welcome(t, w.serve(t, nil))
	for range 2 {
		status, _, text := v.ask("POST", "/api/open", `{"session":"`+s.ID+`"}`, nil)
		if status != http.StatusOK || !strings.Contains(text, "encounter table must be restored") {
			t.Fatalf("%d %s", status, text)
		}
	}
	if views := w.opened(); !slices.Equal(views, []string{s.ID}) {
		t.Errorf("views: %v", views)
	}
	if v.ask("POST", "/api/open", `{"session":"`+s.ID+`","again":true}`, nil); len(w.opened()) != 2 {
		t.Errorf("views after opening again: %v", w.opened())
	}
}

// pieces is all that a page is given of a channel, from a moment on.
func (v visitor) pieces(t *testing.T, id, query string) (all []piece) {
	t.Helper()
	for {
		status, _, text := v.ask("GET", "/api/session/"+id+"/output?channel=0&"+query, "", nil)
		var p piece
		if err := json.Unmarshal([]byte(text), &p); err != nil || status != http.StatusOK {
			t.Fatalf("%s: %d %v %.200s", query, status, err, text)
		}
		all = append(all, p)
		if p.Whole {
			return all
		}
		query = "segment=" + number10(p.Next)
	}
}

func number10(n uint64) string { b, _ := json.Marshal(n); return string(b) }

func TestOutputIsWholeInPieces(t *testing.T) {
	w := newWorld(t)
	s := w.hours(t)
	v := welcome(t, w.serve(t, nil))
	v.ask("POST", "/api/open", `{"session":"`+s.ID+`"}`, nil)
	var out strings.Builder
	last := -1.0
	for _, p := range v.pieces(t, s.ID, "segment=0") {
		for _, e := range p.Events {
			if at := e[0].(float64); at < last {
				t.Fatalf("%v comes after %f", e, last)
			} else {
				last = at
			}
			if e[1] == "o" {
				out.WriteString(e[2].(string))
			}
		}
	}
	for minute := range 180 {
		if want := "INFO:  minute " + string([]byte{'0' + byte(minute/100), '0' + byte(minute/10%10), '0' + byte(minute%10)}) + " line 119"; !strings.Contains(out.String(), want) {
			t.Fatalf("the output has no %q", want)
		}
	}
}

func TestIdleEnds(t *testing.T) {
	w := newWorld(t)
	config := w.config()
	config.Idle = time.Millisecond
	server, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Serve(context.Background(), func(string) {}); !errors.Is(err, ErrIdle) {
		t.Errorf("it ended with %v", err)
	}
}

// What a segment that was altered holds is not told; what is good of the recording is, and the fault has a name.
func TestAltered(t *testing.T) {
	w := newWorld(t)
	s := w.hours(t)
	w.spoilt[s.ID] = 3
	v := welcome(t, w.serve(t, nil))
	v.ask("POST", "/api/open", `{"session":"`+s.ID+`"}`, nil)
	_, _, text := v.ask("GET", "/api/session/"+s.ID+"/events", "", nil)
	if !strings.Contains(text, `"fault":`) || !strings.Contains(text, "altered") || strings.Contains(text, `"checked":true`) {
		t.Errorf("events: %.600s", text[max(0, len(text)-600):])
	}
	if status, _, text := v.ask("GET", "/api/session/"+s.ID+"/output?channel=0&segment=3", "", nil); status != http.StatusOK || strings.Contains(text, "minute") {
		t.Errorf("segment 3: %d %.200s", status, text)
	}
	if status, _, _ := v.ask("GET", "/api/session/"+s.ID+"/output?channel=0&segment=1", "", nil); status != http.StatusOK {
		t.Errorf("segment 1: %d", status)
	}
}

// A recording that is not what was logged says so at once.
func TestNotAsLogged(t *testing.T) {
	w := newWorld(t)
	s := w.restore(t)
	w.sessions[0].SealedHead = strings.Repeat("ab", 32)
	v := welcome(t, w.serve(t, nil))
	_, _, text := v.ask("POST", "/api/open", `{"session":"`+s.ID+`"}`, nil)
	var d description
	if err := json.NewDecoder(bytes.NewReader([]byte(text))).Decode(&d); err != nil || d.Outline.Logged == "" {
		t.Errorf("%v: %.300s", err, text)
	}
}

// What was typed, a password among it, leaves the process only where that was asked for.
func TestTypedOnlyWhenAsked(t *testing.T) {
	w := newWorld(t)
	k := w.record(t, "S-TYPED00001", "alice", "postgres@ehr-db-1", monday)
	k.terminal(0, 80, 24)
	k.print(0, "Password: ")
	k.wait(time.Second).add(recorder.Frame{Type: recorder.TypeData, Stream: recorder.Stdin, Data: []byte("hunter2\r")})
	k.exec(1, "cat > notes")
	k.add(recorder.Frame{Type: recorder.TypeData, Channel: 1, Stream: recorder.Stdin, Data: []byte("hunter2\n")})
	s := k.wait(time.Second).end("closed")
	w.asked(t, s, "a password", "bob")
	for _, asked := range []bool{false, true} {
		v := welcome(t, w.serve(t, func(c *Config) { c.Keystrokes = asked }))
		_, _, all := v.ask("POST", "/api/open", `{"session":"`+s.ID+`"}`, nil)
		for _, path := range []string{"/events", "/output?channel=0&at=0", "/output?channel=0&segment=0", "/output?channel=1&segment=0"} {
			_, _, text := v.ask("GET", "/api/session/"+s.ID+path, "", nil)
			all += text
		}
		_, _, text := v.ask("POST", "/api/search", `{"pattern":"hunter","sessions":["`+s.ID+`"],"in":[]}`, nil)
		if typed := strings.Contains(all, "hunter2"); typed != asked || strings.Contains(text, "hunter2") {
			t.Errorf("asked for: %v, told: %v, found: %s", asked, typed, text)
		}
	}
}
