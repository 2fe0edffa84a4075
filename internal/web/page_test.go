package web

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"postern/recorder"
)

// An auditor looks for a session, watches it and goes where things happened, with the mouse.
func TestPage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.restore(t)
	w.hours(t)
	w.others(t)
	b := newBrowser(t)
	link := w.serve(t, nil)
	b.prefers("light")
	b.open(link)
	b.sees(".total", "6 sessions")
	b.shot("list-light")
	if views := w.opened(); len(views) > 0 {
		t.Errorf("the list opened %v", views)
	}

	b.filters()
	b.click(`a.row[href="#` + s.ID + `"]`)
	b.sees(".badge", "verified")
	b.sees(".reason", "encounter table must be restored")
	b.sees(".approvals", "dora")
	b.sees("#tab-commands", "9")
	b.shot("session-light")

	b.click(".start")
	b.until(`Number(document.querySelector(".timeline").getAttribute("aria-valuenow")) > 1.2`)
	b.click(".controls .main")
	at := b.time()
	b.until(`document.querySelector(".controls .main").getAttribute("aria-label").startsWith("Play")`)
	if got := b.screen(); !strings.Contains(got, "Linux ehr-db-1") {
		t.Errorf("after %.1f s the screen is\n%s", at, got)
	}

	b.js(`[...document.querySelectorAll(".things .thing")].find((x) => x.innerText.includes("pg_restore")).click()`)
	b.until(`Math.abs(Number(document.querySelector(".timeline").getAttribute("aria-valuenow")) - 153.3) < 1`)
	b.until(`document.querySelector(".ap-term-text").textContent.includes("pg_restore")`)
	b.sees(".thing.now", "pg_restore")
	b.shot("session-command-light")

	// In the middle of the timeline is what was printed by then: the end of the restore.
	b.js(`(() => { const box = document.querySelector(".timeline").getBoundingClientRect(); window.middle = [box.left + box.width / 2, box.top + 70]; })()`)
	var x, y float64
	fmt.Sscan(strings.ReplaceAll(b.js("middle"), ",", " "), &x, &y)
	b.do(chromedp.MouseClickXY(x, y))
	b.until(`Math.abs(Number(document.querySelector(".timeline").getAttribute("aria-valuenow")) - 170.5) < 2`)
	if got := b.screen(); !strings.Contains(got, "encounter_updated_idx") {
		t.Errorf("in the middle the screen is\n%s", got)
	}

	b.panels()
	b.click(".back")
	b.sees(".total", "6 sessions")
	b.everythingFromHere(link)
}

// filters narrows the list of all six and takes that back.
func (b *browser) filters() {
	b.t.Helper()
	b.do(chromedp.SendKeys(chromedp.CSS(".list .field"), "alice ehr-db-1"))
	b.sees(".total", "1 of 6")
	b.keys(kb.Escape + "no such")
	b.sees(".empty", "No session is like that")
	b.shot("list-empty-light")
	b.click(".empty .button")
	b.sees(".total", "6 sessions")
	b.js(`(() => { const s = document.querySelector("select[aria-label='How it ended']"); s.value = "cut"; s.dispatchEvent(new Event("change")); })()`)
	b.sees(".total", "2 of 6")
	b.js(`(() => { const s = document.querySelector("select[aria-label='Person']"); s.value = "mallory"; s.dispatchEvent(new Event("change")); })()`)
	b.sees(".total", "1 of 6")
	b.js(`(() => { for (const n of ["Person", "How it ended"]) { const s = document.querySelector("select[aria-label='" + n + "']"); s.selectedIndex = 0; s.dispatchEvent(new Event("change")); } })()`)
	b.sees(".total", "6 sessions")
}

// panels looks at each panel of the session, and searches it.
func (b *browser) panels() {
	b.t.Helper()
	for tab, want := range map[string]string{"files": "encounter-check.csv", "forwards": "localhost:5432", "request": "dba-on-ehr", "verification": "Read to the last frame"} {
		b.click("#tab-" + tab)
		b.sees("#panel", want)
	}
	b.click("#tab-request")
	b.click(".decision summary")
	b.sees(".decision", "signature verified here")
	b.sees(".decision", "BEGIN SSH SIGNATURE")
	b.shot("request-light")
	b.click("#tab-files")
	b.js(`[...document.querySelectorAll(".things .thing")].find((x) => x.innerText.includes("/etc/shadow")).click()`)
	b.sees(".thing.now", "/etc/shadow")

	b.do(chromedp.SendKeys(chromedp.CSS(".side .field"), "duplicate key"+kb.Enter))
	b.sees(".found", "1 / 1")
	b.until(`document.querySelector(".ap-term-text").textContent.includes("duplicate key")`)
	b.shot("hit-light")
}

