package main

import "testing"

func BenchmarkTmp(b *testing.B) {
	for _, c := range contenders() {
		if c.Name != "bytes-batches" {
			continue
		}
		b.Run(c.Name, func(b *testing.B) {
			x, err := c.Open(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			b.ResetTimer()
			if err := x.Move(b.N); err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msgs/s")
			x.Close()
		})
	}
}
