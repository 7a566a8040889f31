// Hello publishes an order, ships it, and prints what came out: a message that leaves with the acknowledgement of its input.
package main

import (
	"context"
	"fmt"
	"log"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/adapter/memory"
	"github.com/musterhq/muster/bus"
)

type order struct{ ID, Customer string }

type shipment struct{ OrderID string }

func main() {
	orders := bus.Topic[order]{Name: "orders.placed", Key: func(o order) string { return o.Customer }}
	shipped := bus.Topic[shipment]{Name: "orders.shipped"}
	b := memory.New(memory.Config{})
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	if _, err := orders.Publish(ctx, b, order{ID: "1", Customer: "ann"}); err != nil {
		log.Fatal(err)
	}
	err := muster.Run(ctx,
		func(ctx context.Context) error {
			return orders.Subscribe(ctx, b, bus.Group{Name: "shipping"}, func(_ context.Context, m bus.Message[order]) error {
				fmt.Println("shipping order", m.Payload.ID)
				bus.Emit(m, shipped, shipment{OrderID: m.Payload.ID})
				return nil
			})
		},
		func(ctx context.Context) error {
			return shipped.Subscribe(ctx, b, bus.Group{Name: "mail"}, func(_ context.Context, m bus.Message[shipment]) error {
				fmt.Println("mailing about order", m.Payload.OrderID)
				stop()
				return nil
			})
		},
	)
	if err != nil {
		log.Fatal(err)
	}
}