// everythingFromHere makes sure that nothing was loaded from anywhere else.
func (b *browser) everythingFromHere(link string) {
	b.t.Helper()
	base, _, _ := strings.Cut(link, "/open/")
	b.mu.Lock()
	defer b.mu.Unlock()
	icon := base[:strings.LastIndexByte(base, '/')] + "/favicon.ico" // whatever the page says, some browsers ask for it
	for _, address := range b.asked {
		if !strings.HasPrefix(address, base+"/") && address != "about:blank" && address != icon {
			b.t.Errorf("the page loaded %s", address)
		}
	}
}

// All of it works without a mouse.
func TestKeyboard(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.restore(t)
	w.others(t)
	b := newBrowser(t)
	b.prefers("dark")
	b.open(w.serve(t, nil))
	b.sees(".total", "5 sessions")
	b.keys("?")
	b.sees("dialog", "5 seconds")
	b.shot("help-dark")
	b.keys(kb.Escape)
	b.until(`!document.querySelector("dialog")`)
	b.keys("jjj")
	b.sees(".row:focus", "alice")
	b.keys("/zzz" + kb.Escape + kb.Escape)
	b.sees(".total", "5 sessions")
	b.keys("/alice" + kb.Enter)
	b.sees(".badge", "verified")
	b.sees("#tab-files", "4")
	if got := b.js("location.hash"); got != "#"+s.ID {
		t.Errorf("Enter led to %s", got)
	}
	b.keys(" ")
	b.until(`Number(document.querySelector(".timeline").getAttribute("aria-valuenow")) > 0.5`)
	b.keys(" ")
	b.until(`document.querySelector(".controls .main").getAttribute("aria-label").startsWith("Play")`)
	b.keys("]]]]")
	b.until(`Math.abs(Number(document.querySelector(".timeline").getAttribute("aria-valuenow")) - 120) < 2`)
	b.keys("[")
	b.until(`Math.abs(Number(document.querySelector(".timeline").getAttribute("aria-valuenow")) - 23) < 2`)
	b.keys(kb.ArrowRight + kb.ArrowRight)
	b.until(`Math.abs(Number(document.querySelector(".timeline").getAttribute("aria-valuenow")) - 33) < 2`)
	b.keys("f")
	b.until(`Number(document.querySelector(".timeline").getAttribute("aria-valuenow")) > 170`)
	b.keys("2")
	b.sees(".thing.now", "restore.sql")
	b.shot("files-dark")
	b.keys("4")
	b.sees("#panel", "Decisions")
	b.shot("request-dark")
	b.keys("5")
	b.sees("#panel", "Signed by the bastion")
	b.keys("1>>")
	b.until(`document.querySelector(".controls select").value === "2"`)
	b.keys("i")
	b.until(`document.querySelector(".toggle").getAttribute("aria-pressed") === "false"`)
	b.keys("c")
	b.sees(".transcript", "Permission denied")
	b.shot("exec-dark")
	b.keys("c")
	b.sees(".log", "encounter-check.csv")
	b.shot("happened-dark")
	b.keys("c")
	b.keys("/encounter" + kb.Enter)
	b.until(`/^1 \/ \d+$/.test(document.querySelector(".found").innerText) || /^\d+ \/ \d+$/.test(document.querySelector(".found").innerText)`)
	first := b.text(".found")
	b.keys(kb.Escape)
	b.keys("/encounter" + kb.Enter)
	b.until(`/ \/ /.test(document.querySelector(".found").innerText)`)
	b.js(`document.activeElement.blur()`)
	b.keys("n")
	b.until(fmt.Sprintf(`document.querySelector(".found").innerText !== %q`, first))
	b.shot("hits-dark")
	b.keys("t")
	b.until(`document.documentElement.dataset.theme === "light"`)
	b.keys(kb.End)
	b.until(`Number(document.querySelector(".timeline").getAttribute("aria-valuenow")) > 330`)
	b.sees(".time", "5:4")
	b.keys(kb.Escape + kb.Escape)
	b.sees(".total", "5 sessions")
}

