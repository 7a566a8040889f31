package hold

import (
	"testing"
	"time"
)

// Held is measured beside the reading of the clock that it cannot do without.
func BenchmarkHeld(b *testing.B) {
	terms, err := Config{Lease: time.Hour}.Terms()
	if err != nil {
		b.Fatal(err)
	}
	b.Run("time.Now", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			time.Now()
		}
	})
	b.Run("Held", func(b *testing.B) {
		k := keeper{hold: &Hold{terms: terms}, terms: terms, sent: terms.Clock.Now(), next: never}
		k.publish(k.sent)
		b.ReportAllocs()
		for b.Loop() {
			if !k.hold.Held() {
				k.publish(terms.Clock.Now())
			}
		}
	})
	b.Run("Clock.Now", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			terms.Clock.Now()
		}
	})
}
