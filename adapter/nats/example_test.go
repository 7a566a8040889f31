//go:build unix

package nats_test

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/musterhq/muster/adapter/nats"
	"github.com/musterhq/muster/port"
)

// A server in the process, with its data in a directory: durable, with nothing to be installed.
func ExampleEmbedded() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "muster")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() {
		if err := os.RemoveAll(dir); err != nil {
			fmt.Println(err)
		}
	}()
	b, err := nats.Embedded(ctx, nats.EmbeddedConfig{Dir: dir})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() {
		if err := b.Close(); err != nil {
			fmt.Println(err)
		}
	}()

	g := port.Group{Topic: "orders.placed", Name: "billing", Consumer: "host-1", Loan: 30 * time.Second}
	if err := b.Join(ctx, g); err != nil {
		fmt.Println(err)
		return
	}
	if err := b.Write(ctx, port.Batch{Messages: []port.Message{{Topic: "orders.placed", ID: "7", Body: []byte("an order")}}}); err != nil {
		fmt.Println(err)
		return
	}
	list, err := b.Fetch(ctx, g, 10)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, d := range list {
		fmt.Printf("%s: %s\n", d.Message.ID, d.Message.Body)
	}
	// The acknowledgement and what it brings are one step: all of it or nothing.
	done := port.Settlement{Receipt: list[0].Receipt, Then: port.Batch{Messages: []port.Message{{Topic: "orders.billed", ID: "7"}}}}
	fmt.Println(b.Settle(ctx, g, done)[0])
	fmt.Println(b.Settle(ctx, g, done)[0] != nil)
	// Output:
	// 7: an order
	// <nil>
	// true
}