// A search across sessions is one view, and a hit leads to its moment.
func TestSearchAcross(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.restore(t)
	w.hours(t)
	w.others(t)
	b := newBrowser(t)
	b.prefers("light")
	b.open(w.serve(t, nil))
	b.do(chromedp.SendKeys(chromedp.CSS(".list .field"), "no such"))
	b.sees(".total", "0 of 6")
	b.click(`nav a[href="#search"]`)
	b.sees(".scope", "those that the list shows with its filters")
	b.keys("pkey" + kb.Enter)
	b.sees(".total", "There is no session to search")
	b.click(".scope .link")
	b.sees(".scope", "In 6 sessions. Each")
	b.js(`document.querySelector(".search .field").select()`)
	b.js(`document.querySelector(".search .field").focus()`)
	b.shot("search-empty-light")
	b.keys("encounter_pkey|batch-0[24]|health checks" + kb.Enter)
	b.sees(".total", "in 3 sessions")
	b.shot("search-light")
	if len(w.searched) != 6 || len(w.opened()) > 0 {
		t.Errorf("searched %v, opened %v", w.searched, w.opened())
	}
	b.js(`[...document.querySelectorAll("a.thing")].find((x) => x.innerText.includes("duplicate key")).click()`)
	b.until(`document.querySelector(".ap-term-text")?.textContent.includes("duplicate key")`)
	if got := b.js("location.hash"); !strings.HasPrefix(got, "#"+s.ID+"@") {
		t.Errorf("the hit led to %s", got)
	}
	b.do(chromedp.NavigateBack())
	b.sees(".results", "health checks")
	b.js(`document.querySelector(".search .field").select()`)
	b.keys("(unclosed" + kb.Enter)
	b.sees(".total", "missing closing )")
	b.expected("400")
}

// Every kind of session has a page, in both themes and at every width.
func TestEveryKind(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.restore(t)
	w.others(t)
	running := w.live(t)
	b := newBrowser(t)
	b.prefers("dark")
	b.open(w.serve(t, nil))
	b.sees(".total", "1 running now")
	b.shot("list-dark")
	for id, want := range map[string]string{"S-EXEC4MGZRT": "unpacking layer", "S-F1LESXFER0": "batch-05.zip", "S-REV0KED777": "revoked", "S-N0TH1NG0NE": "closed", "S-L1VE0NE222": "verified so far"} {
		b.js(fmt.Sprintf("location.hash = %q", id))
		b.sees(".facts", id)
		b.sees(".badge", "verified")
		b.sees("main", want)
		b.shot("kind-" + id + "-dark")
	}
	b.js(`location.hash = "S-L1VE0NE222"`)
	b.sees(".facts", "load again")
	for _, width := range []int64{1280, 1010, 380} {
		b.size(width, 800)
		if got := b.js(`document.querySelector(".because").clientWidth >= 240 && document.documentElement.scrollWidth <= innerWidth`); got != "true" {
			t.Errorf("%d wide there is no room for the reason of a session that runs", width)
		}
		b.shot(fmt.Sprint("live-", width))
	}
	b.size(1280, 800)
	before := b.text(".time")
	for i := range 4200 {
		running.wait(10*time.Millisecond).print(0, fmt.Sprint(i))
	}
	running.settle(2)
	b.click(".facts .link")
	b.until(fmt.Sprintf(`document.querySelector(".time") && document.querySelector(".time").innerText !== %q`, before))
	for _, width := range []int64{800, 380} {
		b.size(width, 900)
		for _, hash := range []string{"S-8CHQ2M7KXA", ""} {
			b.js(fmt.Sprintf("location.hash = %q", hash))
			b.until(`document.querySelector(".badge-good, .rows")`)
			if wide := b.js(`document.documentElement.scrollWidth`); wide != fmt.Sprint(width) {
				t.Errorf("%q is %s wide in a window of %d", hash, wide, width)
			}
			b.shot(fmt.Sprint("narrow-", width, "-", hash))
		}
	}
	b.size(1600, 1000)
	b.js(`location.hash = "S-8CHQ2M7KXA"`)
	b.sees(".badge", "verified")
	b.shot("wide-dark")
	b.js(`location.hash = "S-NONE"`)
	b.sees(".fault", "there is no session")
	b.expected("404")
	b.shot("fault-dark")
}

