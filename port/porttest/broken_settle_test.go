package porttest

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/musterhq/muster/port"
)

// verdict is a flaw that settles in a way of its own.
func verdict(settle func(ctx context.Context, b *bent, g port.Group, s port.Settlement) error) func() func(*bent) {
	return alone(func(b *bent) {
		b.settle = func(ctx context.Context, g port.Group, s port.Settlement) error { return settle(ctx, b, g, s) }
	})
}

func settleFlaws() []flaw {
	return []flaw{
		{
			"drops a Return",
			"a returned message waits and counts", "after 0 of 1 messages",
			verdict(func(ctx context.Context, b *bent, g port.Group, s port.Settlement) error {
				if s.Verdict == port.Return {
					s = port.Settlement{Receipt: s.Receipt}
				}
				return b.settleOne(ctx, g, s)
			}),
		},
		{
			"counts a Release",
			"a released message waits and counts nothing", "attempts: 1, want 0",
			verdict(func(ctx context.Context, b *bent, g port.Group, s port.Settlement) error {
				if s.Verdict == port.Release {
					s.Verdict = port.Return
				}
				return b.settleOne(ctx, g, s)
			}),
		},
		{
			"forgets what After says",
			"a returned message waits and counts", "want at least 200ms",
			verdict(func(ctx context.Context, b *bent, g port.Group, s port.Settlement) error {
				s.After = 0
				return b.settleOne(ctx, g, s)
			}),
		},
		{
			"delivers after an Ack",
			"an acknowledged message never comes again", "want nothing",
			verdict(func(ctx context.Context, b *bent, g port.Group, s port.Settlement) error {
				if s.Verdict == port.Ack {
					s.Verdict = port.Release
				}
				return b.settleOne(ctx, g, s)
			}),
		},
		{
			"takes a second settlement for done",
			"the first settlement wins over every other", "error is <nil>, want [stale]",
			verdict(func(ctx context.Context, b *bent, g port.Group, s port.Settlement) error {
				if err := b.settleOne(ctx, g, s); !errors.Is(err, port.ErrStale) {
					return err
				}
				return nil
			}),
		},
		{
			"applies the step of a stale settlement",
			"a stale acknowledgement brings nothing", "written",
			verdict(appliesStale),
		},
		{
			"applies the step of a zombie",
			"a loan that passed on is settled once, and where Caps.Fenced not by the one who lost it", "written by settlements",
			verdict(appliesStale),
		},
		{
			"ends the loan when the step of an acknowledgement is refused",
			"a step that is refused refuses its acknowledgement, and the loan stays", "was handed",
			verdict(func(ctx context.Context, b *bent, g port.Group, s port.Settlement) error {
				err := b.settleOne(ctx, g, s)
				if errors.Is(err, port.ErrConflict) {
					return errors.Join(err, b.settleOne(ctx, g, port.Settlement{Receipt: s.Receipt, Verdict: port.Release}))
				}
				return err
			}),
		},
		{
			"acknowledges before the step, and loses the step that is refused",
			"a step that is refused refuses its acknowledgement, and the loan stays", "Extend after a refused step",
			verdict(func(ctx context.Context, b *bent, g port.Group, s port.Settlement) error {
				if err := b.settleOne(ctx, g, port.Settlement{Receipt: s.Receipt, Verdict: s.Verdict, After: s.After, Reason: s.Reason}); err != nil {
					return err
				}
				return b.Backend.Write(ctx, s.Then)
			}),
		},
		{
			"refuses an acknowledgement for what its step repeats",
			"an acknowledgement leaves out what its step repeats", "duplicate",
			verdict(func(ctx context.Context, b *bent, g port.Group, s port.Settlement) error {
				if slices.ContainsFunc(s.Then.Messages, func(m port.Message) bool { return m.ID == "known" }) {
					return &port.DuplicateError{IDs: []string{"known"}}
				}
				return b.settleOne(ctx, g, s)
			}),
		},
		{
			"applies the step of an ID that is remembered",
			"of two messages of one ID on loan, one acknowledgement is applied", "written",
			verdict(func(ctx context.Context, b *bent, g port.Group, s port.Settlement) error {
				err := b.settleOne(ctx, g, s)
				if errors.Is(err, port.ErrDuplicate) {
					return errors.Join(err, b.Backend.Write(ctx, s.Then))
				}
				return err
			}),
		},
		{
			"forgets acknowledged IDs",
			"a message whose ID the group remembers is acknowledged and not handed out", "handed out: m1, want m2",
			alone(func(b *bent) {
				b.settle = func(ctx context.Context, g port.Group, s port.Settlement) error {
					g.Remember = 0
					return b.settleOne(ctx, g, s)
				}
				b.fetch = func(ctx context.Context, g port.Group, limit int) ([]port.Delivery, error) {
					g.Remember = 0
					return b.Backend.Fetch(ctx, g, limit)
				}
				b.join = func(ctx context.Context, g port.Group) error {
					g.Remember = 0
					return b.Backend.Join(ctx, g)
				}
			}),
		},
		{
			"refuses a late settlement though nobody else was handed the message",
			"a late settlement counts while nobody else was handed the message", "stale",
			func() func(*bent) {
				until := make(map[port.Receipt]time.Time)
				return func(b *bent) {
					b.fetch = func(ctx context.Context, g port.Group, limit int) ([]port.Delivery, error) {
						ds, err := b.Backend.Fetch(ctx, g, limit)
						for _, d := range ds {
							until[d.Receipt] = d.Until
						}
						return ds, err
					}
					b.settle = func(ctx context.Context, g port.Group, s port.Settlement) error {
						if time.Now().After(until[s.Receipt]) {
							return port.ErrStale
						}
						return b.settleOne(ctx, g, s)
					}
				}
			},
		},
	}
}

// appliesStale does the step even where the settlement came too late.
func appliesStale(ctx context.Context, b *bent, g port.Group, s port.Settlement) error {
	err := b.settleOne(ctx, g, s)
	if errors.Is(err, port.ErrStale) {
		return errors.Join(err, b.Backend.Write(ctx, s.Then))
	}
	return err
}
