package envelope_test

import (
	"context"
	"fmt"
	"time"

	"github.com/musterhq/muster/envelope"
)

type shipped struct {
	OrderID string `json:"orderId"`
}

// A message is written and read; its payload travels as its codec made it.
func Example() {
	var codec envelope.Codec[shipped] = envelope.JSON[shipped]{}
	payload, err := codec.Append(nil, shipped{OrderID: "17"})
	if err != nil {
		fmt.Println(err)
		return
	}
	meta := envelope.Meta{ID: "1", Type: "orders.shipped", At: time.Date(2026, 11, 24, 4, 3, 2, 0, time.UTC), ContentType: codec.ContentType()}
	wire, err := envelope.Append(nil, meta, payload)
	fmt.Println(string(wire), err)

	read := envelope.Envelope[shipped]{}
	read.Meta, payload, err = envelope.Parse(wire)
	if err != nil {
		fmt.Println(err)
		return
	}
	err = codec.Decode(payload, &read.Payload)
	fmt.Println(read.ID, read.Type, read.Payload.OrderID, err)
	// Output:
	// {"id":"1","type":"orders.shipped","ts":"2026-11-24T04:03:02Z","corrId":"1","payload":{"orderId":"17"}} <nil>
	// 1 orders.shipped 17 <nil>
}

// What a handler publishes belongs to what it handles, without being asked.
func ExampleDerive() {
	input := envelope.Meta{ID: "1", Type: "orders.placed", CorrID: "1", Tenant: "acme"}
	ctx := envelope.With(context.Background(), input)

	out := envelope.Derive(ctx, envelope.Meta{Type: "orders.shipped"})
	fmt.Println(out.CorrID, out.CauseID, out.Tenant, out.ID != input.ID)
	// Output: 1 1 acme true
}

// The handling of one message may be repeated; what it emits has the same ids each time.
func ExampleDeriveIDAt() {
	fmt.Println(envelope.DeriveIDAt(0, "orders.placed", "1", "billing", "orders.shipped"))
	fmt.Println(envelope.DeriveIDAt(1, "orders.placed", "1", "billing", "orders.shipped"))
	// Output:
	// eb3f00aa-c50a-8930-812a-ae13cf66f0b6
	// 29b2c1ef-2b69-8d69-9f12-612477920846
}

// The refusal says where, and what is wanted.
func ExampleParse_refused() {
	_, _, err := envelope.Parse([]byte(`{"id":"1","type":"t","ts":"2026-11-24T04:03:02Z","key":7,"payload":{}}`))
	fmt.Println(err)
	// Output: envelope: invalid: key at byte 55: want a string
}

func ExampleToCloudEvent() {
	meta := envelope.Meta{ID: "1", Type: "orders.shipped", At: time.Date(2026, 11, 24, 4, 3, 2, 0, time.UTC), Source: "/shop", Tenant: "acme"}
	event, err := envelope.ToCloudEvent(meta, []byte(`{"orderId":"17"}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(string(event))
	back, payload, err := envelope.FromCloudEvent(event)
	fmt.Println(back.Tenant, string(payload), err)
	// Output:
	// {"specversion":"1.0","id":"1","source":"/shop","type":"orders.shipped","time":"2026-11-24T04:03:02Z","datacontenttype":"application/json","correlationid":"1","tenantid":"acme","data":{"orderId":"17"}}
	// acme {"orderId":"17"} <nil>
}
