package migrating

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/musterhq/muster/bus"
	"github.com/musterhq/muster/port"
)

// mail is a job.
type mail struct{ To, Text string }

func enqueueBefore(ctx context.Context, rdb *redis.Client, m mail) error {
	body, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return rdb.LPush(ctx, "mails", body).Err()
}

func workBefore(ctx context.Context, rdb *redis.Client, send func(mail) error) error {
	for ctx.Err() == nil {
		got, err := rdb.BRPop(ctx, time.Second, "mails").Result()
		if errors.Is(err, redis.Nil) {
			continue
		}
		if err != nil {
			return err
		}
		var m mail
		if err := json.Unmarshal([]byte(got[1]), &m); err != nil {
			return err // and the job is gone
		}
		if err := send(m); err != nil {
			return err // and the job is gone: it left the list before the work
		}
	}
	return nil
}

var mails = bus.Topic[mail]{Name: "mails"}

func enqueueAfter(ctx context.Context, b port.Queue, m mail) error {
	_, err := mails.Publish(ctx, b, m)
	return err
}

func workAfter(ctx context.Context, b port.Queue, send func(mail) error) error {
	return mails.Subscribe(ctx, b, bus.Group{Name: "sender"}, func(_ context.Context, m bus.Message[mail]) error {
		return send(m.Payload) // an error: again after a growing wait, in the end among the dead letters
	})
}
