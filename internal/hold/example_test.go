package hold_test

import (
	"context"
	"fmt"
	"time"

	"github.com/musterhq/muster/internal/hold"
)

func ExampleKeep() {
	c := hold.Config{Lease: 15 * time.Second}
	sent := c.Clock.Now() // before the store is asked
	granted := true
	if !granted {
		return
	}
	renew := func(context.Context) error { return nil }
	out, err := hold.Keep(context.Background(), c, sent, renew, func(ctx context.Context, h *hold.Hold) error {
		return h.Guard(func() error {
			fmt.Println("held")
			return nil
		})
	})
	fmt.Println(out.Lost, err)
	if !out.Overran {
		fmt.Println("released")
	}
	// Output:
	// held
	// <nil> <nil>
	// released
}

func ExampleBook() {
	c := hold.Config{Lease: 30 * time.Second}
	loans, err := hold.NewBook[string](c)
	if err != nil {
		fmt.Println(err)
		return
	}
	loans.Add(c.Clock.Now(), "receipt-1", "receipt-2")
	due, _ := loans.Due()
	fmt.Println(loans.Held("receipt-1"), len(due))
	loans.Remove("receipt-1") // settled
	fmt.Println(loans.Held("receipt-1"))
	// Output:
	// true 0
	// false
}
