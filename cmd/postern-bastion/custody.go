package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/urfave/cli/v2"

	"postern/internal/control"
)

const (
	askAgain    = time.Hour // for deletions, although nobody said that there are any
	retryOrders = time.Minute
	ordersTime  = 10 * time.Minute // for a hundred of them
)

var custodyFlags = []cli.Flag{
	&cli.IntFlag{Name: "retain-at-least", Value: 2192, Usage: "keep every recording at least so many `DAYS`, whatever the CA says, unless auditors sign that it goes", EnvVars: []string{"POSTERN_BASTION_RETAIN_AT_LEAST"}},
	&cli.IntFlag{Name: "shred-auditors", Value: 1, Usage: "destroy a recording when `N` different auditors have signed that it goes", EnvVars: []string{"POSTERN_BASTION_SHRED_AUDITORS"}},
}

// keepCustody asks for what auditors decided and what is to be destroyed: at once, when the CA says that there is something, and now and then.
func (a *authority) keepCustody(ctx context.Context, client *control.Client) {
	for {
		wait := askAgain
		if err := a.settle(ctx, client); err != nil && ctx.Err() == nil {
			a.log.Error("deletions", "error", err)
			wait = retryOrders
		}
		select {
		case <-ctx.Done():
			return
		case <-a.stirred:
		case <-time.After(wait):
		}
	}
}

// settle goes on until there are no orders left. Holds are remembered before any order is looked at.
func (a *authority) settle(ctx context.Context, client *control.Client) error {
	ctx, cancel := context.WithTimeout(ctx, ordersTime)
	defer cancel()
	from, reclaim := a.custody.Next(), false
	for {
		out, err := control.Call[control.Deletions](ctx, client, nil, "deletions", "--from", strconv.FormatUint(from, 10))
		if err != nil {
			return err
		}
		if out.Next < from { // it was restored from a backup, and counts anew
			from = 1
			continue
		}
		if err := a.custody.Heed(out.Custody, out.Next); err != nil {
			return err
		}
		from = out.Next
		answered, err := a.carry(ctx, client, out.Orders, &reclaim)
		if answered > 0 {
			continue
		}
		if reclaim {
			err = errors.Join(err, a.custody.Recorder.Reclaim())
		}
		return err
	}
}

// carry tries every order: one that cannot be carried out must not keep the others.
func (a *authority) carry(ctx context.Context, client *control.Client, orders []control.Deletion, reclaim *bool) (answered int, err error) {
	for _, order := range orders {
		receipt, failed := a.custody.Carry(order)
		if failed == nil {
			_, failed = client.Run(ctx, jsonReader(receipt), "deleted", "--json")
		}
		if failed != nil {
			err = errors.Join(err, fmt.Errorf("order %s: %w", order.ID, failed))
			continue
		}
		answered++
		*reclaim = *reclaim || receipt.Everything
	}
	return answered, err
}
