package bus_test

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterhq/muster/adapter/memory"
	"github.com/musterhq/muster/bus"
	"github.com/musterhq/muster/envelope"
)

func TestAHandlerThatEndsItsGoroutineRefusesAndServingGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(memory.Config{})
		s := serve(t, b, func(_ context.Context, e envelope.Envelope[string]) error {
			if e.Payload == "exit" {
				runtime.Goexit()
			}
			return nil
		})
		acks, err := news.PublishWithAck(t.Context(), b, "exit", 1, time.Second)
		if !errors.Is(err, bus.ErrAckTimeout) || len(acks) != 1 || acks[0].Err == nil {
			t.Errorf("%v, %v", acks, err)
		}
		if acks, err := news.PublishWithAck(t.Context(), b, "next", 1, time.Second); len(acks) != 1 || err != nil {
			t.Errorf("the next one: %v, %v", acks, err)
		}
		s.end()
	})
}

// C29: unbounded waits.
func TestServingEndsAlthoughItsAnswersDoNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.New(memory.Config{})
		slow := store.Open(memory.Config{Fault: func(op memory.Op) memory.Fault {
			if op.Name == "signal" {
				return memory.Fault{Delay: 24 * time.Hour}
			}
			return memory.Fault{}
		}})
		s := serve(t, slow, func(context.Context, envelope.Envelope[string]) error { return nil })
		if _, err := news.PublishWithAck(t.Context(), store, "x", 1, time.Second); !errors.Is(err, bus.ErrNoSubscribers) {
			t.Errorf("published with %v", err)
		}
		begin := time.Now()
		s.end()
		if took := time.Since(begin); took > 10*time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

func TestServingUnderAContextThatEndedIsACleanEnd(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := news.Serve(ctx, memory.New(memory.Config{}), nil); err != nil {
		t.Error(err)
	}
}
