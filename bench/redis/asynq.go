package main

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/hibiken/asynq"

	"github.com/musterhq/muster/bench"
)

// tasks is asynq with a server of 64 workers.
type tasks struct {
	ctx    context.Context
	redis  asynq.RedisClientOpt
	client *asynq.Client
	body   []byte
	ended  *asynq.Server // that has done its work
}

func (f *field) tasks(wrap func(*tasks) bench.Contest) func(context.Context) (bench.Contest, error) {
	return func(ctx context.Context) (bench.Contest, error) {
		if err := f.server.clear(ctx); err != nil {
			return nil, err
		}
		o := asynq.RedisClientOpt{Addr: f.server.addr, PoolSize: 64}
		return wrap(&tasks{ctx: ctx, redis: o, client: asynq.NewClient(o), body: payload()}), nil
	}
}

func (t *tasks) Close() error {
	t.stop()
	return t.client.Close()
}

// stop stops the server, which is not measured: it takes a second.
func (t *tasks) stop() {
	if t.ended != nil {
		t.ended.Shutdown()
		t.ended = nil
	}
}

func (t *tasks) enqueue() error {
	_, err := t.client.EnqueueContext(t.ctx, asynq.NewTask("bench", t.body))
	return err
}

// loop works off n tasks. The server prints nothing.
func (t *tasks) loop(n int) error {
	done := make(chan struct{})
	var handled atomic.Int64
	s := asynq.NewServer(t.redis, asynq.Config{Concurrency: 64, Logger: silent{}, LogLevel: asynq.FatalLevel})
	err := s.Start(asynq.HandlerFunc(func(context.Context, *asynq.Task) error {
		if handled.Add(1) == int64(n) {
			close(done)
		}
		return nil
	}))
	if err != nil {
		return err
	}
	<-done
	t.ended = s
	return nil
}

// silent is asynq's logger that says nothing.
type silent struct{}

func (silent) Debug(...any) {}
func (silent) Info(...any)  {}
func (silent) Warn(...any)  {}
func (silent) Error(...any) {}
func (silent) Fatal(...any) {}

type tasksPublish struct {
	*tasks
	many int
}

func (t *tasksPublish) Move(n int) error { return callers(n, t.many, t.enqueue) }

// tasksWork works off what was there before, or what 64 callers enqueue meanwhile.
type tasksWork struct {
	*tasks
	atOnce bool
}

func (t *tasksWork) Prepare(n int) error {
	t.stop()
	if t.atOnce {
		return nil
	}
	return callers(n, 64, t.enqueue)
}

func (t *tasksWork) Move(n int) error {
	done := make(chan error, 1)
	go func() { done <- t.loop(n) }()
	var err error
	if t.atOnce {
		err = callers(n, 64, t.enqueue)
	}
	return errors.Join(err, <-done)
}
