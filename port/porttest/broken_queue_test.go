package porttest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/musterhq/muster/port"
)

func queueFlaws() []flaw {
	return []flaw{
		{
			"carries nothing where no group is, and says that it did",
			"C1 what was written before there was a group is there for one that starts at Earliest", "after 0 of 3 messages",
			alone(func(b *bent) {
				b.write = func(ctx context.Context, batch port.Batch) error {
					batch.Messages = slices.DeleteFunc(slices.Clone(batch.Messages), func(m port.Message) bool { return !hasGroup(ctx, b, m.Topic) })
					return b.Backend.Write(ctx, batch)
				}
			}),
		},
		{
			"loses a delayed message",
			"a delayed message comes at its time, to every group", "delayed: 0, want 1",
			alone(func(b *bent) {
				b.write = func(ctx context.Context, batch port.Batch) error {
					batch.Messages = slices.DeleteFunc(slices.Clone(batch.Messages), func(m port.Message) bool { return m.At.After(time.Now()) })
					return b.Backend.Write(ctx, batch)
				}
			}),
		},
		{
			"moves a group that exists to where From says",
			"C11 a group that exists stays where it is, whatever From says", "after 0 of 2 messages",
			alone(func(b *bent) {
				b.join = func(ctx context.Context, g port.Group) error {
					if err := b.Drop(ctx, g.Topic, g.Name); err != nil && !errors.Is(err, port.ErrNotFound) {
						return err
					}
					return b.Backend.Join(ctx, g)
				}
			}),
		},
		{
			"makes a group anew that was lost",
			"Fetch of a group that does not exist makes none", "want [lost]",
			alone(func(b *bent) {
				b.fetch = func(ctx context.Context, g port.Group, limit int) ([]port.Delivery, error) {
					ds, err := b.Backend.Fetch(ctx, g, limit)
					if !errors.Is(err, port.ErrLost) {
						return ds, err
					}
					if err := b.Backend.Join(ctx, g); err != nil {
						return nil, err
					}
					ctx, cancel := context.WithTimeout(ctx, time.Second)
					defer cancel()
					return b.Backend.Fetch(ctx, g, limit)
				}
			}),
		},
		{
			"hands out the newest first",
			"messages come in the order of the log", "handed out",
			alone(func(b *bent) {
				b.fetch = func(ctx context.Context, g port.Group, limit int) ([]port.Delivery, error) {
					ds, err := b.Backend.Fetch(ctx, g, limit)
					slices.Reverse(ds)
					return ds, err
				}
			}),
		},
		{
			"leaves something of the delivery that was in its place before",
			"a delivery in memory that was used before is as in new memory", `\"old\"`,
			alone(func(b *bent) {
				b.fetch = func(ctx context.Context, g port.Group, limit int) ([]port.Delivery, error) {
					before := slices.Clone(g.Into[:cap(g.Into)])
					ds, err := b.Backend.Fetch(ctx, g, limit)
					for i := range min(len(ds), len(before)) {
						ds[i].Reason = before[i].Reason
					}
					return ds, err
				}
			}),
		},
		{
			"hands out more than asked for",
			"Fetch takes what is there and no more than asked for", "a limit of 2 is kept",
			alone(func(b *bent) {
				b.fetch = func(ctx context.Context, g port.Group, limit int) ([]port.Delivery, error) {
					return b.Backend.Fetch(ctx, g, limit+1)
				}
			}),
		},
		{
			"does not tell the cause when a ctx ends",
			"a call that waits ends with the cause of its ctx", "want [stop]",
			alone(func(b *bent) {
				b.fetch = func(ctx context.Context, g port.Group, limit int) ([]port.Delivery, error) {
					ds, err := b.Backend.Fetch(ctx, g, limit)
					if ctx.Err() != nil {
						return nil, ctx.Err()
					}
					return ds, err
				}
			}),
		},
		{
			"lends to a Fetch that was cancelled",
			"a cancelled Fetch takes nothing that is written later", "after 0 of 1 messages",
			alone(func(b *bent) {
				b.fetch = func(ctx context.Context, g port.Group, limit int) ([]port.Delivery, error) {
					ds, err := b.Backend.Fetch(ctx, g, limit)
					if err != nil && ctx.Err() != nil {
						go func() { _, _ = b.Backend.Fetch(context.Background(), g, limit) }()
					}
					return ds, err
				}
			}),
		},
		{
			"hands out a message before its loan ended",
			"a loan that ran out passes on, and not before", "want at least 100ms",
			alone(func(b *bent) {
				b.fetch = func(ctx context.Context, g port.Group, limit int) ([]port.Delivery, error) {
					g.Loan /= 2
					return b.Backend.Fetch(ctx, g, limit)
				}
			}),
		},
		{
			"forgets that a loan ran out",
			"a loan that ran out passes on, and not before", "loans that ran out: 0, want 1",
			altered(func(d *port.Delivery) { d.Lost = 0 }),
		},
		{
			"dates a message by its delivery",
			"the time of a first delivery stays with the message", "is the time of the entry",
			altered(func(d *port.Delivery) { d.FirstAt = time.Now() }),
		},
		{
			"extends no loan, and says that it did",
			"Extend lends from now on", "want at least",
			alone(func(b *bent) {
				b.extend = func(_ context.Context, _ port.Group, h ...port.Hold) []error { return make([]error, len(h)) }
			}),
		},
		{
			"blames the neighbours of a poison message",
			"a recorded start that nothing settled is a crash, and the neighbours of a poison message are not blamed", "crashes of m000: 1, want 0",
			blamesNeighbours,
		},
		{
			"makes an entry visible below an offset that was given",
			"no entry appears at or below an offset that a reader was given", "",
			showsLate,
		},
		{
			"trims what a group has not finished",
			"C25 retention never passes what a group has not finished", "nothing that a group has not finished was removed",
			alone(func(b *bent) {
				b.write = func(ctx context.Context, batch port.Batch) error {
					if err := b.Backend.Write(ctx, batch); err != nil {
						return err
					}
					all, err := b.Backend.Read(ctx, port.Range{Topic: "orders", Max: 100})
					if err != nil || len(all) < 8 {
						return err
					}
					return b.Backend.Write(ctx, port.Batch{Removes: []port.Removal{{Topic: "orders", Offset: all[0].Offset}}})
				}
			}),
		},
		{
			"takes any number of messages into a full topic",
			"C25 a topic full of what its groups have not finished refuses, and nothing happened", "took 1000 messages",
			alone(func(b *bent) {
				b.declare = func(ctx context.Context, t port.Topic) error {
					t.MaxCount, t.MaxBytes = 0, 0
					return b.Backend.Declare(ctx, t)
				}
			}),
		},
		{
			"refuses a redrive as a duplicate",
			"a redrive takes the dead letter and brings the message, twice within the window", "duplicate",
			refusesRedrive,
		},
		{
			"closes everybody's connection",
			"C13 Close of one process leaves the others alone", "closed",
			func() func(*bent) {
				var all []*bent
				return func(b *bent) {
					all = append(all, b)
					b.closing = func() error {
						var errs []error
						for _, p := range all {
							errs = append(errs, p.Backend.Close())
						}
						return errors.Join(errs...)
					}
				}
			},
		},
	}
}

