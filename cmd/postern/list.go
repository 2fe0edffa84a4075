package main

import (
	"fmt"
	"os"

	"github.com/urfave/cli/v2"

	"postern/internal/command"
	"postern/internal/control"
)

// listing is the action of a command that shows what a command of the CA lists: for people, or with --json an object a line.
func listing[T any](print func([]T) error, words ...string) cli.ActionFunc {
	return func(c *cli.Context) error {
		if err := command.FlagsOnly(c); err != nil {
			return err
		}
		ca, err := connect(c)
		if err != nil {
			return err
		}
		defer ca.close()
		list, err := control.List[T](c.Context, ca.Client, words...)
		if err != nil {
			return err
		}
		if c.Bool("json") {
			return jsonLines(list)
		}
		return print(list)
	}
}

// rowsOr is a table, or one line where it would be empty: a heading over nothing leaves open whether something went wrong.
func rowsOr(rows [][]string, nothing string) error {
	if len(rows) > 1 {
		return table(os.Stdout, rows)
	}
	fmt.Fprintln(os.Stderr, nothing)
	return nil
}

func jsonLines[T any](list []T) error {
	for _, v := range list {
		if err := jsonLine(os.Stdout, v); err != nil {
			return err
		}
	}
	return nil
}
