package flow_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterhq/muster/adapter/memory"
	"github.com/musterhq/muster/flow"
	"github.com/musterhq/muster/port"
)

func TestWatchTellsTheWholeStoryWheneverItBegins(t *testing.T) {
	onEach(t, func(t *testing.T, b *memory.Backend) {
		p := abc(t)
		run := begin(t, p, b, "1", "-")
		told := make(chan []string, 2)
		watch := func() {
			var lines []string
			for r, err := range run.Watch(t.Context()) {
				if err != nil {
					t.Error(err)
				}
				lines = append(lines, r.Phase+" "+string(r.Event))
			}
			told <- lines
		}
		go watch()
		synctest.Wait()
		defer work(t, p, b).end()
		want := "a started, a begun, a done, b begun, b done, c begun, c done"
		if got := strings.Join(<-told, ", "); got != want {
			t.Errorf("from the beginning: %s", got)
		}
		go watch()
		if got := strings.Join(<-told, ", "); got != want {
			t.Errorf("afterwards: %s", got)
		}
		n := 0
		for _, err := range run.Watch(t.Context()) {
			if n++; n == 2 || err != nil {
				break
			}
		}
	})
}

func TestNewsThatAreLostOrTrimmedAreMadeUpFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(memory.Config{})
		p := abc(t)
		begin(t, p, b, "0", "-")
		run := begin(t, p, b, "1", "-")
		done := make(chan error, 1)
		go func() {
			_, err := run.Wait(t.Context())
			done <- err
		}()
		synctest.Wait()
		if err := b.Drop(t.Context(), "letters.events", ""); err != nil {
			t.Fatal(err)
		}
		defer work(t, p, b).end()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestWaitingAsksLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int64
		b := memory.New(memory.Config{Fault: func(op memory.Op) memory.Fault {
			if op.Point == memory.Before {
				asked.Add(1)
			}
			return memory.Fault{}
		}})
		p := abc(t)
		run := begin(t, p, b, "1", "-")
		ctx, end := context.WithTimeoutCause(t.Context(), 10*time.Minute, errors.New("enough"))
		defer end()
		asked.Store(0)
		_, err := run.Wait(ctx)
		if err == nil || !strings.Contains(err.Error(), `it is pending in phase "a"`) || !strings.Contains(err.Error(), "enough") {
			t.Errorf("waiting gave %v", err)
		}
		if asked.Load() > 2*60+5 {
			t.Errorf("it asked the backend %d times in ten minutes", asked.Load())
		}
		var last error
		for _, err := range run.Watch(ctx) {
			last = err
		}
		if last == nil || !strings.Contains(last.Error(), "enough") {
			t.Errorf("watching gave %v", last)
		}
	})
}

func TestAnOutageOfAWhileIsWaitedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var away atomic.Bool
		store := memory.New(memory.Config{})
		b := store.Open(memory.Config{Fault: func(op memory.Op) memory.Fault {
			if away.Load() && op.Point == memory.Before {
				return memory.Fault{Err: port.ErrUnavailable}
			}
			return memory.Fault{}
		}})
		p := abc(t)
		away.Store(true)
		go func() {
			<-time.After(time.Second)
			away.Store(false)
		}()
		if _, err := p.Start(t.Context(), b, "0", "-"); !errors.Is(err, port.ErrUnavailable) {
			t.Errorf("declaring in an outage: %v", err)
		}
		<-time.After(2 * time.Second)
		run := begin(t, p, b, "1", "-")
		away.Store(true)
		go func() {
			<-time.After(time.Second)
			away.Store(false)
		}()
		if err := p.Cancel(t.Context(), store, "1", "x"); err != nil {
			t.Fatal(err)
		}
		if _, err := run.Wait(t.Context()); !errors.Is(err, flow.ErrCancelled) {
			t.Errorf("waiting gave %v", err)
		}
		away.Store(true)
		if _, err := run.Wait(t.Context()); !errors.Is(err, port.ErrUnavailable) {
			t.Errorf("an outage without end: %v", err)
		}
		for _, err := range run.Watch(t.Context()) {
			if !errors.Is(err, port.ErrUnavailable) {
				t.Errorf("watching in an outage: %v", err)
			}
		}
		for name, err := range map[string]error{
			"cancel": p.Cancel(t.Context(), b, "1", ""), "retry": p.Retry(t.Context(), b, "1"), "remove": p.Remove(t.Context(), b, "1"),
		} {
			if !errors.Is(err, port.ErrUnavailable) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}
