package bustest_test

import (
	"context"
	"fmt"

	"github.com/musterhq/muster/bus"
	"github.com/musterhq/muster/bus/bustest"
)

func ExampleHandle() {
	handler := func(_ context.Context, m bus.Message[payment]) error {
		bus.Emit(m, booked, line{ID: m.Payload.ID, Sum: m.Payload.Cents})
		return nil
	}
	r := bustest.Handle(context.Background(), handler, payment{ID: "7", Cents: 500})
	fmt.Println(len(r.Batch.Messages), r.Batch.Messages[0].Topic, r.Err)
	// Output: 1 pay.booked <nil>
}
