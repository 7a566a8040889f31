package porttest

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/musterhq/muster/port"
)

// step is a flaw that writes in a way of its own.
func step(write func(ctx context.Context, b *bent, batch port.Batch) error) func() func(*bent) {
	return alone(func(b *bent) {
		b.write = func(ctx context.Context, batch port.Batch) error { return write(ctx, b, batch) }
	})
}

func stepFlaws() []flaw {
	return []flaw{
		{
			"does half of a step that is refused",
			"a step that is refused did nothing", "messages written by a step that",
			step(func(ctx context.Context, b *bent, batch port.Batch) error {
				err := b.Backend.Write(ctx, batch)
				if errors.Is(err, port.ErrConflict) {
					return errors.Join(err, b.Backend.Write(ctx, port.Batch{Messages: batch.Messages}))
				}
				return err
			}),
		},
		{
			"shows half of a step, though it claims to be atomic",
			"what one part of a step shows, every part shows", "showed",
			step(func(ctx context.Context, b *bent, batch port.Batch) error {
				if len(batch.Messages) > 0 && len(batch.Changes) > 0 {
					if err := b.Backend.Write(ctx, port.Batch{Messages: batch.Messages}); err != nil {
						return err
					}
					batch.Messages = nil
					<-time.After(time.Microsecond)
				}
				return b.Backend.Write(ctx, batch)
			}),
		},
		{
			"keeps a body where its writer has it",
			"what a step was made of may be used for another one", "scribbled",
			func() func(*bent) {
				bodies := make(map[string][]byte)
				return func(b *bent) {
					b.write = func(ctx context.Context, batch port.Batch) error {
						for _, m := range batch.Messages {
							bodies[m.ID] = m.Body
						}
						return b.Backend.Write(ctx, batch)
					}
					b.fetch = func(ctx context.Context, g port.Group, limit int) ([]port.Delivery, error) {
						ds, err := b.Backend.Fetch(ctx, g, limit)
						for i := range ds {
							if body, ok := bodies[ds[i].Message.ID]; ok {
								ds[i].Message.Body = body
							}
						}
						return ds, err
					}
				}
			},
		},
		{
			"forgets the ID of a step",
			"a step that is repeated with its ID is applied once", "Write 1",
			step(func(ctx context.Context, b *bent, batch port.Batch) error {
				batch.ID = ""
				return b.Backend.Write(ctx, batch)
			}),
		},
		{
			"forgets the ID of a step that is its message's",
			"a step that has the ID of its only message is applied once, also when the topic comes to have another window", "Write again",
			step(func(ctx context.Context, b *bent, batch port.Batch) error {
				if len(batch.Messages) == 1 && batch.ID == batch.Messages[0].ID {
					batch.ID = ""
				}
				return b.Backend.Write(ctx, batch)
			}),
		},
		{
			"remembers the ID of a step that it refused",
			"a step that was refused leaves its ID unknown", "Write again: error is <nil>",
			func() func(*bent) {
				known := make(map[string]bool)
				return func(b *bent) {
					b.write = func(ctx context.Context, batch port.Batch) error {
						if known[batch.ID] {
							return nil
						}
						known[batch.ID] = batch.ID != ""
						return b.Backend.Write(ctx, batch)
					}
				}
			},
		},
		{
			"ignores the fence of a step",
			"a step with a token smaller than one that was seen is refused, and says which", "error is <nil>, want [stale]",
			step(func(ctx context.Context, b *bent, batch port.Batch) error {
				batch.Fence = port.Fence{}
				return b.Backend.Write(ctx, batch)
			}),
		},
		{
			"shows the token of a step that it refused",
			"a refused step does not show its token", "stale fence",
			step(func(ctx context.Context, b *bent, batch port.Batch) error {
				err := b.Backend.Write(ctx, batch)
				if err != nil && !batch.Fence.IsZero() {
					return errors.Join(err, b.Backend.Write(ctx, port.Batch{Changes: []port.Change{{Key: "orders/shown"}}, Fence: batch.Fence}))
				}
				return err
			}),
		},
		{
			"refuses a whole step for one message that it knows",
			"a message whose ID was written in the window is left out and named, and the rest is applied", "entries",
			step(func(ctx context.Context, b *bent, batch port.Batch) error {
				for _, m := range batch.Messages {
					for info, err := range b.Inspect(ctx, m.Topic) {
						if err == nil && info.Count == 3 {
							return &port.DuplicateError{IDs: []string{number(1), number(0)}}
						}
					}
				}
				return b.Backend.Write(ctx, batch)
			}),
		},
		{
			"leaves out what it knows without a word",
			"a message whose ID was written in the window is left out and named, and the rest is applied", "a repetition: error is <nil>",
			step(func(ctx context.Context, b *bent, batch port.Batch) error {
				if err := b.Backend.Write(ctx, batch); !errors.Is(err, port.ErrDuplicate) {
					return err
				}
				return nil
			}),
		},
		{
			"takes a step across families that it cannot keep whole",
			"a step across families works, or is refused as Caps say", "want [unsupported]",
			alone(func(b *bent) {
				b.caps = func() port.Caps {
					c := b.Backend.Caps()
					c.Atomic = port.AtomicFamily
					return c
				}
			}),
		},
		{
			"applies the good half of a step with a wrong change",
			"wrong steps are refused, and nothing of them happened", "topics: 1, want 0",
			step(func(ctx context.Context, b *bent, batch port.Batch) error {
				bad := func(c port.Change) bool { return c.Check(b.Caps()) != nil }
				if slices.ContainsFunc(batch.Changes, bad) {
					return errors.Join(port.ErrInvalid, b.Backend.Write(ctx, port.Batch{Messages: batch.Messages}))
				}
				return b.Backend.Write(ctx, batch)
			}),
		},
	}
}
