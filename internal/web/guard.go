package web

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"html"
	"mime"
	"net/http"
	"strings"
	"sync/atomic"
)

// guard lets one browser in, and only pages of this server ask on its behalf.
//
// Other users of the machine, other programs and every page that the browser shows can reach 127.0.0.1. So who asks must hold a secret
// that came by the link; the link is worth nothing once it was used; the name asked for must be the address, or another name could be
// made to lead here; and a browser that says for which site it asks must say this one.
//
// A browser sends a cookie to every port of an address, and on another port somebody else may listen. So all of the page has a place that nobody
// guesses, and the cookie is for that place.
type guard struct {
	host   string // 127.0.0.1:PORT
	place  string // what every path begins with
	first  string // session to begin with
	token  string
	secret string
	used   *atomic.Bool
}

func newGuard(host, first string) guard {
	return guard{host: host, place: "/" + random(), first: first, token: random(), secret: random(), used: new(atomic.Bool)}
}

// random is 256 bits that nobody guesses.
func random() string {
	var b [32]byte
	rand.Read(b[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}

func (g guard) link() string { return "http://" + g.host + g.place + "/open/" + g.token }

// cookie is named after the port, so that two pages have two.
func (g guard) cookie() string {
	_, port, _ := strings.Cut(g.host, ":")
	return "postern-" + port
}

// policy is what the page may do: load what this server has, and compile the terminal, which is WebAssembly.
const policy = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; connect-src 'self'; img-src 'self'; font-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// mostAsked is a search through every session there is.
const mostAsked = 1 << 20

func (g guard) protect(next http.Handler) http.Handler {
	inside := http.StripPrefix(g.place, g.inside(next))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		head := w.Header()
		head.Set("Content-Security-Policy", policy)
		head.Set("Referrer-Policy", "no-referrer")
		head.Set("X-Content-Type-Options", "nosniff")
		head.Set("X-Frame-Options", "DENY")
		head.Set("Cache-Control", "no-store")
		head.Set("Cross-Origin-Opener-Policy", "same-origin")
		head.Set("Cross-Origin-Embedder-Policy", "require-corp")
		head.Set("Cross-Origin-Resource-Policy", "same-origin")
		head.Set("Permissions-Policy", "camera=(), microphone=(), geolocation=(), clipboard-read=()")
		if why := g.stranger(r); why != "" {
			http.Error(w, why, http.StatusForbidden)
			return
		}
		if r.URL.Path == "/favicon.ico" { // browsers ask for it wherever the page says that its icon is
			w.WriteHeader(http.StatusNoContent)
			return
		}
		if !strings.HasPrefix(r.URL.Path, g.place+"/") {
			http.Error(w, notTheBrowser, http.StatusUnauthorized)
			return
		}
		inside.ServeHTTP(w, r)
	})
}

const notTheBrowser = "This page is for the browser that opened the link which postern printed. Start postern replay --web again for another."

// inside is what is asked for at the page's place.
func (g guard) inside(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if token, ok := strings.CutPrefix(r.URL.Path, "/open/"); ok {
			g.enter(w, r, token)
			return
		}
		if !g.known(r) {
			http.Error(w, notTheBrowser, http.StatusUnauthorized)
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, mostAsked)
		next.ServeHTTP(w, r)
	})
}

// stranger says what is wrong with a request whoever makes it.
func (g guard) stranger(r *http.Request) string {
	origin, site := r.Header.Get("Origin"), r.Header.Get("Sec-Fetch-Site")
	switch {
	case r.Host != g.host:
		return "this server goes by its address only"
	case strings.Contains(r.URL.Path, ".."):
		return "no such place"
	case r.Method != http.MethodGet && r.Method != http.MethodPost:
		return "only GET and POST"
	case origin != "" && origin != "http://"+g.host:
		return "asked for by another site"
	case g.led(r): // the link knows what nobody guesses, so wherever it was clicked is well
	case site != "" && site != "same-origin" && (site != "none" || r.Method != http.MethodGet):
		return "asked for by another site; paste the link into the browser's address bar"
	case r.Method == http.MethodPost && origin == "":
		return "asked for by nobody"
	}
	if r.Method == http.MethodPost {
		if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
			return "only JSON"
		}
	}
	return ""
}

// led says whether a person is led to the link, in a tab of their own.
func (g guard) led(r *http.Request) bool {
	return r.Method == http.MethodGet && strings.HasPrefix(r.URL.Path, g.place+"/open/") &&
		r.Header.Get("Sec-Fetch-Mode") == "navigate" && r.Header.Get("Sec-Fetch-Dest") == "document"
}

// enter gives the secret for the token, once. It goes on from a page of ours, because a browser that came from elsewhere would not show the
// cookie yet.
func (g guard) enter(w http.ResponseWriter, r *http.Request, token string) {
	good := same(token, g.token) && r.Method == http.MethodGet
	if !good || !g.used.CompareAndSwap(false, true) {
		if good && g.known(r) { // the link again, in the browser that used it
			http.Redirect(w, r, g.place+"/", http.StatusSeeOther)
			return
		}
		http.Error(w, "This link works once, and not this time. Start postern replay --web again for another.", http.StatusForbidden)
		return
	}
	http.SetCookie(w, &http.Cookie{Name: g.cookie(), Value: g.secret, Path: g.place + "/", HttpOnly: true, SameSite: http.SameSiteStrictMode})
	where := g.place + "/"
	if sessionID.MatchString(g.first) {
		where += "#" + g.first
	}
	w.Header().Set("Content-Type", kinds[".html"])
	w.Write(Leading(where))
}

// Leading is a page that leads to a link. In a file that only its owner may read, it lets a browser be started without the link on a command
// line, which every user of a machine can see.
func Leading(link string) []byte {
	return []byte("<!doctype html><meta charset=utf-8><title>postern</title><meta http-equiv=refresh content=\"0;url=" + html.EscapeString(link) + "\">\n")
}

func (g guard) known(r *http.Request) bool {
	cookie, err := r.Cookie(g.cookie())
	return err == nil && same(cookie.Value, g.secret)
}

func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
