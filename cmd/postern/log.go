package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/urfave/cli/v2"

	"postern/ca/auditlog"
	"postern/internal/command"
	"postern/internal/control"
)

var logCommand = &cli.Command{
	Name:  "log",
	Usage: "the audit log; postern verify proves it",
	Flags: []cli.Flag{
		&cli.Int64Flag{Name: "from", Usage: "begin at leaf `N`"},
		&cli.Int64Flag{Name: "to", Usage: "end before leaf `N` (0: at the end)"},
		jsonFlag,
	},
	Action: func(c *cli.Context) error {
		if err := command.FlagsOnly(c); err != nil {
			return err
		}
		if c.Int64("from") < 0 || c.Int64("to") < 0 {
			return command.Misuse("leaves are numbered from 0")
		}
		ca, err := connect(c)
		if err != nil {
			return err
		}
		defer ca.close()
		leaves, err := control.List[control.Leaf](c.Context, ca.Client, "log",
			"--from", strconv.FormatInt(c.Int64("from"), 10), "--to", strconv.FormatInt(c.Int64("to"), 10))
		if err != nil {
			return err
		}
		if c.Bool("json") {
			return jsonLines(leaves)
		}
		return printLog(leaves)
	},
}

func printLog(leaves []control.Leaf) error {
	for _, leaf := range leaves {
		e, err := auditlog.Decode(leaf.Data)
		if err != nil {
			return fmt.Errorf("leaf %d: %w", leaf.Index, err)
		}
		if _, err := fmt.Printf("%d  %s  %-13s %-10s %s\n", leaf.Index, clock(e.At, time.Now()), word(e.Type), word(e.Actor), word(about(e))); err != nil {
			return err
		}
	}
	return nil
}

// about is one line on what an entry says.
func about(e auditlog.Entry) string {
	switch {
	case e.Genesis != nil:
		return "the log of " + e.Genesis.Name
	case e.Policy != nil:
		return e.Policy.Digest
	case e.Request != nil:
		return fmt.Sprintf("%s asks for %v for %s: %s", e.Request.ID, e.Request.Targets, short(time.Duration(e.Request.ForSeconds)*time.Second), e.Request.Reason)
	case e.Vote != nil:
		return fmt.Sprintf("%s %s, signed by %s", e.Vote.Decision, e.Vote.Request, e.Vote.Key)
	case e.State != nil:
		return fmt.Sprintf("%s is %s: %s", e.State.Request, e.State.State, e.State.Why)
	case e.Certificate != nil:
		return fmt.Sprintf("%s certificate %d %s %s", e.Certificate.CA, e.Certificate.Serial, e.Certificate.Request, e.Certificate.Session)
	case e.Revocation != nil:
		return fmt.Sprintf("%d %s:%s: %s", e.Revocation.Seq, e.Revocation.Kind, e.Revocation.Value, e.Revocation.Reason)
	case e.Session != nil:
		return fmt.Sprintf("%s of %s to %s through %s", e.Session.ID, e.Session.Request, e.Session.Target, e.Session.Bastion)
	case e.Progress != nil:
		return fmt.Sprintf("%s has %d frames, %d segments sealed %s", e.Progress.Session, e.Progress.Frames, e.Progress.Segments, e.Progress.End)
	case e.RecordingKey != nil:
		return fmt.Sprintf("%s for %s", e.RecordingKey.ID, e.RecordingKey.Month)
	case e.View != nil:
		return viewed(*e.View)
	}
	b, _ := json.Marshal(e)
	return string(b)
}

var checkpointCommand = &cli.Command{
	Name:  "checkpoint",
	Usage: "the log's signed size and root, for a witness to keep",
	Action: func(c *cli.Context) error {
		if err := command.FlagsOnly(c); err != nil {
			return err
		}
		ca, err := connect(c)
		if err != nil {
			return err
		}
		defer ca.close()
		signed, err := ca.Run(c.Context, nil, "checkpoint")
		if err != nil {
			return err
		}
		_, err = os.Stdout.Write(signed)
		return err
	},
}
