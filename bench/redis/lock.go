package main

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/go-redsync/redsync/v4"
	"github.com/go-redsync/redsync/v4/redis/goredis/v9"
	"github.com/redis/rueidis"

	"github.com/musterhq/muster/bench"
	"github.com/musterhq/muster/cluster"
)

// locked is one way to hold a lock that is free, do nothing, and give it back.
type locked interface {
	lock(name string) error
	Close() error
}

// locks has many callers, each with a lock of its own.
type locks struct {
	locked
	many int
}

func (l *locks) Move(n int) error {
	var left atomic.Int64
	left.Store(int64(n))
	errs := make([]error, l.many)
	var work sync.WaitGroup
	for i := range l.many {
		work.Go(func() {
			name := "bench" + strconv.Itoa(i)
			for left.Add(-1) >= 0 && errs[i] == nil {
				errs[i] = l.lock(name)
			}
		})
	}
	work.Wait()
	return errors.Join(errs...)
}

var (
	unlockScript = rueidis.NewLuaScript(`if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end return redis.call('DEL', KEYS[1])`)
	errLock      = errors.New("the lock is not free, or was lost")
)

// rawLock is SET with NX and PX, and a script that deletes what it compares: without a renewal, without a fencing token.
type rawLock struct{ *raw }

func (r rawLock) lock(name string) error {
	mine := rand.Text()
	if err := r.client.Do(r.ctx, r.client.B().Set().Key(name).Value(mine).Nx().PxMilliseconds(15_000).Build()).Error(); err != nil {
		return errors.Join(errLock, err)
	}
	n, err := unlockScript.Exec(r.ctx, r.client, []string{name}, []string{mine}).AsInt64()
	if err == nil && n != 1 {
		err = errLock
	}
	return err
}

// syncLock is redsync on one server, by go-redis.
type syncLock struct {
	*goRedis
	sync *redsync.Redsync
}

func newSyncLock(g *goRedis) syncLock { return syncLock{g, redsync.New(goredis.NewPool(g.client))} }

func (s syncLock) lock(name string) error {
	m := s.sync.NewMutex(name)
	if err := m.LockContext(s.ctx); err != nil {
		return err
	}
	ok, err := m.UnlockContext(s.ctx)
	if err == nil && !ok {
		err = errLock
	}
	return err
}

// musterLock is Lock or TryLock of package cluster.
type musterLock struct {
	*muster
	try bool
}

func (m musterLock) lock(name string) error {
	h := cluster.Hold{Name: name, Log: slog.New(slog.DiscardHandler)}
	held := func(context.Context, cluster.Term) error { return nil }
	if m.try {
		return cluster.TryLock(m.ctx, m.b, h, held)
	}
	return cluster.Lock(m.ctx, m.b, h, held)
}

func (f *field) locks(many, work int) []bench.Contender {
	wrap := func(l locked) bench.Contest { return &locks{l, many} }
	return []bench.Contender{
		{Name: "redsync", Work: work / 2, Open: f.goRedis(func(g *goRedis) bench.Contest { return wrap(newSyncLock(g)) })},
		{Name: "rueidis-simple", Work: work, Open: f.raw(false, func(r *raw) bench.Contest { return wrap(rawLock{r}) })},
		{Name: "rueidis-tuned", Work: work, Open: f.raw(true, func(r *raw) bench.Contest { return wrap(rawLock{r}) })},
		{Name: "muster-try", Work: work, Open: f.muster(full, func(m *muster) bench.Contest { return wrap(musterLock{m, true}) })},
		{Name: "muster-lock", Work: work, Open: f.muster(full, func(m *muster) bench.Contest { return wrap(musterLock{m, false}) })},
	}
}
