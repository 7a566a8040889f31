package cluster

import (
	"context"
	"errors"
	"maps"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterhq/muster/adapter/memory"
	"github.com/musterhq/muster/port"
)

// join runs a member beside the test; the error of Join is a line.
func join(t *testing.T, l port.Leases, news *lines, m Member) (leave func()) {
	m.Log = quiet
	leave = background(t, func(ctx context.Context) {
		if err := Join(ctx, l, m); err != nil {
			news.at("join %s: %v", m.ID, err)
		}
	})
	synctest.Wait()
	return leave
}

// watching writes down what a watcher is told.
func watching(t *testing.T, l port.Leases, news *lines) {
	background(t, func(ctx context.Context) {
		events, err := Watch(ctx, l)
		if err != nil {
			t.Error(err)
			return
		}
		for e, err := range events {
			if err != nil {
				news.at("error %v", errors.Is(err, errNet))
				continue
			}
			news.at("%v %s %v", e.Change, e.Member.ID, e.Member.Meta)
		}
	})
	synctest.Wait()
}

func TestJoinedChangedLeftAndExpiredAreToldApart(t *testing.T) {
	bubble(t, func(t *testing.T, b *memory.Backend) {
		news := newLines()
		var load atomic.Pointer[map[string]string]
		load.Store(&map[string]string{"load": "1"})
		leave := join(t, b, news, Member{ID: "a", Tell: func() map[string]string { return *load.Load() }})
		watching(t, b, news)
		handle, c := watched(b)
		join(t, handle, news, Member{ID: "b"})
		<-time.After(time.Second)
		load.Store(&map[string]string{"load": "2"})
		<-time.After(9 * time.Second)
		if all, err := Members(t.Context(), b); err != nil || len(all) != 2 || all[0].ID != "a" || !maps.Equal(all[0].Meta, *load.Load()) || all[1].ID != "b" || all[1].TTL != 15*time.Second || all[1].Incarnation == 0 {
			t.Errorf("members are %+v, %v", all, err)
		}
		leave()
		if all, err := Members(t.Context(), b); err != nil || len(all) != 1 {
			t.Errorf("members are %+v, %v", all, err)
		}
		<-time.After(10 * time.Second)
		c.set(func(memory.Op) memory.Fault { return memory.Fault{Cut: true} })
		<-time.After(time.Minute)
		news.mu.Lock()
		defer news.mu.Unlock()
		var what []string
		for _, line := range news.all {
			_, rest, _ := strings.Cut(line, " ")
			what = append(what, rest)
		}
		got := strings.Join(what, "; ")
		if want := "joined a map[load:1]; joined b map[]; changed a map[load:2]; left a map[load:2]; join b: memory: acquire: closed; expired b map[]"; got != want {
			t.Errorf("told: %s\nwant: %s", got, want)
		}
	})
}

func TestARestartIsANewIncarnationAndItsPredecessorHasLeft(t *testing.T) {
	bubble(t, func(t *testing.T, b *memory.Backend) {
		news := newLines()
		leave := join(t, b, news, Member{ID: "a"})
		watching(t, b, news)
		first, _ := Members(t.Context(), b)
		for range 3 { // faster than anybody looks
			leave()
			leave = join(t, b, news, Member{ID: "a"})
		}
		last, _ := Members(t.Context(), b)
		if len(first) != 1 || len(last) != 1 || last[0].Incarnation <= first[0].Incarnation {
			t.Errorf("first %+v, last %+v", first, last)
		}
		leave()
		<-time.After(time.Hour)
		news.mu.Lock()
		defer news.mu.Unlock()
		joined, left := 0, 0
		for _, line := range news.all {
			switch {
			case strings.Contains(line, "joined"):
				joined++
			case strings.Contains(line, "left"):
				left++
			default:
				t.Errorf("told %q", line)
			}
		}
		if joined != left || joined < 2 {
			t.Errorf("told %q", news.all)
		}
	})
}

