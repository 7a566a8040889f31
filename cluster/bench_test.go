package cluster

import (
	"context"
	"testing"
	"time"

	"github.com/musterhq/muster/adapter/memory"
)

// Held is measured beside the reading of the clock that it cannot do without.
func BenchmarkHeld(b *testing.B) {
	b.Run("time.Now", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			time.Now()
		}
	})
	b.Run("Held", func(b *testing.B) {
		store := memory.New(memory.Config{})
		err := Lock(b.Context(), store, Hold{Name: "x", TTL: time.Hour, Log: quiet}, func(_ context.Context, term Term) error {
			b.ReportAllocs()
			for b.Loop() {
				if !term.Held() {
					b.Fatal("not held")
				}
			}
			return nil
		})
		if err != nil {
			b.Error(err)
		}
	})
}

// What the rules of a holder cost over the two requests that they are made of, on memory.
func BenchmarkLockAndUnlock(b *testing.B) {
	store := memory.New(memory.Config{})
	b.ReportAllocs()
	for b.Loop() {
		if err := Lock(b.Context(), store, Hold{Name: "x", ID: "a", Log: quiet}, func(context.Context, Term) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}
