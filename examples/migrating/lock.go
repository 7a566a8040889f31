package migrating

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/musterhq/muster/cluster"
	"github.com/musterhq/muster/port"
)

// errBusy answers who finds the lock taken.
var errBusy = errors.New("somebody else is at it")

func lockBefore(ctx context.Context, rdb *redis.Client, work func(context.Context) error) error {
	free, err := rdb.SetNX(ctx, "lock:report", "1", 30*time.Second).Result()
	if err != nil {
		return err
	}
	if !free {
		return errBusy
	}
	err = work(ctx) // after 30 s there are two, and neither is told
	return errors.Join(err, rdb.Del(ctx, "lock:report").Err())
}

func lockAfter(ctx context.Context, b port.Leases, work func(context.Context) error) error {
	err := cluster.TryLock(ctx, b, cluster.Hold{Name: "report"}, func(ctx context.Context, _ cluster.Term) error {
		return work(ctx)
	})
	if errors.Is(err, port.ErrHeld) {
		return errBusy
	}
	return err
}