// A successor releases the farewell and then takes the place, and a watcher looks in between.
func TestWhoLooksWhileASuccessorComesSeesThatItsPredecessorLeft(t *testing.T) {
	bubble(t, func(t *testing.T, b *memory.Backend) {
		news := newLines()
		leave := join(t, b, news, Member{ID: "a"})
		blind, c := watched(b) // hears nothing of the farewell
		var deaf atomic.Bool
		c.set(func(op memory.Op) memory.Fault {
			if deaf.Load() && op.Name == "holders" && op.Point == memory.Before {
				return memory.Fault{Err: errNet}
			}
			return memory.Fault{}
		})
		watching(t, blind, news)
		deaf.Store(true)
		leave()
		synctest.Wait()
		next, slow := watched(b)
		slow.set(func(op memory.Op) memory.Fault {
			if op.Name == "release" && op.Point == memory.After {
				deaf.Store(false)
				return memory.Fault{Delay: 6 * time.Second} // longer than a third of the TTL
			}
			return memory.Fault{}
		})
		background(t, func(ctx context.Context) { _ = Join(ctx, next, Member{ID: "a", Log: quiet}) })
		<-time.After(time.Minute)
		news.mu.Lock()
		defer news.mu.Unlock()
		all := strings.Join(news.all, ", ")
		if strings.Contains(all, "expired") || strings.Count(all, "joined") != 2 || strings.Count(all, "left") != 1 {
			t.Errorf("told %q", all)
		}
	})
}

// Hints may be lost, all of them; and a watcher that looks once in a third of the TTL still tells left from expired.
func TestWithoutAnyHintLeftIsToldFromExpired(t *testing.T) {
	bubble(t, func(t *testing.T, b *memory.Backend) {
		blind, c := watched(b)
		c.set(down("watchleases"))
		news := newLines()
		leave := join(t, b, news, Member{ID: "a", TTL: 9 * time.Second})
		again := join(t, b, news, Member{ID: "b", TTL: 9 * time.Second})
		crashed, crash := watched(b)
		join(t, crashed, news, Member{ID: "c", TTL: 9 * time.Second})
		watching(t, blind, news)
		<-time.After(time.Second)
		leave()
		for range 5 { // five restarts between two looks
			again()
			again = join(t, b, news, Member{ID: "b", TTL: 9 * time.Second})
		}
		crash.set(func(memory.Op) memory.Fault { return memory.Fault{Cut: true} })
		<-time.After(15 * time.Second)
		again()
		news.mu.Lock()
		defer news.mu.Unlock()
		all := strings.Join(news.all, "; ")
		want := "0s joined a map[]; 0s joined b map[]; 0s joined c map[]; 3s left a map[]; 3s left b map[]; 3s joined b map[]; "
		if !strings.HasPrefix(all, want) || !strings.Contains(all, "expired c") || strings.Contains(all, "expired b") {
			t.Errorf("told %s", all)
		}
	})
}

func TestARevivedMemberIsJoinedAnewAndItsOldIncarnationHasExpired(t *testing.T) {
	bubble(t, func(t *testing.T, b *memory.Backend) {
		news := newLines()
		handle, c := watched(b)
		leave := join(t, handle, news, Member{ID: "a", TTL: 3 * time.Second})
		watching(t, b, news)
		<-time.After(500 * ms)
		c.set(down())
		<-time.After(9500 * ms)
		c.set(nil)
		<-time.After(2 * time.Second)
		leave()
		synctest.Wait()
		news.mu.Lock()
		defer news.mu.Unlock()
		var what []string
		for _, line := range news.all {
			_, rest, _ := strings.Cut(line, " ")
			what = append(what, rest)
		}
		if got := strings.Join(what, "; "); got != "joined a map[]; expired a map[]; joined a map[]; left a map[]" {
			t.Errorf("told %q", news.all)
		}
	})
}

func TestAnIDThatIsAliveElsewhereIsRefusedAndOneThatCrashedIsTakenOver(t *testing.T) {
	bubble(t, func(t *testing.T, b *memory.Backend) {
		news := newLines()
		handle, c := watched(b)
		join(t, handle, news, Member{ID: "a"})
		start := time.Now()
		err := Join(t.Context(), b, Member{ID: "a", Log: quiet})
		if took := time.Since(start); !errors.Is(err, port.ErrHeld) || !errors.Is(err, port.ErrInvalid) || took < 20*time.Second || took > 27*time.Second {
			t.Errorf("%v after %v", err, took)
		}
		c.set(func(memory.Op) memory.Fault { return memory.Fault{Cut: true} })
		leave := join(t, b, news, Member{ID: "a"})
		<-time.After(16 * time.Second)
		all, err := Members(t.Context(), b)
		if err != nil || len(all) != 1 || !all[0].Since.After(start.Add(20*time.Second)) {
			t.Errorf("members are %+v, %v", all, err)
		}
		leave()
	})
}