// A bastion that keeps quiet about a file in its index is found out when the frames are read, and what they say is shown.
func TestIndexThatLies(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	k := w.record(t, liar, "erin", "backup@phi-store-1", monday)
	k.channel(0)
	k.request(0, "subsystem", struct{ Text string }{"sftp"})
	k.wait(time.Second).event(0, recorder.EventFile, recorder.File{Number: 1, Protocol: "sftp", Path: "/srv/phi/everything.tar", Access: "read",
		Read: &recorder.Transfer{Bytes: 1 << 30, End: true}, Keep: "hash", Status: "ok"})
	w.asked(t, k.wait(time.Second).end("closed"), "a backup", "bob")
	b := newBrowser(t)
	b.prefers("light")
	b.open(w.serve(t, func(c *Config) { c.First = liar }))
	b.sees(".badge", "verified")
	b.sees("#tab-files", "1")
	b.click("#tab-files")
	b.sees("#panel", "/srv/phi/everything.tar")
	b.click("#tab-verification")
	b.sees("#panel", "index said something else")
	b.shot("liar-light")
}

// A recording that was altered says so before anything else, and what is good of it is still there to see.
func TestAlteredPage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.hours(t)
	w.spoilt[s.ID] = 5
	b := newBrowser(t)
	b.prefers("light")
	b.open(w.serve(t, func(c *Config) { c.First = s.ID }))
	b.sees(".badge-bad", "does not verify")
	b.sees(".warning", "Do not rely on this")
	b.js(fmt.Sprintf(`location.hash = "%s@60"`, s.ID))
	b.until(`document.querySelector(".ap-term-text")?.textContent.includes("minute 000 line 119")`)
	archive, err := w.open(t.Context(), s.ID)
	if err != nil {
		t.Fatal(err)
	}
	b.js(fmt.Sprintf(`location.hash = "%s@%.0f"`, s.ID, archive.Parts()[6].End.Seconds()-1)) // it begins with the end of segment 5
	b.until(`/minute 17\d/.test(document.querySelector(".ap-term-text")?.textContent)`)
	b.sees(".warning", "the body of segment 5 is not the one that was signed")
	b.click(".badge")
	b.sees("#panel", "Altered")
	b.shot("altered-light")
}

// A recording that ends before what was logged is shown as far as it goes, under a warning over everything.
func TestDamagedPage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.restore(t)
	b := newBrowser(t)
	b.prefers("light")
	b.open(w.serve(t, func(c *Config) {
		c.First = s.ID
		c.Open = func(ctx context.Context, id string) (*recorder.Archive, error) {
			archive, err := w.open(ctx, id)
			return archive, cmp.Or(err, fmt.Errorf("the recording of %s does not verify: cut short: it has 2 segments, and 3 were logged", id))
		}
	}))
	b.sees(".warning", "Do not rely on this: the recording of "+s.ID+" does not verify: cut short")
	b.sees(".badge-bad", "does not verify")
	b.sees("#panel", "psql")
	b.click(".badge")
	b.sees("#panel", "Only a part of it is here")
	b.shot("damaged-light")
	b.prefers("dark")
	b.shot("damaged-dark")
}

// A browser that is started with a file comes in, and so does a second tab of it; another browser does not.
func TestStartedWithAFile(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.restore(t)
	link := w.serve(t, func(c *Config) { c.First = s.ID })
	file := filepath.Join(t.TempDir(), "open.html")
	if err := os.WriteFile(file, Leading(link), 0o600); err != nil {
		t.Fatal(err)
	}
	b := newBrowser(t)
	b.do(chromedp.Navigate("file://" + file))
	b.until(`document.querySelector(".session .badge")`)
	b.sees(".facts", s.ID)
	base, _, _ := strings.Cut(link, "/open/")
	b.open(base + "/")
	b.sees(".total", "1 session")
	stranger := newBrowser(t)
	stranger.do(chromedp.Navigate(link))
	stranger.sees("body", "works once, and not this time")
	stranger.expected("403")
	stranger.do(chromedp.Navigate(base + "/"))
	stranger.sees("body", "for the browser that opened the link")
	stranger.expected("401")
}