// altered is a flaw that shows deliveries otherwise than they are.
func altered(change func(*port.Delivery)) func() func(*bent) {
	return alone(func(b *bent) {
		b.fetch = func(ctx context.Context, g port.Group, limit int) ([]port.Delivery, error) {
			ds, err := b.Backend.Fetch(ctx, g, limit)
			for i := range ds {
				change(&ds[i])
			}
			return ds, err
		}
	})
}

func hasGroup(ctx context.Context, b port.Queue, topic string) bool {
	for info, err := range b.Inspect(ctx, topic) {
		if err == nil && len(info.Groups) > 0 {
			return true
		}
	}
	return false
}

// blamesNeighbours records a start of every message that came with the one that starts.
func blamesNeighbours() func(*bent) {
	out := make(map[string][]port.Hold) // by consumer
	return func(b *bent) {
		b.fetch = func(ctx context.Context, g port.Group, limit int) ([]port.Delivery, error) {
			ds, err := b.Backend.Fetch(ctx, g, limit)
			for _, d := range ds {
				out[g.Consumer] = append(out[g.Consumer], port.Hold{Receipt: d.Receipt, Begin: true})
			}
			return ds, err
		}
		b.extend = func(ctx context.Context, g port.Group, h ...port.Hold) []error {
			b.Backend.Extend(ctx, g, out[g.Consumer]...)
			return b.Backend.Extend(ctx, g, h...)
		}
	}
}

// showsLate keeps an entry from the first reader who was given one after it, as a log does whose numbers are given before the
// commit.
func showsLate() func(*bent) {
	var mu sync.Mutex
	late := make(map[string]bool)
	return func(b *bent) {
		b.read = func(ctx context.Context, r port.Range) ([]port.Stored, error) {
			all, err := b.Backend.Read(ctx, r)
			mu.Lock()
			defer mu.Unlock()
			for i, s := range all {
				if strings.HasPrefix(s.Message.ID, "w3") && i < len(all)-1 && !late[s.Message.ID] {
					late[s.Message.ID] = true
					return slices.Delete(all, i, i+1), err
				}
			}
			return all, err
		}
	}
}

// refusesRedrive holds addressed messages against the window, too.
func refusesRedrive() func(*bent) {
	known := make(map[string]bool)
	return func(b *bent) {
		b.write = func(ctx context.Context, batch port.Batch) error {
			for _, m := range batch.Messages {
				if m.Group != "" && known[m.ID] {
					return &port.DuplicateError{IDs: []string{m.ID}}
				}
				known[m.ID] = true
			}
			return b.Backend.Write(ctx, batch)
		}
	}
}
