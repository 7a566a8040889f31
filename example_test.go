package muster_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/musterhq/muster"
)

// A program is a list of calls that block. Here the second one fails, and the first one drains.
func ExampleRun() {
	serve := func(ctx context.Context) error {
		<-ctx.Done()
		fmt.Println("drained because:", context.Cause(ctx))
		return nil
	}
	lead := func(context.Context) error {
		return errors.New("no backend")
	}
	fmt.Println("ended with:", muster.Run(context.Background(), serve, lead))
	// Output:
	// drained because: no backend
	// ended with: no backend
}
