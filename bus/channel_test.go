package bus_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterhq/muster/adapter/memory"
	"github.com/musterhq/muster/bus"
	"github.com/musterhq/muster/envelope"
	"github.com/musterhq/muster/port"
)

var news = bus.Channel[string]{Name: "news"}

func serve(t *testing.T, b port.Signals, h func(context.Context, envelope.Envelope[string]) error) *subscription {
	s := start(t, func(ctx context.Context) error { return news.Serve(ctx, b, h) })
	synctest.Wait()
	return s
}

// C20: acknowledgements faked from a subscriber count.
func TestAcknowledgementsComeFromThoseWhoHandledIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(memory.Config{})
		if _, err := news.PublishWithAck(t.Context(), b, "x", 1, time.Second); !errors.Is(err, bus.ErrNoSubscribers) {
			t.Errorf("nobody: %v", err)
		}
		listener, err := news.Listen(t.Context(), b)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := news.PublishWithAck(t.Context(), b, "x", 1, time.Second); !errors.Is(err, bus.ErrNoSubscribers) {
			t.Errorf("one who listens and does not serve: %v", err)
		}
		for e, err := range listener {
			if e.Payload != "x" || err != nil {
				t.Errorf("heard %q, %v", e.Payload, err)
			}
			break
		}
		var handled atomic.Int64
		good := serve(t, b, func(ctx context.Context, e envelope.Envelope[string]) error {
			if meta, ok := envelope.From(ctx); !ok || meta.ID != e.ID {
				t.Error("the context does not carry the message")
			}
			<-time.After(time.Second)
			handled.Add(1)
			return nil
		})
		bad := serve(t, b, func(context.Context, envelope.Envelope[string]) error { return errors.New("busy") })
		ugly := serve(t, b, func(context.Context, envelope.Envelope[string]) error { panic("ouch") })
		acks, err := news.PublishWithAck(t.Context(), b, "y", 1, time.Minute)
		if err != nil || handled.Load() != 1 {
			t.Errorf("%v after %d", err, handled.Load())
		}
		refused := ""
		for _, a := range acks {
			if a.Err != nil {
				refused += a.Err.Error() + " "
			}
		}
		if len(acks) != 3 || !strings.Contains(refused, "busy") || !strings.Contains(refused, "panic: ouch") {
			t.Errorf("%+v", acks)
		}
		acks, err = news.PublishWithAck(t.Context(), b, "z", 2, 3*time.Second)
		if !errors.Is(err, bus.ErrAckTimeout) || len(acks) != 3 || handled.Load() != 2 {
			t.Errorf("two wanted, one there: %+v, %v", acks, err)
		}
		bad.end()
		ugly.end()
		good.end()
	})
}

func TestAPublisherThatStopsWaitingIsToldWhy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(memory.Config{})
		s := serve(t, b, func(context.Context, envelope.Envelope[string]) error { <-time.After(time.Hour); return nil })
		cause := errors.New("enough")
		ctx, stop := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { stop(cause) })
		if _, err := news.PublishWithAck(ctx, b, "x", 1, time.Minute); !errors.Is(err, cause) {
			t.Errorf("%v", err)
		}
		for _, want := range []int{0, -1} {
			if _, err := news.PublishWithAck(t.Context(), b, "x", want, time.Minute); !errors.Is(err, port.ErrInvalid) {
				t.Errorf("want %d: %v", want, err)
			}
		}
		if _, err := news.PublishWithAck(t.Context(), b, "x", 1, 0); !errors.Is(err, port.ErrInvalid) {
			t.Errorf("no timeout: %v", err)
		}
		s.end()
	})
}

