package web

import (
	"context"
	"fmt"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
)

// browser is a real Chromium without a window. What its console complains of fails the test when it ends.
type browser struct {
	t   *testing.T
	ctx context.Context

	mu         sync.Mutex
	complaints []string
	asked      []string // addresses
}

func newBrowser(t *testing.T) *browser {
	t.Helper()
	program := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			program = path
			break
		}
	}
	if program == "" {
		t.Fatal("the page is tested in Chromium, which is not here; install it with: make deps")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(program), chromedp.WindowSize(1280, 800), chromedp.UserDataDir(t.TempDir()))
	if os.Getuid() == 0 {
		options = append(options, chromedp.NoSandbox)
	}
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	ctx, cancel = context.WithTimeout(ctx, 400*time.Second)
	t.Cleanup(cancel)
	b := &browser{t: t, ctx: ctx}
	b.do(chromedp.Navigate("about:blank"), chromedp.EmulateViewport(1280, 800))
	go b.listen(chromedp.Console(ctx))
	go b.follow(chromedp.Events(ctx, network.RequestWillBeSent))
	if _, err := chromedp.Call(ctx, network.Enable, network.EnableParams{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.quiet)
	return b
}

func (b *browser) listen(messages iter.Seq2[chromedp.ConsoleMessage, error]) {
	for message, err := range messages {
		if err != nil {
			return
		}
		switch message.Type {
		case chromedp.ConsoleError, chromedp.ConsoleWarning, chromedp.ConsoleException:
			b.mu.Lock()
			b.complaints = append(b.complaints, message.Text)
			b.mu.Unlock()
		}
	}
}

func (b *browser) follow(requests iter.Seq2[network.EventRequestWillBeSent, error]) {
	for request, err := range requests {
		if err != nil {
			return
		}
		b.mu.Lock()
		b.asked = append(b.asked, request.Request.URL)
		b.mu.Unlock()
	}
}

func (b *browser) quiet() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, text := range b.complaints {
		b.t.Errorf("the browser's console: %s", text)
	}
}

// expected takes back what the console was right to complain of.
func (b *browser) expected(part string) {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	before := len(b.complaints)
	b.complaints = slices.DeleteFunc(b.complaints, func(text string) bool { return strings.Contains(text, part) })
	if len(b.complaints) == before {
		b.t.Errorf("the console did not complain of %q", part)
	}
}

func (b *browser) do(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, actions...); err != nil {
		b.shot("failed")
		b.t.Fatal(err)
	}
}

// until waits for an expression of JavaScript to be true, on whatever page the browser is by then.
func (b *browser) until(expression string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 2*time.Minute)
	defer cancel()
	for {
		// While a page gives way to another there is nothing to ask.
		good, err := chromedp.Run(ctx, chromedp.Evaluate[bool]("!!("+expression+")"))
		if err == nil && good {
			return
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			b.shot("failed")
			b.t.Fatalf("waiting for %s: %v; the page says: %.300q", expression, err, b.text("body"))
		}
	}
}

// sees waits for text in what a selector finds.
func (b *browser) sees(selector, text string) {
	b.t.Helper()
	b.until(fmt.Sprintf("document.querySelector(%q)?.innerText.includes(%q)", selector, text))
}

func (b *browser) text(selector string) string {
	text, _ := chromedp.Run(b.ctx, chromedp.Evaluate[string](fmt.Sprintf("document.querySelector(%q)?.innerText ?? ''", selector)))
	return text
}

// js evaluates an expression to text.
func (b *browser) js(expression string) string {
	b.t.Helper()
	text, err := chromedp.Run(b.ctx, chromedp.Evaluate[string]("String("+expression+")"))
	if err != nil {
		b.shot("failed")
		b.t.Fatalf("%s: %v", expression, err)
	}
	return text
}

func (b *browser) click(selector string) {
	b.t.Helper()
	b.do(chromedp.Click(chromedp.CSS(selector), chromedp.NodeVisible))
}

// keys presses keys. Where nobody writes, a key is not also a letter: a browser drops the letter of a key that a page has used, and what drives it does not.
func (b *browser) keys(keys string) {
	b.t.Helper()
	for _, key := range keys {
		if key < ' ' || key > '~' || b.js(`document.activeElement.matches("input")`) == "true" {
			b.do(chromedp.KeyEvent(string(key)))
			continue
		}
		for _, kind := range []input.DispatchKeyEventType{input.DispatchKeyEventTypeRawKeyDown, input.DispatchKeyEventTypeKeyUp} {
			if _, err := chromedp.Call(b.ctx, input.DispatchKeyEvent, input.DispatchKeyEventParams{Type: kind, Key: string(key)}); err != nil {
				b.t.Fatal(err)
			}
		}
	}
}

func (b *browser) size(width, height int64) {
	b.t.Helper()
	b.do(chromedp.EmulateViewport(width, height))
}

func (b *browser) prefers(theme string) {
	b.t.Helper()
	media := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: theme}}}
	if _, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, media); err != nil {
		b.t.Fatal(err)
	}
}

// shot keeps a picture for people who want to look, in POSTERN_SHOTS.
func (b *browser) shot(name string) {
	dir := os.Getenv("POSTERN_SHOTS")
	if dir == "" {
		dir = b.t.TempDir()
	}
	picture, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
	if err != nil {
		b.t.Logf("no picture of %s: %v", name, err)
		return
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), picture, 0o600); err != nil {
		b.t.Log(err)
	}
}

// screen is the text of the terminal, without what is empty at the ends of lines and at the end.
func (b *browser) screen() string {
	b.t.Helper()
	text := b.js(`[...document.querySelectorAll(".ap-term-text .ap-line")].map((l) => l.textContent).join("\n")`)
	var lines []string
	for line := range strings.Lines(text) {
		lines = append(lines, strings.TrimRight(strings.ReplaceAll(line, "\u00a0", " "), " \n"))
	}
	return strings.TrimRight(strings.Join(lines, "\n"), "\n")
}

// time is where the playback is, in seconds.
func (b *browser) time() float64 {
	b.t.Helper()
	at, err := strconv.ParseFloat(b.js(`document.querySelector(".timeline").getAttribute("aria-valuenow")`), 64)
	if err != nil {
		b.t.Fatal(err)
	}
	return at
}

// open opens the page of a link.
func (b *browser) open(link string) {
	b.t.Helper()
	b.do(chromedp.Navigate(link))
	b.until(`document.querySelector(".rows, .session, .results, .fault")`)
}

// frame waits until what was told to the page is painted.
func (b *browser) frame() {
	b.t.Helper()
	if _, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool](`new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))`, chromedp.EvalAwaitPromise)); err != nil {
		b.t.Fatal(err)
	}
}
