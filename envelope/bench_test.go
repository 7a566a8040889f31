package envelope_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/musterhq/muster/envelope"
)

// order is a payload of 256 bytes as JSON.
type order struct {
	ID       string   `json:"id"`
	Customer string   `json:"customer"`
	Cents    int64    `json:"cents"`
	Lines    []string `json:"lines"`
	Note     string   `json:"note"`
}

func sampleOrder() (order, []byte) {
	o := order{ID: "order-000017", Customer: "customer-42", Cents: 129_900, Lines: []string{"sku-1 x 2", "sku-7 x 1", "sku-9 x 12"}}
	b, _ := json.Marshal(o)
	o.Note = strings.Repeat("n", 256-len(b))
	b, _ = json.Marshal(o)
	return o, b
}

// sampleMeta is what a message in the middle of a flow says.
func sampleMeta() envelope.Meta {
	return envelope.Meta{
		ID: "019b2c3d-4e5f-7a6b-8c7d-9e0f1a2b3c4d", Type: "orders.placed", At: time.Date(2026, 11, 24, 4, 3, 2, 123456789, time.UTC),
		CorrID: "019b2c3d-0000-7a6b-8c7d-9e0f1a2b3c4d", CauseID: "019b2c3d-1111-7a6b-8c7d-9e0f1a2b3c4d",
		Tenant: "acme", Source: "/shop", Key: "customer-42", ContentType: envelope.ContentTypeJSON,
	}
}

func withHeaders(m envelope.Meta) envelope.Meta {
	m.Headers = map[string]string{envelope.HeaderTraceParent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
	return m
}

// standard is the wire form for encoding/json: what the codec is compared with.
type standard struct {
	ID      string            `json:"id"`
	Type    string            `json:"type"`
	Ts      time.Time         `json:"ts"`
	CorrID  string            `json:"corrId"`
	CauseID string            `json:"causeId,omitempty"`
	Tenant  string            `json:"tenantId,omitempty"`
	Source  string            `json:"source,omitempty"`
	Key     string            `json:"key,omitempty"`
	Headers map[string]string `json:"headers,omitempty"`
	Payload json.RawMessage   `json:"payload"`
}

func standardOf(m envelope.Meta, payload []byte) standard {
	return standard{m.ID, m.Type, m.At, m.CorrID, m.CauseID, m.Tenant, m.Source, m.Key, m.Headers, payload}
}

func BenchmarkAppend(b *testing.B) {
	_, payload := sampleOrder()
	for _, c := range []struct {
		name string
		m    envelope.Meta
	}{{"plain", sampleMeta()}, {"traced", withHeaders(sampleMeta())}} {
		b.Run("envelope/"+c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := envelope.Append(nil, c.m, payload); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("encoding-json/"+c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := json.Marshal(standardOf(c.m, payload)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("envelope/bytes", func(b *testing.B) {
		m := sampleMeta()
		m.ContentType = envelope.Bytes{}.ContentType()
		b.ReportAllocs()
		for b.Loop() {
			if _, err := envelope.Append(nil, m, payload); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkParse(b *testing.B) {
	_, payload := sampleOrder()
	for _, c := range []struct {
		name string
		m    envelope.Meta
	}{{"plain", sampleMeta()}, {"traced", withHeaders(sampleMeta())}} {
		wire, err := envelope.Append(nil, c.m, payload)
		if err != nil {
			b.Fatal(err)
		}
		b.Run("envelope/"+c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := envelope.Parse(wire); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("encoding-json/"+c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				var s standard
				if err := json.Unmarshal(wire, &s); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("envelope/bytes", func(b *testing.B) {
		m := sampleMeta()
		m.ContentType = envelope.Bytes{}.ContentType()
		wire, err := envelope.Append(nil, m, payload)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		for b.Loop() {
			if _, _, err := envelope.Parse(wire); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkCodec(b *testing.B) {
	o, payload := sampleOrder()
	b.Run("JSON[struct]/append", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := (envelope.JSON[order]{}).Append(nil, o); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("JSON[struct]/decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var into order
			if err := (envelope.JSON[order]{}).Decode(payload, &into); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("JSON[RawMessage]/append", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := (envelope.JSON[json.RawMessage]{}).Append(nil, payload); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkID(b *testing.B) {
	b.Run("NewID", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_ = envelope.NewID()
		}
	})
	b.Run("NewID/parallel", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				_ = envelope.NewID()
			}
		})
	})
	b.Run("DeriveIDAt", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_ = envelope.DeriveIDAt(3, "orders.placed", "019b2c3d-4e5f-7a6b-8c7d-9e0f1a2b3c4d", "billing", "orders.shipped")
		}
	})
}

// kept keeps a context from being made on the stack, where that of a handler never is.
var kept context.Context

func BenchmarkContext(b *testing.B) {
	m, at := withHeaders(sampleMeta()), envelope.Place{Topic: "orders.placed", Group: "billing"}
	b.Run("Enter", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			kept = envelope.Enter(b.Context(), m, at, "key")
		}
	})
	b.Run("Derive", func(b *testing.B) {
		ctx := envelope.Enter(b.Context(), sampleMeta(), at, "key")
		b.ReportAllocs()
		for b.Loop() {
			_ = envelope.Derive(ctx, envelope.Meta{Type: "orders.shipped"})
		}
	})
}
