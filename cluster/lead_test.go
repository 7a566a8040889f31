package cluster

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterhq/muster/adapter/memory"
	"github.com/musterhq/muster/port"
)

func TestAReturnResignsAtOnceAndTheNextLeadsWithALargerToken(t *testing.T) {
	bubble(t, func(t *testing.T, b *memory.Backend) {
		l := newLines()
		var first uint64
		background(t, func(ctx context.Context) {
			<-time.After(ms)
			err := Lead(ctx, b, Candidate{ID: "b", Log: quiet}, func(ctx context.Context, term Term) error {
				l.at("b leads")
				if term.Token <= first {
					t.Errorf("token %d after %d", term.Token, first)
				}
				<-ctx.Done()
				return context.Cause(ctx)
			})
			l.at("b: %v", err)
		})
		failed := errors.New("failed")
		err := Lead(t.Context(), b, Candidate{ID: "a", Log: quiet}, func(_ context.Context, term Term) error {
			l.at("a leads %s, held %v", term.Name, term.Held())
			first = term.Token
			<-time.After(time.Minute)
			return failed
		})
		if err != failed {
			t.Errorf("Lead returned %v, want fn's error", err)
		}
		<-time.After(ms)
		l.want(t, "0s a leads default, held true", "1m0s b leads")
	})
}

func TestTheEndOfCtxIsNoErrorAndTheLeaseIsHeldUntilFnHasReturned(t *testing.T) {
	bubble(t, func(t *testing.T, b *memory.Backend) {
		ctx, stop := context.WithCancel(t.Context())
		err := Lead(ctx, b, Candidate{ID: "a", Log: quiet}, func(ctx context.Context, term Term) error {
			stop()
			<-ctx.Done()
			<-time.After(time.Minute) // long after the lease would have ended
			if !term.Held() || len(holders(t, b, "lead.default")) != 1 {
				t.Error("it was given up while fn ran")
			}
			return ctx.Err()
		})
		if err != nil || len(holders(t, b, "")) != 0 {
			t.Errorf("Lead returned %v, held are %v", err, holders(t, b, ""))
		}
		if err := Lead(ctx, b, Candidate{Log: quiet}, never(t)); err != nil {
			t.Errorf("with an ended ctx: %v", err)
		}
		work := errors.New("work failed")
		ctx, stop = context.WithCancel(t.Context())
		err = Lead(ctx, b, Candidate{Log: quiet}, func(context.Context, Term) error {
			stop()
			return work
		})
		if err != work {
			t.Errorf("Lead returned %v, want an error that is not the end of ctx", err)
		}
	})
}

func TestALostTermIsFollowedByAnotherWithALargerToken(t *testing.T) {
	bubble(t, func(t *testing.T, b *memory.Backend) {
		handle, c := watched(b)
		l := newLines()
		var last uint64
		err := Lead(t.Context(), handle, Candidate{ID: "a", TTL: 3 * time.Second, Log: quiet}, func(ctx context.Context, term Term) error {
			if term.Token <= last {
				t.Errorf("token %d after %d", term.Token, last)
			}
			if last != 0 {
				l.at("leads again")
				return nil
			}
			last = term.Token
			c.set(down("renew"))
			<-ctx.Done()
			l.at("lost: %v, held %v", errors.Is(context.Cause(ctx), port.ErrLost), term.Held())
			c.set(nil)
			return errNet
		})
		if err != nil {
			t.Error(err)
		}
		l.want(t, "2.369s lost: true, held false", "2.369s leads again")
	})
}

