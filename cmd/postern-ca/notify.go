package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"postern/ca"
	"postern/internal/command"
	"postern/internal/control"
	"postern/internal/notify"
)

var notifyFlag = &cli.StringFlag{Name: "notify", Usage: "`FILE` of webhooks and commands to tell what happens (default: notify.json in --dir, if it is there)", EnvVars: []string{"POSTERN_CA_NOTIFY"}}

func loadHooks(c *cli.Context) ([]notify.Hook, error) {
	path := c.String("notify")
	if path == "" {
		path = filepath.Join(c.String("dir"), "notify.json")
		if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
			return nil, nil
		}
	}
	return notify.Load(path)
}

// tell feeds the hooks until the CA stops.
func tell(c *cli.Context, authority *ca.CA, hooks []notify.Hook) {
	n := &notify.Notifier{
		CA: authority.Name(), Dir: filepath.Join(c.String("dir"), "notify"), Hooks: hooks,
		Follow: authority.Follow, Size: authority.Size, Asked: authority.Asked, Log: slog.Default(),
	}
	if len(hooks) == 0 {
		return
	}
	if err := n.Run(c.Context); err != nil {
		slog.Error("nobody is notified", "error", err)
	}
}

var notifyTestCommand = &cli.Command{
	Name:  "notify-test",
	Usage: "send a test to each hook, and say who took it",
	Flags: []cli.Flag{dirFlag, notifyFlag},
	Action: func(c *cli.Context) error {
		if err := command.FlagsOnly(c); err != nil {
			return err
		}
		hooks, err := loadHooks(c)
		if err != nil {
			return err
		}
		failed := 0
		for i := range hooks {
			if err := hooks[i].Test(c.Context, control.DefaultName); err != nil {
				failed++
				fmt.Printf("%s: %v\n", hooks[i].Name, err)
				continue
			}
			fmt.Printf("%s: taken\n", hooks[i].Name)
		}
		if failed > 0 {
			return fmt.Errorf("%d of %d hooks did not take it", failed, len(hooks))
		}
		if len(hooks) == 0 {
			return errors.New("no hooks; write them to notify.json in --dir, or name a file with --notify")
		}
		return nil
	},
}