func TestTheEndOfJoin(t *testing.T) {
	bubble(t, func(t *testing.T, b *memory.Backend) {
		handle, c := watched(b)
		ended := make(chan error, 1)
		stop := background(t, func(ctx context.Context) { ended <- Join(ctx, handle, Member{Log: quiet}) })
		synctest.Wait()
		c.set(down())
		stop()
		if err := <-ended; !errors.Is(err, errNet) || !strings.Contains(err.Error(), "will be seen as expired") {
			t.Errorf("leave that cannot be taken: %v", err)
		}
		c.set(nil)
		if err := handle.Close(); err != nil {
			t.Fatal(err)
		}
		if err := Join(t.Context(), handle, Member{Log: quiet}); !errors.Is(err, port.ErrClosed) {
			t.Errorf("closed: %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := Join(ctx, b, Member{Log: quiet}); err != nil {
			t.Errorf("with an ended ctx: %v", err)
		}
		for want, m := range map[string]Member{
			`character "/" is not one of`: {ID: "a/b"},
			"lease -1ns is not positive":  {TTL: -1},
		} {
			if err := Join(t.Context(), b, m); !errors.Is(err, port.ErrInvalid) || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want %q", err, want)
			}
		}
	})
}

func TestAHeartbeatThatTellsSomethingNewIsRepeatedUntilItIsKnownToBeTold(t *testing.T) {
	bubble(t, func(t *testing.T, b *memory.Backend) {
		handle, c := watched(b)
		news := newLines()
		var load atomic.Int64
		join(t, handle, news, Member{ID: "a", TTL: 9 * time.Second, Tell: func() map[string]string {
			if load.Load() == 0 {
				return nil
			}
			return map[string]string{"load": "high"}
		}})
		c.reset()
		load.Store(1)
		fail := true
		c.set(func(op memory.Op) memory.Fault {
			if op.Name == "acquire" && op.Point == memory.Before && fail {
				fail = false
				return memory.Fault{Err: errNet}
			}
			return memory.Fault{}
		})
		<-time.After(8 * time.Second)
		if all, err := Members(t.Context(), b); err != nil || len(all) != 1 || all[0].Meta["load"] != "high" {
			t.Errorf("members are %+v, %v", all, err)
		}
		if c.of("acquire") != 2 || c.of("renew") == 0 {
			t.Errorf("asked %v, want to tell twice and then to renew", c.count)
		}
	})
}

// A heartbeat that arrives after the end of its lease is granted anew by the backend. That is not the membership that was held.
func TestAHeartbeatThatTellsSomethingNewAfterTheEndIsALoss(t *testing.T) {
	for _, taken := range []bool{false, true} {
		bubble(t, func(t *testing.T, b *memory.Backend) {
			handle, c := watched(b)
			news := newLines()
			var load atomic.Int64
			s := &spy{Leases: handle}
			leave := join(t, s, news, Member{ID: "a", TTL: 9 * time.Second, Tell: func() map[string]string {
				return map[string]string{"load": strings.Repeat("x", int(load.Load()))}
			}})
			first, _ := Members(t.Context(), b)
			load.Store(1)
			ended := false
			c.set(func(op memory.Op) memory.Fault {
				if op.Name == "acquire" && op.Point == memory.Before && !ended {
					ended = true
					if err := b.Release(t.Context(), *s.last.Load())[0]; err != nil {
						t.Error(err)
					}
					if taken {
						if _, err := b.Acquire(t.Context(), port.Lease{Name: "member.a", Owner: "a", Nonce: "other"}, time.Second); err != nil {
							t.Error(err)
						}
					}
				}
				return memory.Fault{}
			})
			<-time.After(8 * time.Second)
			last, err := Members(t.Context(), b)
			if err != nil || len(last) != 1 || last[0].Incarnation <= first[0].Incarnation || last[0].Meta["load"] != "x" {
				t.Errorf("first %+v, last %+v, %v", first, last, err)
			}
			leave()
			news.want(t)
		})
	}
}

// spy knows the last lease that was granted through it.
type spy struct {
	port.Leases
	last atomic.Pointer[port.Lease]
}

func (s *spy) Acquire(ctx context.Context, want port.Lease, ttl time.Duration) (port.Lease, error) {
	got, err := s.Leases.Acquire(ctx, want, ttl)
	if err == nil {
		s.last.Store(&got)
	}
	return got, err
}
