package web

import (
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

func TestLook(t *testing.T) {
	w := newWorld(t)
	w.restore(t)
	w.hours(t)
	w.others(t)
	w.live(t)
	link := w.serve(t, nil)
	b := newBrowser(t)
	b.prefers("light")
	b.do(chromedp.Navigate(link))
	b.sees(".rows", "alice")
	b.shot("list-light")
	b.prefers("dark")
	b.shot("list-dark")
	b.js(`location.hash = "S-8CHQ2M7KXA"`)
	b.sees(".badge", "verified")
	b.js(`document.querySelectorAll(".things .thing")[3].click()`)
	b.until(`document.querySelector(".time").innerText.startsWith("2:")`)
	b.keys(kb.ArrowRight)
	b.shot("session-dark")
	for _, tab := range []string{"files", "forwards", "request", "verification"} {
		b.click("#tab-" + tab)
		b.shot("tab-" + tab)
	}
	b.prefers("light")
	b.js(`document.querySelector(".decision summary")?.click()`)
	b.click("#tab-request")
	b.js(`document.querySelector(".decision summary").click()`)
	b.shot("tab-request-light")
	for _, id := range []string{"S-EXEC4MGZRT", "S-F1LESXFER0", "S-REV0KED777", "S-N0TH1NG0NE", "S-L1VE0NE222", "S-L0NGN1GHT5", "S-NONE"} {
		b.js(`location.hash = "` + id + `"`)
		if id != "S-NONE" {
			b.sees(".badge", "verified")
			b.js(`document.querySelector(".timeline").focus()`)
			b.keys(kb.ArrowRight)
		} else {
			b.sees("main", "cannot be shown")
		}
		b.shot("other-" + id)
	}
	b.size(800, 900)
	b.js(`location.hash = "S-8CHQ2M7KXA"`)
	b.sees(".badge", "verified")
	b.shot("narrow-session")
	b.js(`location.hash = ""`)
	b.sees(".rows", "alice")
	b.shot("narrow-list")
	b.size(1600, 1000)
	b.keys("?")
	b.shot("help")
}
