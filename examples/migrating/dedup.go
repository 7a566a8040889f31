package migrating

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/musterhq/muster/once"
	"github.com/musterhq/muster/port"
)

func chargeBefore(ctx context.Context, rdb *redis.Client, id string, charge func() (string, error)) (string, error) {
	first, err := rdb.SetNX(ctx, "charged:"+id, "1", 24*time.Hour).Result()
	if err != nil {
		return "", err
	}
	if !first {
		return "", nil // done, or being done, or its process died in between and it never will be
	}
	return charge()
}

func chargeAfter(ctx context.Context, b port.KV, id string, charge func() (string, error)) (string, error) {
	ledger := once.Ledger{KV: b, Prefix: "charged/", Keep: 24 * time.Hour}
	receipt, _, err := once.Do(ctx, ledger, id, func(context.Context) (string, error) {
		return charge()
	})
	return receipt, err // whoever asks gets the receipt; a failure leaves the id free
}
