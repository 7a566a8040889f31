//go:build unix

package nats_test

import (
	"fmt"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	client "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/musterhq/muster/adapter/nats"
	"github.com/musterhq/muster/port"
)

// bodySize is that of a small message.
const bodySize = 256

// contestants are Muster and the raw client, on embedded servers of the same kind.
type contestants struct {
	b   *nats.Backend
	raw *client.Conn
	js  jetstream.JetStream
}

func contest(b *testing.B, relaxed bool) *contestants {
	b.Helper()
	c := &contestants{}
	var err error
	if c.b, err = nats.Embedded(b.Context(), nats.EmbeddedConfig{Dir: b.TempDir(), Relaxed: relaxed}); err != nil {
		b.Fatal(err)
	}
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: b.TempDir(), SyncAlways: !relaxed, NoSigs: true, NoLog: true})
	if err != nil {
		b.Fatal(err)
	}
	go s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		b.Fatal("the server is not ready")
	}
	if c.raw, err = client.Connect(s.ClientURL()); err != nil {
		b.Fatal(err)
	}
	if c.js, err = jetstream.New(c.raw); err != nil {
		b.Fatal(err)
	}
	if _, err = c.js.CreateStream(b.Context(), jetstream.StreamConfig{Name: "orders", Subjects: []string{"orders"}}); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := c.b.Close(); err != nil {
			b.Error(err)
		}
		c.raw.Close()
		s.Shutdown()
	})
	return c
}

// BenchmarkPublish is one message per call, confirmed, against JetStream's own Publish on a server of the same kind.
func BenchmarkPublish(b *testing.B) {
	for _, relaxed := range []bool{true, false} {
		name := map[bool]string{true: "relaxed", false: "synced"}[relaxed]
		for _, callers := range []int{1, 64} {
			b.Run(fmt.Sprintf("%s/%d callers/muster", name, callers), func(b *testing.B) {
				c := contest(b, relaxed)
				var n atomic.Int64
				publish(b, callers, func() error {
					return c.b.Write(b.Context(), port.Batch{Messages: []port.Message{{Topic: "orders", ID: strconv.FormatInt(n.Add(1), 10), Body: make([]byte, bodySize)}}})
				})
			})
			b.Run(fmt.Sprintf("%s/%d callers/raw", name, callers), func(b *testing.B) {
				c := contest(b, relaxed)
				publish(b, callers, func() error {
					_, err := c.js.Publish(b.Context(), "orders", make([]byte, bodySize))
					return err
				})
			})
		}
	}
}

func publish(b *testing.B, callers int, one func() error) {
	b.SetParallelism(max(callers/2, 1))
	b.ReportAllocs()
	b.ResetTimer()
	if callers == 1 {
		for b.Loop() {
			if err := one(); err != nil {
				b.Fatal(err)
			}
		}
	} else {
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if err := one(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msgs/s")
}

// BenchmarkBacklog reads what is there, and acknowledges it, against a pull consumer with plain acknowledgements.
func BenchmarkBacklog(b *testing.B) {
	for _, remember := range []time.Duration{0, time.Minute} {
		b.Run(fmt.Sprintf("muster/remember %v", remember), func(b *testing.B) {
			c := contest(b, true)
			g := port.Group{Topic: "orders", Name: "workers", Consumer: "c1", Loan: time.Minute, Remember: remember}
			if err := c.b.Join(b.Context(), g); err != nil {
				b.Fatal(err)
			}
			for n := 0; n < b.N; {
				var batch port.Batch
				for ; len(batch.Messages) < 100 && n < b.N; n++ {
					batch.Messages = append(batch.Messages, port.Message{Topic: "orders", ID: strconv.Itoa(n), Body: make([]byte, bodySize)})
				}
				if err := c.b.Write(b.Context(), batch); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportAllocs()
			b.ResetTimer()
			for got := 0; got < b.N; {
				list, err := c.b.Fetch(b.Context(), g, 256)
				if err != nil {
					b.Fatal(err)
				}
				acks := make([]port.Settlement, len(list))
				for i := range list {
					acks[i].Receipt = list[i].Receipt
				}
				for _, err := range c.b.Settle(b.Context(), g, acks...) {
					if err != nil {
						b.Fatal(err)
					}
				}
				got += len(list)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msgs/s")
		})
	}
	b.Run("raw", func(b *testing.B) {
		c := contest(b, true)
		for range b.N {
			if _, err := c.js.PublishAsync("orders", make([]byte, bodySize)); err != nil {
				b.Fatal(err)
			}
		}
		<-c.js.PublishAsyncComplete()
		consumer, err := c.js.CreateConsumer(b.Context(), "orders", jetstream.ConsumerConfig{Durable: "workers", AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: 10_000})
		if err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		b.ResetTimer()
		news, err := consumer.Messages(jetstream.PullMaxMessages(1000))
		if err != nil {
			b.Fatal(err)
		}
		for range b.N {
			m, err := news.Next()
			if err != nil {
				b.Fatal(err)
			}
			if err := m.Ack(); err != nil {
				b.Fatal(err)
			}
		}
		news.Stop()
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msgs/s")
	})
}
