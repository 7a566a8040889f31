package main

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/musterhq/muster/bench"
	"github.com/musterhq/muster/once"
)

// How once is asked: the function of a storm takes so long, and so many ask at the same time.
const (
	onceTook  = 5 * time.Millisecond
	onceStorm = 32
)

// asked is one way to run a function once for a key and to tell all who ask what came of it.
type asked interface {
	ask(key string, took time.Duration) error
	Close() error
}

// onceFresh asks for a new key each time, from 16 callers.
type onceFresh struct {
	asked
	at atomic.Int64
}

func (o *onceFresh) Move(n int) error {
	return callers(n, 16, func() error { return o.ask("fresh/"+strconv.FormatInt(o.at.Add(1), 10), 0) })
}

// onceReplay asks for what is recorded, from 16 callers.
type onceReplay struct {
	asked
	turn turn
}

func (o *onceReplay) Prepare(int) error {
	return callers(keyCount, 16, func() error { return o.ask(o.turn.key(), 0) })
}

func (o *onceReplay) Move(n int) error {
	return callers(n, 16, func() error { return o.ask(o.turn.key(), 0) })
}

// onceStorms has 32 callers ask for the same new key at the same time, again and again.
type onceStorms struct {
	asked
	at int
}

func (o *onceStorms) Move(n int) error {
	errs := make([]error, onceStorm)
	for range n {
		o.at++
		key := "storm/" + strconv.Itoa(o.at)
		var work sync.WaitGroup
		for i := range errs {
			work.Go(func() { errs[i] = errors.Join(errs[i], o.ask(key, onceTook)) })
		}
		work.Wait()
	}
	return errors.Join(errs...)
}

type musterOnce struct{ *muster }

func (m musterOnce) ask(key string, took time.Duration) error {
	_, _, err := once.Do(m.ctx, once.Ledger{KV: m.b, Keep: time.Hour}, key, func(context.Context) (string, error) {
		if took > 0 {
			time.Sleep(took)
		}
		return "result", nil
	})
	return err
}

// rawOnce is by hand: who has claimed the key runs, without renewing, and records; others look again each millisecond.
type rawOnce struct{ *raw }

func (r rawOnce) ask(key string, took time.Duration) error {
	for {
		claim := r.client.B().Set().Key(key).Value("claimed").Nx().Get().PxMilliseconds(30_000).Build()
		was, err := r.client.Do(r.ctx, claim).ToString()
		switch {
		case rueidis.IsRedisNil(err):
			if took > 0 {
				time.Sleep(took)
			}
			return r.client.Do(r.ctx, r.client.B().Set().Key(key).Value("result").PxMilliseconds(3_600_000).Build()).Error()
		case err != nil:
			return err
		case was != "claimed":
			return nil
		}
		time.Sleep(time.Millisecond)
	}
}

func (f *field) onces(work int, wrap func(asked) bench.Contest) []bench.Contender {
	return []bench.Contender{
		{Name: "rueidis-tuned", Work: work, Open: f.raw(true, func(r *raw) bench.Contest { return wrap(rawOnce{r}) })},
		{Name: "muster", Work: work, Open: f.muster(full, func(m *muster) bench.Contest { return wrap(musterOnce{m}) })},
	}
}
