package retry_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/musterhq/muster/retry"
)

func ExampleBackoff_Delay() {
	b := retry.Backoff{Jitter: -1}
	for failures := 1; !b.Spent(failures); failures++ {
		fmt.Println(b.Delay(failures, 0.5))
	}
	// Output:
	// 100ms
	// 200ms
	// 400ms
	// 800ms
}

func ExampleDo() {
	p := retry.Policy{
		Backoff: retry.Backoff{First: time.Millisecond, Jitter: -1},
		OnRetry: func(attempt int, wait time.Duration, err error) { fmt.Println("try", attempt, "failed:", err) },
	}
	calls := 0
	err := retry.Do(context.Background(), p, func(context.Context) error {
		if calls++; calls < 3 {
			return errors.New("connection refused")
		}
		return nil
	})
	fmt.Println(calls, err)
	// Output:
	// try 1 failed: connection refused
	// try 2 failed: connection refused
	// 3 <nil>
}

func ExamplePermanent() {
	err := retry.Do(context.Background(), retry.Policy{}, func(context.Context) error {
		return retry.Permanent(errors.New("no such account"))
	})
	fmt.Println(err, retry.IsPermanent(err))
	// Output: no such account true
}
