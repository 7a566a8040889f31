package bus_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/adapter/memory"
	"github.com/musterhq/muster/bus"
	"github.com/musterhq/muster/envelope"
)

type Order struct {
	ID, Customer string
	Cents        int64
}

type Shipped struct{ OrderID string }

type Balance struct{ Cents int64 }

// One family of names: the state, the emitted message and the acknowledgement are one step.
var (
	placed   = bus.Topic[Order]{Name: "orders.placed", Key: func(o Order) string { return o.Customer }}
	sent     = bus.Topic[Shipped]{Name: "orders.shipped"}
	accounts = bus.State[Balance]{Prefix: "orders/balance/"}
)

// A handler changes state and emits a message: both leave with the acknowledgement of its input, or not at all.
func Example() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	b := memory.New(memory.Config{})

	ship := func(ctx context.Context, m bus.Message[Order]) error {
		balance, was, err := accounts.Get(ctx, b, m.Payload.Customer)
		if err != nil {
			return err
		}
		balance.Cents += m.Payload.Cents
		bus.Save(m, accounts, m.Payload.Customer, was, balance)
		bus.Emit(m, sent, Shipped{OrderID: m.Payload.ID})
		return nil
	}
	mail := func(ctx context.Context, m bus.Message[Shipped]) error {
		balance, _, err := accounts.Get(ctx, b, "ann")
		fmt.Println("order", m.Payload.OrderID, "is on its way, the balance is", balance.Cents)
		stop()
		return err
	}
	if _, err := placed.Publish(ctx, b, Order{ID: "1", Customer: "ann", Cents: 500}); err != nil {
		fmt.Println(err)
	}
	err := muster.Run(ctx,
		func(ctx context.Context) error { return placed.Subscribe(ctx, b, bus.Group{Name: "shipping"}, ship) },
		func(ctx context.Context) error { return sent.Subscribe(ctx, b, bus.Group{Name: "mail"}, mail) },
	)
	fmt.Println(err)
	// Output:
	// order 1 is on its way, the balance is 500
	// <nil>
}

// What a group cannot handle waits in its dead letters, and is given back to that group alone.
func ExampleDead_Redrive() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	b := memory.New(memory.Config{})
	billing := bus.Dead{Queue: b, Topic: placed.Name, Group: "billing"}
	known := false
	handle := func(ctx context.Context, m bus.Message[Order]) error {
		if !known {
			stop()
			return bus.Reject(errors.New("unknown customer"))
		}
		fmt.Println("billed order", m.Payload.ID)
		stop()
		return nil
	}
	subscribe := func(ctx context.Context) {
		if err := placed.Subscribe(ctx, b, bus.Group{Name: "billing", Log: quiet}, handle); err != nil {
			fmt.Println(err)
		}
	}
	if _, err := placed.Publish(ctx, b, Order{ID: "1"}); err != nil {
		fmt.Println(err)
	}
	subscribe(ctx)

	ctx, stop = context.WithCancel(context.Background())
	defer stop()
	for letter, err := range billing.List(ctx, bus.DeadFilter{}) {
		fmt.Println("dead:", letter.Reason, err)
	}
	known = true
	n, err := billing.Redrive(ctx, bus.DeadFilter{Reason: "unknown customer"})
	fmt.Println("redriven:", n, err)
	subscribe(ctx)
	// Output:
	// dead: unknown customer <nil>
	// redriven: 1 <nil>
	// billed order 1
}

// A live message reaches those who listen now, and the publisher can wait until they have handled it.
func ExampleChannel_PublishWithAck() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	b := memory.New(memory.Config{})
	reload := bus.Channel[string]{Name: "config.reload"}
	_, err := reload.PublishWithAck(ctx, b, "prices", 1, 10*time.Millisecond)
	fmt.Println(errors.Is(err, bus.ErrNoSubscribers))

	err = muster.Run(ctx,
		func(ctx context.Context) error {
			return reload.Serve(ctx, b, func(_ context.Context, e envelope.Envelope[string]) error {
				fmt.Println("reloaded", e.Payload)
				return nil
			})
		},
		func(ctx context.Context) error {
			defer stop()
			for {
				acks, err := reload.PublishWithAck(ctx, b, "prices", 1, 200*time.Millisecond)
				if errors.Is(err, bus.ErrNoSubscribers) {
					continue // nobody serves yet
				}
				fmt.Println(len(acks), "acknowledged", err)
				return nil
			}
		},
	)
	fmt.Println(err)
	// Output:
	// true
	// reloaded prices
	// 1 acknowledged <nil>
	// <nil>
}
