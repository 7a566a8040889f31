package once_test

import (
	"context"
	"fmt"
	"time"

	"github.com/musterhq/muster/adapter/memory"
	"github.com/musterhq/muster/once"
)

func ExampleDo() {
	ctx := context.Background()
	ledger := once.Ledger{KV: memory.New(memory.Config{}), Keep: 24 * time.Hour}
	charge := func(context.Context) (string, error) {
		fmt.Println("charging")
		return "receipt 1", nil
	}
	for range 2 {
		receipt, outcome, err := once.Do(ctx, ledger, "charge:order-1", charge)
		fmt.Println(receipt, outcome, err)
	}
	// Output:
	// charging
	// receipt 1 ran <nil>
	// receipt 1 recorded <nil>
}

func ExampleSeen() {
	ctx := context.Background()
	kv := memory.New(memory.Config{})
	for range 2 {
		seen, err := once.Seen(ctx, kv, "event-7", time.Hour)
		fmt.Println(seen, err)
	}
	// Output:
	// false <nil>
	// true <nil>
}