// Take-over within L + R after a crash.
func TestAfterACrashTheNextLeadsWhenTheLeaseEnds(t *testing.T) {
	bubble(t, func(t *testing.T, b *memory.Backend) {
		handle, c := watched(b)
		crashed := make(chan time.Time, 1)
		background(t, func(ctx context.Context) {
			err := Lead(ctx, handle, Candidate{ID: "a", TTL: 3 * time.Second, Log: quiet}, func(ctx context.Context, _ Term) error {
				<-time.After(10 * time.Second)
				c.set(func(memory.Op) memory.Fault { return memory.Fault{Cut: true} })
				crashed <- time.Now()
				<-ctx.Done()
				return nil
			})
			if !errors.Is(err, port.ErrClosed) {
				t.Errorf("a: %v", err)
			}
		})
		<-time.After(time.Second)
		err := Lead(t.Context(), b, Candidate{ID: "b", TTL: 3 * time.Second, Log: quiet}, func(context.Context, Term) error {
			if took := time.Since(<-crashed); took > 3300*ms {
				t.Errorf("b leads %v after the crash, want within the TTL and a tenth", took)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
}

func TestABackendThatDoesNotAnswerIsAskedOn(t *testing.T) {
	bubble(t, func(t *testing.T, b *memory.Backend) {
		handle, c := watched(b)
		c.set(down())
		l := newLines()
		background(t, func(ctx context.Context) {
			err := Lead(ctx, handle, Candidate{ID: "a", Log: quiet}, func(context.Context, Term) error {
				l.add("leads")
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
		<-time.After(time.Hour)
		if n := c.of("acquire"); n < 600 || n > 1200 {
			t.Errorf("asked %d times in an hour, want about once in a period of 5 s", n)
		}
		c.set(nil)
		<-time.After(6 * time.Second)
		l.want(t, "leads")
	})
}

func TestWhatWillNotGoAwayIsReturned(t *testing.T) {
	bubble(t, func(t *testing.T, b *memory.Backend) {
		closed := b.Open(memory.Config{})
		if err := closed.Close(); err != nil {
			t.Fatal(err)
		}
		if err := Lead(t.Context(), closed, Candidate{Log: quiet}, never(t)); !errors.Is(err, port.ErrClosed) {
			t.Errorf("closed: %v", err)
		}
		handle, c := watched(b)
		for want, candidate := range map[string]Candidate{
			`character " " is not one of`:     {Election: " "},
			"too short for drain":             {Drain: 15 * time.Second},
			"lease -1s is not positive":       {TTL: -time.Second},
			"the name is too long by 5 bytes": {Election: strings.Repeat("x", port.MaxName)},
			"owner":                           {ID: strings.Repeat("x", port.MaxKey+1)},
			"at most 65536 are allowed":       {Meta: map[string]string{"": strings.Repeat("x", port.MaxData)}},
		} {
			if err := Lead(t.Context(), handle, candidate, never(t)); !errors.Is(err, port.ErrInvalid) || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want %q", err, want)
			}
		}
		if err := Lead(t.Context(), nil, Candidate{}, never(t)); !errors.Is(err, port.ErrInvalid) {
			t.Errorf("no leases: %v", err)
		}
		if c.all() != 0 {
			t.Errorf("the backend was asked: %v", c.count)
		}
	})
}

func TestAPanicOfTheLeaderPassesThroughAndTheLeaseIsGivenBack(t *testing.T) {
	bubble(t, func(t *testing.T, b *memory.Backend) {
		func() {
			defer func() {
				if v := recover(); v != "oh" {
					t.Errorf("recovered %v", v)
				}
			}()
			_ = Lead(t.Context(), b, Candidate{Log: quiet}, func(context.Context, Term) error { panic("oh") })
		}()
		if held := holders(t, b, ""); held != nil {
			t.Errorf("held are %v", held)
		}
	})
}

func TestTheLeaderAndItsNewsAreToldToOthers(t *testing.T) {
	bubble(t, func(t *testing.T, b *memory.Backend) {
		if _, err := Leader(t.Context(), b, ""); !errors.Is(err, port.ErrNotFound) {
			t.Errorf("nobody leads: %v", err)
		}
		l := newLines()
		background(t, func(ctx context.Context) {
			news, err := Leaders(ctx, b, "")
			if err != nil {
				t.Error(err)
				return
			}
			for term, err := range news {
				l.at("%q %v", term.Holder, err)
			}
		})
		lead := func(id string) {
			err := Lead(t.Context(), b, Candidate{ID: id, Meta: map[string]string{"addr": id + ":1"}, Log: quiet}, func(_ context.Context, mine Term) error {
				term, err := Leader(t.Context(), b, "default")
				if err != nil || term.Holder != id || term.Token != mine.Token || term.Meta["addr"] != id+":1" || term.Fence() != mine.Fence() {
					t.Errorf("leader is %+v, %v, want %+v", term, err, mine)
				}
				if term.Held() || !errors.Is(term.Guard(func() error { t.Error("ran"); return nil }), port.ErrLost) {
					t.Error("the term of another is held here")
				}
				if d := term.Until().Sub(mine.Until()).Abs(); d > time.Second || !term.Since.Equal(mine.Since) {
					t.Errorf("until %v and %v, since %v and %v", term.Until(), mine.Until(), term.Since, mine.Since)
				}
				<-time.After(time.Minute)
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		}
		<-time.After(time.Second)
		lead("a")
		<-time.After(ms)
		lead("b")
		<-time.After(ms)
		l.want(t, `0s "" <nil>`, `1s "a" <nil>`, `1m1s "" <nil>`, `1m1.001s "b" <nil>`, `2m1.001s "" <nil>`)
	})
}

func TestNewsOfLeadersGoOnAfterAnOutageThatIsToldOnce(t *testing.T) {
	bubble(t, func(t *testing.T, b *memory.Backend) {
		handle, c := watched(b)
		l := newLines()
		background(t, func(ctx context.Context) {
			news, err := Leaders(ctx, handle, "x")
			if err != nil {
				t.Error(err)
				return
			}
			for term, err := range news {
				l.at("%q %v", term.Holder, errors.Is(err, errNet))
			}
		})
		synctest.Wait()
		c.set(down("holders", "watchleases"))
		<-time.After(time.Minute)
		c.set(nil)
		<-time.After(6 * time.Second)
		background(t, func(ctx context.Context) {
			if err := Lead(ctx, b, Candidate{Election: "x", ID: "a", Log: quiet}, func(ctx context.Context, _ Term) error { <-ctx.Done(); return nil }); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		l.want(t, `0s "" false`, `5s "" true`, `1m6s "a" false`)
	})
}

func TestNewsEndWithTheLoopTheCtxAndTheBackend(t *testing.T) {
	bubble(t, func(t *testing.T, b *memory.Backend) {
		if _, err := Leaders(t.Context(), b, "?"); !errors.Is(err, port.ErrInvalid) {
			t.Errorf("a name that is none: %v", err)
		}
		if _, err := Leader(t.Context(), b, "?"); !errors.Is(err, port.ErrInvalid) {
			t.Errorf("a name that is none: %v", err)
		}
		handle, c := watched(b)
		c.set(down())
		if _, err := Leaders(t.Context(), handle, ""); !errors.Is(err, errNet) {
			t.Errorf("an outage at the first question: %v", err)
		}
		if _, err := Leader(t.Context(), handle, ""); !errors.Is(err, errNet) {
			t.Errorf("an outage: %v", err)
		}
		c.set(nil)
		news, err := Leaders(t.Context(), handle, "")
		if err != nil {
			t.Fatal(err)
		}
		for term, err := range news {
			if term.Token != 0 || err != nil {
				t.Errorf("%+v, %v", term, err)
			}
			break
		}
		news, err = Leaders(t.Context(), handle, "")
		if err != nil {
			t.Fatal(err)
		}
		var last error
		for _, err := range news {
			last = err
			if last == nil {
				last = handle.Close()
			}
		}
		if !errors.Is(last, port.ErrClosed) {
			t.Errorf("the last error is %v", last)
		}
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		news, err = Leaders(ctx, b, "")
		if err != nil {
			t.Fatal(err)
		}
		for _, err := range news {
			if err != nil {
				t.Error(err)
			}
			stop()
		}
	})
}
