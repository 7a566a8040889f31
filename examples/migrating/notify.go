package migrating

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/musterhq/muster/bus"
	"github.com/musterhq/muster/port"
)

// price is what is published.
type price struct {
	Symbol string
	Cents  int64
}

func notifyBefore(ctx context.Context, rdb *redis.Client, p price) error {
	body, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return rdb.Publish(ctx, "prices", body).Err()
}

func listenBefore(ctx context.Context, rdb *redis.Client, live func(), use func(price)) error {
	sub := rdb.Subscribe(ctx, "prices")
	defer func() { _ = sub.Close() }()
	if _, err := sub.Receive(ctx); err != nil { // nobody is subscribed before this
		return err
	}
	live()
	for {
		select {
		case m := <-sub.Channel(): // what was missed while the connection was down is missed in silence
			var p price
			if err := json.Unmarshal([]byte(m.Payload), &p); err != nil {
				return err
			}
			use(p)
		case <-ctx.Done():
			return nil
		}
	}
}

var prices = bus.Channel[price]{Name: "prices"}

func notifyAfter(ctx context.Context, b port.Signals, p price) error {
	return prices.Publish(ctx, b, p)
}

func listenAfter(ctx context.Context, b port.Signals, live func(), use func(price)) error {
	news, err := prices.Listen(ctx, b) // subscribed when it returns
	if err != nil {
		return err
	}
	live()
	for e, err := range news {
		switch {
		case errors.Is(err, port.ErrGap):
			fmt.Println("something was missed: read the prices anew")
		case err != nil:
			return err
		default:
			use(e.Payload)
		}
	}
	return nil
}
