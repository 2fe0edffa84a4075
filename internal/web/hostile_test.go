package web

import (
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"postern/internal/control"
	"postern/recorder"
)

// What anybody but us could make run in a page, if it were ever taken for anything but text.
var hostile = []string{
	`<script>window.canary="script"</script>`,
	`"><img src=x onerror="window.canary='img'">`,
	`'><svg/onload=window.canary='svg'>`,
	`</title></textarea></style></script><script>window.canary='close'</script>`,
	`javascript:window.canary='url'`,
	"${window.canary='template'}{{constructor.constructor('window.canary=1')()}}",
	"\u202egnp.exe\u202c \u2066rtl\u2069 \u200bzero\u00adsoft\ufeff \U000e0041tag",
	"\x1b]0;title\x07\x1b]52;c;aGk=\x07\x1b[5n\x1b[c\x1bP$q\"p\x1b\\\x1b[>c\x1b]8;;javascript:window.canary='link'\x07link\x1b]8;;\x07\x9d0;c1\x9c",
	"\x1b[999999999b\x1b[999999999@\x1b[2147483647L\x1b[9999;9999H\x1b[99999999X\x1b#8",
	"a\x00b\x08\x7f\xff\xfe\xc0\xaf\xed\xa0\x80 \u2028 \u2029",
}

// hostile is a session in which everything that a host, an admin, an approver or the CA can say attacks the page.
func (w *world) hostile(t testing.TB) control.Session {
	all := strings.Join(hostile, " ")
	k := w.record(t, "S-HOST1LE666", `<b onmouseover=alert(1)>eve`, `<i>root@"><script>window.canary="host"</script>`, monday)
	k.session.Client, k.session.Bastion, k.session.Request = hostile[1], "bastion-1", `R-"><img onerror=x>`
	k.terminal(0, 4294967295, 4294967295)
	k.request(0, "window-change", struct{ Columns, Rows, Width, Height uint32 }{90, 20, 0, 0})
	for _, text := range hostile {
		k.wait(1e8).print(0, text+"\r\n")
		k.typed(0, strings.NewReplacer("\x1b", "", "\r", "", "\n", "").Replace(text), all)
	}
	k.print(0, "the last line")
	k.exec(1, all)
	k.print(1, all+"\n")
	k.complain(1, all+"\n")
	k.channel(2)
	k.request(2, "subsystem", struct{ Text string }{all})
	k.event(2, recorder.EventProtocol, recorder.Protocol{Name: all})
	k.event(2, recorder.EventFile, recorder.File{Number: 1, Protocol: all, Path: all, Access: "read", Read: &recorder.Transfer{Bytes: 1 << 63, SHA256: all}, Status: all})
	k.event(2, recorder.EventOperation, recorder.Operation{Number: 2, Name: all, Path: all, To: all, Status: all, Denied: true})
	k.event(3, recorder.EventForward, recorder.Forward{Kind: all, To: all, From: all, Why: all, Denied: true})
	k.note(all)
	k.add(recorder.Frame{Type: recorder.TypeExit, Channel: 1, Data: recorder.Exit{Signal: all}.Marshal()})
	s := k.wait(1e9).end(all)
	w.asked(t, s, all, all, "bob")
	r := w.requests[s.Request]
	r.Notes, r.Rules, r.Destinations, r.Capabilities = hostile, hostile, hostile, hostile
	r.Votes[1].Signature = all
	w.requests[s.Request] = r
	return s
}

// Nothing of a recording runs, and nothing of it hides.
func TestHostile(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.hostile(t)
	w.sessions[0].End = strings.Join(hostile, " ")
	b := newBrowser(t)
	b.prefers("light")
	link := w.serve(t, func(c *Config) { c.Who, c.Reason = hostile[0], strings.Join(hostile, " ") })
	b.open(link)
	b.sees(".rows", "onmouseover")
	b.shot("hostile-list")
	b.click("a.row")
	b.sees(".badge", "verified")
	b.js(`location.hash = "S-HOST1LE666@14"`)
	b.until(`document.querySelector(".ap-term-text")`)
	for _, tab := range []string{"files", "forwards", "request", "verification", "commands"} {
		b.click("#tab-" + tab)
		b.js(`document.querySelectorAll("details").forEach((d) => { d.open = true; })`)
		b.js(`document.querySelectorAll(".thing").forEach((x) => x.click())`)
		b.shot("hostile-" + tab)
	}
	for range 4 {
		b.keys("c")
		b.js(`document.querySelector(".timeline").dispatchEvent(new PointerEvent("pointermove", { clientX: 400, clientY: 700 }))`)
		b.shot("hostile-channel-" + b.js(`document.querySelector(".channels [aria-selected=true]").innerText.slice(0, 8).replace(/[^a-z]/g, "")`))
	}
	b.do(chromedp.SendKeys(chromedp.CSS(".side .field"), "canary\r"))
	b.until(`/ \/ /.test(document.querySelector(".found").innerText)`)
	b.shot("hostile-hits")
	for expression, want := range map[string]string{
		"window.canary":                           "undefined",
		"document.scripts.length":                 "3",
		`document.querySelectorAll("img").length`: "1", // the door of the brand
		`document.querySelectorAll("b[onmouseover], i, a[href^='javascript' i], [onload], [onerror], iframe, object").length`: "0",
		`/[\u202a-\u202e\u2066-\u2069\u200b\ufeff]/.test(document.body.innerText)`:                                            "false",
		`document.title`: "postern · S-HOST1LE666",
	} {
		if got := b.js(expression); got != want {
			t.Errorf("%s is %s, want %s", expression, got, want)
		}
	}
	b.everythingFromHere(link)
}

// The policy holds also if something of ours were wrong: a script that is put into the page does not run.
func TestPolicyHolds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := newBrowser(t)
	b.open(w.serve(t, nil))
	b.js(`(() => {
		document.body.insertAdjacentHTML("beforeend", "<img src=x onerror='window.canary=1'><div style='position:fixed'></div>");
		const s = document.createElement("script");
		s.textContent = "window.canary = 2";
		document.body.append(s);
		fetch("http://127.0.0.1:1/").catch(() => {});
		setTimeout(() => { try { eval("window.canary = 3"); } catch (e) { window.refused = e.name; } });
	})()`)
	b.until(`document.querySelector("img[src=x]").complete && window.refused === "EvalError"`)
	if got := b.js("window.canary"); got != "undefined" {
		t.Errorf("a script of kind %s ran", got)
	}
	for _, part := range []string{"inline event handler", "inline script", "inline style", "http://127.0.0.1:1/"} {
		b.expected(part)
	}
	b.mu.Lock()
	b.complaints = nil
	b.mu.Unlock()
}
