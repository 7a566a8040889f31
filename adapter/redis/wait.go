package redis

import (
	"context"
	"math/rand/v2"
	"time"
)

// A call that waits looks again when it is woken, when something is due, and at the latest after poll, because a wake-up may
// be lost with its connection.
const poll = 2 * time.Second

// await looks until look reports that it is done, or until the time. Before it waits, it looks with the channel by which it is woken from then
// on. Unless wake-ups are heard already, the first look is without a channel, so that what is there is not waited for. Look
// answers in how many milliseconds something is due, -1 for nothing.
func (b *Backend) await(ctx context.Context, topic string, until time.Time, look func(channel string) (done bool, due int64, err error)) error {
	once := !until.IsZero() && !time.Now().Before(until)
	if once || !b.hub.listens() {
		if done, _, err := look(""); done || err != nil || once {
			return err
		}
	}
	hash := b.space.topicHash(topic)
	w, leave := b.hub.wait(hash)
	defer leave()
	for {
		patience := time.Second
		if !until.IsZero() {
			patience = min(patience, time.Until(until))
		}
		live := b.hub.ready(ctx, patience)
		done, due, err := look(b.space.wake(b.process))
		if done || err != nil {
			return err
		}
		d := poll + rand.N(poll/4)
		if !live {
			d = poll / 20
		}
		if due >= 0 {
			d = min(d, time.Duration(due)*time.Millisecond)
		}
		if !until.IsZero() {
			if d = min(d, time.Until(until)); d <= 0 {
				return nil
			}
		}
		if err := b.sleep(ctx, w, d); err != nil {
			return err
		}
	}
}

func (b *Backend) sleep(ctx context.Context, w *waiter, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-w.woken:
	case <-t.C:
	case <-ctx.Done():
	case <-b.ctx.Done():
	}
	return b.alive(ctx, "")
}
