package web

import (
	"testing"

	"github.com/chromedp/chromedp"
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
	b.js(`location.hash = "S-8CHQ2M7KXA"`)
	b.sees(".badge", "verified")
	b.shot("session-light")
	b.click(".things .thing:nth-child(1)")
	b.js(`document.querySelectorAll(".things .thing")[4].click()`)
	b.shot("session-seek")
}
