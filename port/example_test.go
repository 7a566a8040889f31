package port_test

import (
	"errors"
	"fmt"
	"time"

	"github.com/musterhq/muster/port"
)

func ExampleMatch() {
	for _, topic := range []string{"orders.placed", "orders.placed.billing.dead", "bills"} {
		fmt.Println(topic, port.Match("orders.*", topic), port.Match("*.dead", topic))
	}
	// Output:
	// orders.placed true false
	// orders.placed.billing.dead true true
	// bills false false
}

// An adapter calls the Check methods first, so that a wrong argument is refused before anything happened.
func ExampleGroup_Check() {
	g := port.Group{Topic: "orders", Name: "billing", Loan: 500 * time.Millisecond}
	err := g.Check(port.Caps{MinLoan: time.Second})
	fmt.Println(err)
	fmt.Println(errors.Is(err, port.ErrInvalid))
	// Output:
	// group "billing" of topic "orders": loan 500ms is shorter than the minimum 1s: invalid
	// true
}

// A step that keeps within one family is taken by every backend.
func ExampleBatch_Check() {
	strict := port.Caps{Atomic: port.AtomicFamily}
	b := port.Batch{
		Messages: []port.Message{{Topic: "orders.shipped", ID: "1"}},
		Changes:  []port.Change{{Key: "orders/balance/7", Value: []byte("10")}},
	}
	fmt.Println(b.Check(strict, ""))
	b.Changes[0].Key = "balance/7"
	fmt.Println(errors.Is(b.Check(strict, ""), port.ErrUnsupported))
	// Output:
	// <nil>
	// true
}

func ExampleDuplicateError() {
	err := fmt.Errorf("memory: write: %w", &port.DuplicateError{IDs: []string{"m1"}})
	if d, ok := errors.AsType[*port.DuplicateError](err); ok && !d.Whole {
		fmt.Println("known before:", d.IDs)
	}
	// Output: known before: [m1]
}
