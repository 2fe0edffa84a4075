package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"github.com/urfave/cli/v2"

	"postern/internal/auditor"
	"postern/internal/command"
	"postern/internal/control"
	"postern/internal/web"
	"postern/recorder"
)

var (
	webFlag  = &cli.BoolFlag{Name: "web", Usage: "in a browser on this machine: all sessions, or the one named"}
	openFlag = &cli.BoolFlag{Name: "open", Usage: "with --web: open the link in your browser at once"}
)

// replayWeb serves the page until it is ended. Each recording that is opened there is a view, for the reason given here.
func replayWeb(c *cli.Context) error {
	if c.Args().Len() > 1 {
		return command.Misuse("--web takes one session, or none for all")
	}
	first := strings.ToUpper(c.Args().First())
	reason, err := viewReason(c)
	if err != nil {
		return err
	}
	ca, err := connect(c)
	if err != nil {
		return err
	}
	defer ca.close()
	ctx, stop := signal.NotifyContext(c.Context, os.Interrupt, syscall.SIGTERM)
	defer stop()
	views := &webViews{desk: ca.desk(), view: auditor.View{Kind: control.ViewWeb, Reason: reason, Keystrokes: c.Bool("keystrokes")}}
	defer views.close()
	config, err := ca.webConfig(ctx, views)
	if err != nil {
		return err
	}
	config.First = first
	server, err := web.New(config)
	if err != nil {
		return err
	}
	clean := func() {}
	err = server.Serve(ctx, func(link string) { clean = showLink(link, c.Bool("open")) })
	clean()
	if errors.Is(err, web.ErrIdle) || ctx.Err() != nil {
		fmt.Fprintln(os.Stderr, "the page is closed")
		return nil
	}
	return err
}

func (c *client) webConfig(ctx context.Context, views *webViews) (web.Config, error) {
	me, err := control.Call[control.Identity](ctx, c.Client, nil, "whoami")
	return web.Config{
		Who: me.Name, Reason: views.view.Reason, Keystrokes: views.view.Keystrokes,
		Sessions: func(ctx context.Context) ([]control.Session, error) {
			return control.List[control.Session](ctx, c.Client, "sessions")
		},
		Request: func(ctx context.Context, id string) (control.Request, error) {
			return control.Call[control.Request](ctx, c.Client, nil, "show", id)
		},
		Requests: func(ctx context.Context) ([]control.Request, error) {
			return control.List[control.Request](ctx, c.Client, "requests", "--all")
		},
		Open: views.open, Search: views.search,
	}, err
}

// showLink prints the link, and opens it where that is wanted. It returns what is to be done in the end.
func showLink(link string, open bool) (clean func()) {
	fmt.Println(link)
	fmt.Fprintln(os.Stderr, "Open this link in a browser on this machine. It works once. Ctrl-C ends it.")
	if !open {
		return func() {}
	}
	dir, err := os.MkdirTemp("", "postern-web-") // for nobody else to read
	if err == nil {
		file := filepath.Join(dir, "open.html")
		if err = os.WriteFile(file, web.Leading(link), 0o600); err == nil {
			browser := exec.Command("xdg-open", file)
			if err = browser.Start(); err == nil {
				go browser.Wait()
			}
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "cannot open a browser here:", err)
	}
	return func() { os.RemoveAll(dir) }
}

// webViews are what was looked at since the page was opened.
type webViews struct {
	desk *auditor.Desk
	view auditor.View

	mu  sync.Mutex
	all []*auditor.Access
}

// open is a view: it is in the log before the recording comes.
func (v *webViews) open(ctx context.Context, session string) (*recorder.Archive, error) {
	access, err := v.desk.View(ctx, v.view, session)
	if err != nil {
		return nil, err
	}
	v.mu.Lock()
	v.all = append(v.all, access)
	v.mu.Unlock()
	return access.Archive(ctx, session)
}

// search is one view of all that are searched. What is searched for is not in the log.
func (v *webViews) search(ctx context.Context, sessions []string) (web.Recordings, error) {
	view := v.view
	view.Kind, view.Keystrokes = control.ViewSearch, false
	access, err := v.desk.View(ctx, view, sessions...)
	if err != nil {
		return web.Recordings{}, err
	}
	return web.Recordings{Open: access.Archive, Close: access.Close}, nil
}

func (v *webViews) close() {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, access := range v.all {
		access.Close()
	}
}
