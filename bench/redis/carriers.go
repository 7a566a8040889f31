package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/redis/rueidis"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/musterhq/muster/bench"
	"github.com/musterhq/muster/bus"
)

const carriedByHand = "rueidis-tuned"

func (f *field) carriers() []carrier {
	return []carrier{
		{"go-redis", 1, carries(f.goRedis(func(g *goRedis) bench.Contest { return &goRedisCarried{g} }, rawStream))},
		{"watermill", 1, carries(f.mill(func(m *mill) bench.Contest { return &millCarried{m} }, rawStream))},
		{"asynq", 20, carries(f.tasks(func(t *tasks) bench.Contest { return &tasksCarried{t} }))},
		{carriedByHand, 1, carries(f.raw(true, func(r *raw) bench.Contest { return &rawCarried{r} }, rawStream))},
		{"muster", 1, carries(f.muster(full, func(m *muster) bench.Contest { return &musterCarried{m} }, musterTopic))},
	}
}

// carries makes what opens a carrier of what opens a contest that is one, too.
func carries(open func(context.Context) (bench.Contest, error)) func(context.Context) (carried, error) {
	return func(ctx context.Context) (carried, error) {
		c, err := open(ctx)
		if err != nil {
			return nil, err
		}
		d, ok := c.(carried)
		if !ok {
			return nil, errors.Join(errors.New("it carries nothing"), c.Close())
		}
		return d, nil
	}
}

// notMoved answers for the part of a contest that a carrier does not have.
func notMoved() error { return errors.New("a carrier does not move what it is not sent") }

type rawCarried struct{ *raw }

func (r *rawCarried) Move(int) error { return notMoved() }

func (r *rawCarried) send(body []byte) error {
	return r.client.Do(r.ctx, r.client.B().Xadd().Key(rawStream).Id("*").FieldValue().FieldValue("m", rueidis.BinaryString(body)).Build()).Error()
}

// receive acknowledges beside the reading.
func (r *rawCarried) receive(ctx context.Context, handle func([]byte)) error {
	done := make(chan []string, 16)
	var acked error
	var work sync.WaitGroup
	work.Go(func() {
		for list := range done {
			acked = errors.Join(acked, r.ack(list...))
		}
	})
	var err error
	for err == nil && ctx.Err() == nil {
		var entries []rueidis.XRangeEntry
		if entries, err = r.read(ctx, rawStream, 500); len(entries) == 0 {
			continue
		}
		for i := range entries {
			handle([]byte(entries[i].FieldValues["m"]))
		}
		done <- ids(entries)
	}
	close(done)
	work.Wait()
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return errors.Join(err, acked)
}

type goRedisCarried struct{ *goRedis }

func (g *goRedisCarried) Move(int) error         { return notMoved() }
func (g *goRedisCarried) send(body []byte) error { return g.publish(rawStream, body) }

func (g *goRedisCarried) receive(ctx context.Context, handle func([]byte)) error {
	for ctx.Err() == nil {
		read, err := g.client.XReadGroup(ctx, &redis.XReadGroupArgs{Group: rawGroup, Consumer: "one", Streams: []string{rawStream, ">"}, Count: 10, Block: time.Second}).Result()
		if err != nil && !errors.Is(err, redis.Nil) {
			return errors.Join(ctx.Err(), err)
		}
		for _, s := range read {
			for _, m := range s.Messages {
				body, _ := m.Values["m"].(string)
				handle([]byte(body))
				if err := g.client.XAck(g.ctx, rawStream, rawGroup, m.ID).Err(); err != nil {
					return err
				}
			}
		}
	}
	return ctx.Err()
}

type millCarried struct{ *mill }

func (m *millCarried) Move(int) error { return notMoved() }

func (m *millCarried) send(body []byte) error {
	return m.publish.Publish(rawStream, message.NewMessage(watermill.NewUUID(), body))
}

func (m *millCarried) receive(ctx context.Context, handle func([]byte)) error {
	in, err := m.messages(rawStream)
	for err == nil {
		select {
		case msg := <-in:
			handle(msg.Payload)
			msg.Ack()
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	return err
}

type tasksCarried struct{ *tasks }

func (t *tasksCarried) Move(int) error { return notMoved() }

func (t *tasksCarried) send(body []byte) error {
	_, err := t.client.EnqueueContext(t.ctx, asynq.NewTask("bench", body))
	return err
}

func (t *tasksCarried) receive(ctx context.Context, handle func([]byte)) error {
	s := asynq.NewServer(t.redis, asynq.Config{Concurrency: 64, Logger: silent{}, LogLevel: asynq.FatalLevel})
	err := s.Start(asynq.HandlerFunc(func(_ context.Context, task *asynq.Task) error {
		handle(task.Payload())
		return nil
	}))
	if err != nil {
		return err
	}
	<-ctx.Done()
	s.Shutdown()
	return ctx.Err()
}

type musterCarried struct{ *muster }

func (m *musterCarried) Move(int) error { return notMoved() }

func (m *musterCarried) send(body []byte) error {
	_, err := m.topic(musterTopic).Publish(m.ctx, m.b, body)
	return err
}

func (m *musterCarried) receive(ctx context.Context, handle func([]byte)) error {
	return m.topic(musterTopic).Subscribe(ctx, m.b, m.group(), func(_ context.Context, in bus.Message[[]byte]) error {
		handle(in.Payload)
		return nil
	})
}
