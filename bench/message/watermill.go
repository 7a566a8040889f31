package main

import (
	"context"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	memory "github.com/ThreeDotsLabs/watermill/pubsub/gochannel"

	"github.com/musterhq/muster/bench"
)

const topicName = "bench.bytes"

// goChannel is Watermill's publisher and subscriber in one process.
type goChannel struct {
	q      *memory.GoChannel
	body   []byte
	batch  []*message.Message
	credit *credit
	done   chan struct{}
}

type gochannelConfig = memory.Config

// openGoChannel makes one whose subscriber acknowledges each message when it comes. It publishes in calls of as many messages as
// the others do; where conf blocks, each waits for its acknowledgement.
func openGoChannel(conf gochannelConfig) func(context.Context) (bench.Contest, error) {
	return func(ctx context.Context) (bench.Contest, error) {
		_, body := payload()
		g := &goChannel{
			q: memory.NewGoChannel(conf, watermill.NopLogger{}), body: body,
			batch: make([]*message.Message, publishBatch), credit: newCredit(), done: make(chan struct{}),
		}
		messages, err := g.q.Subscribe(ctx, topicName)
		if err != nil {
			return nil, err
		}
		go func() {
			defer close(g.done)
			for m := range messages {
				m.Ack()
				g.credit.done(1)
			}
		}()
		return g, nil
	}
}

func (g *goChannel) Move(n int) error {
	for n > 0 {
		some := g.batch[:min(n, len(g.batch))]
		for i := range some {
			some[i] = message.NewMessage(watermill.NewUUID(), g.body)
		}
		g.credit.take(len(some))
		if err := g.q.Publish(topicName, some...); err != nil {
			return err
		}
		n -= len(some)
	}
	g.credit.all()
	return nil
}

func (g *goChannel) Close() error {
	err := g.q.Close()
	<-g.done
	return err
}
