// Swap is one program for every backend: all that names one is the line in open. It publishes orders, ships each of them with an
// output that leaves with the acknowledgement, counts in a plain key, and closes the books under a lock.
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/musterhq/muster/adapter/memory"
	"github.com/musterhq/muster/bus"
	"github.com/musterhq/muster/cluster"
	"github.com/musterhq/muster/port"
)

// open names the backend: nothing else in this program does.
func open(ctx context.Context) (port.Backend, error) {
	return memory.New(memory.Config{}), ctx.Err()
}

type order struct{ ID string }

func main() {
	if err := run(context.Background()); err != nil {
		log.Print(err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	b, err := open(ctx)
	if err != nil {
		return err
	}
	fmt.Println("atomic within a family:", b.Caps().Atomic >= port.AtomicFamily)
	placed := bus.Topic[order]{Name: "orders.placed", Key: func(o order) string { return o.ID }}
	shipped := bus.Topic[order]{Name: "orders.shipped"}
	for _, id := range []string{"1", "2", "3"} {
		if _, err := placed.Publish(ctx, b, order{id}); err != nil {
			return err
		}
	}
	if err := ship(ctx, b, placed, shipped); err != nil {
		return err
	}
	total, err := b.Add(ctx, "orders/total", 3, 0)
	if err != nil {
		return err
	}
	err = cluster.Lock(ctx, b, cluster.Hold{Name: "orders"}, func(_ context.Context, t cluster.Term) error {
		fmt.Println("closed the books of", total, "orders, held:", t.Held())
		return nil
	})
	if err != nil {
		return err
	}
	return b.Close()
}

// ship handles each order once, and ends when the last has come out behind it.
func ship(ctx context.Context, b port.Backend, placed, shipped bus.Topic[order]) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	worker := make(chan error, 1)
	go func() {
		worker <- placed.Subscribe(ctx, b, bus.Group{Name: "shipping", Workers: 1}, func(_ context.Context, m bus.Message[order]) error {
			bus.Emit(m, shipped, m.Payload)
			return nil
		})
	}()
	left := 3
	err := shipped.Subscribe(ctx, b, bus.Group{Name: "mail", Workers: 1}, func(_ context.Context, m bus.Message[order]) error {
		fmt.Println("shipped", m.Payload.ID)
		if left--; left == 0 {
			stop()
		}
		return nil
	})
	if err != nil {
		return err
	}
	return <-worker
}