func TestThoseBeyondWhatMayWaitAreRefusedAndAGapIsSurvived(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(memory.Config{})
		free := make(chan struct{})
		var handled atomic.Int64
		s := serve(t, b, func(context.Context, envelope.Envelope[string]) error {
			<-free
			handled.Add(1)
			return nil
		})
		for range 1026 {
			if err := news.Publish(t.Context(), b, "filler"); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		acks, err := news.PublishWithAck(t.Context(), b, "one too many", 1, time.Second)
		if !errors.Is(err, bus.ErrAckTimeout) || len(acks) != 1 || acks[0].Err == nil {
			t.Errorf("%+v, %v", acks, err)
		}
		if err := b.Signal(t.Context(), news.Name, []byte("garbage")); err != nil {
			t.Fatal(err)
		}
		close(free)
		synctest.Wait()
		if acks, err := news.PublishWithAck(t.Context(), b, "after", 1, time.Second); len(acks) != 1 || err != nil {
			t.Errorf("%+v, %v", acks, err)
		}
		s.end()
		if handled.Load() != 1026 {
			t.Errorf("handled %d", handled.Load())
		}
	})
}

func TestWhatListensHearsGapsAndGarbageAsErrorsAndGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(memory.Config{})
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		heard, err := news.Listen(ctx, b)
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Signal(ctx, news.Name, []byte("garbage")); err != nil {
			t.Fatal(err)
		}
		if err := (bus.Channel[int]{Name: news.Name}).Publish(ctx, b, 7); err != nil {
			t.Fatal(err)
		}
		for i := range 2000 {
			if err := news.Publish(ctx, b, fmt.Sprint(i)); err != nil {
				t.Fatal(err)
			}
		}
		garbage, gaps, good := 0, 0, 0
		for _, err := range heard {
			switch {
			case errors.Is(err, port.ErrInvalid):
				garbage++
			case errors.Is(err, port.ErrGap):
				gaps++
				stop()
			case err == nil:
				good++
			default:
				t.Error(err)
			}
		}
		if garbage != 2 || gaps != 1 || good == 0 {
			t.Errorf("%d garbage, %d gaps, %d good", garbage, gaps, good)
		}
	})
}

func TestAChannelThatCannotBeIsRefused(t *testing.T) {
	b := memory.New(memory.Config{})
	bad := bus.Channel[string]{Name: "two words"}
	if err := bad.Publish(t.Context(), b, "x"); !errors.Is(err, port.ErrInvalid) {
		t.Error(err)
	}
	if _, err := bad.Listen(t.Context(), b); !errors.Is(err, port.ErrInvalid) {
		t.Error(err)
	}
	if err := bad.Serve(t.Context(), b, nil); !errors.Is(err, port.ErrInvalid) {
		t.Error(err)
	}
	if _, err := bad.PublishWithAck(t.Context(), b, "x", 1, time.Second); !errors.Is(err, port.ErrInvalid) {
		t.Error(err)
	}
	if err := (bus.Channel[func()]{Name: "f"}).Publish(t.Context(), b, nil); !errors.Is(err, port.ErrInvalid) {
		t.Error(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := news.Listen(t.Context(), b); !errors.Is(err, port.ErrClosed) {
		t.Error(err)
	}
	if _, err := news.PublishWithAck(t.Context(), b, "x", 1, time.Second); !errors.Is(err, port.ErrClosed) {
		t.Error(err)
	}
}

func TestServingEndsWithTheBackend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(memory.Config{})
		s := serve(t, b, func(context.Context, envelope.Envelope[string]) error { return nil })
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-s.done; !errors.Is(err, port.ErrClosed) {
			t.Error(err)
		}
	})
}

// C1: a publish that no path carried, and that returned success.
func TestAnAnswerThatCannotBeSentIsMissedByThePublisherAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.New(memory.Config{})
		mute := store.Open(memory.Config{Fault: func(op memory.Op) memory.Fault {
			if op.Name == "signal" {
				return memory.Fault{Err: port.ErrUnavailable}
			}
			return memory.Fault{}
		}})
		var handled atomic.Int64
		s := serve(t, mute, func(context.Context, envelope.Envelope[string]) error { handled.Add(1); return nil })
		if _, err := news.PublishWithAck(t.Context(), store, "x", 1, time.Second); !errors.Is(err, bus.ErrNoSubscribers) || handled.Load() != 1 {
			t.Errorf("%v, handled %d", err, handled.Load())
		}
		if err := news.Publish(t.Context(), mute, "x"); !errors.Is(err, port.ErrUnavailable) {
			t.Errorf("a publish that was refused: %v", err)
		}
		s.end()
	})
}
