package memory_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/musterhq/muster/adapter/memory"
	"github.com/musterhq/muster/port"
)

// Two opens of one store are two processes: what one has on loan the other does not get.
func ExampleBackend_Open() {
	ctx := context.Background()
	one := memory.New(memory.Config{})
	two := one.Open(memory.Config{})
	group := port.Group{Topic: "orders", Name: "billing", Consumer: "one", Loan: time.Minute}
	if err := one.Join(ctx, group); err != nil {
		fmt.Println(err)
	}
	batch := port.Batch{Messages: []port.Message{{Topic: "orders", ID: "a"}, {Topic: "orders", ID: "b"}}}
	if err := two.Write(ctx, batch); err != nil {
		fmt.Println(err)
	}
	first, err := one.Fetch(ctx, group, 1)
	fmt.Println(first[0].Message.ID, err)
	group.Consumer = "two"
	second, err := two.Fetch(ctx, group, 10)
	fmt.Println(len(second), second[0].Message.ID, err)
	// Output:
	// a <nil>
	// 1 b <nil>
}

// Fault cuts a process off in the middle of what it does, for tests of what survives a crash.
func ExampleConfig_fault() {
	ctx := context.Background()
	store := memory.New(memory.Config{})
	dying := store.Open(memory.Config{Fault: func(op memory.Op) memory.Fault {
		return memory.Fault{Cut: op.Name == "write" && op.Point == memory.After}
	}})
	err := dying.Write(ctx, port.Batch{Messages: []port.Message{{Topic: "orders", ID: "a"}}})
	fmt.Println(errors.Is(err, port.ErrClosed))
	entries, err := store.Read(ctx, port.Range{Topic: "orders", Max: 10})
	fmt.Println(len(entries), err)
	// Output:
	// true
	// 1 <nil>
}
