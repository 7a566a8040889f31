package porttest

import (
	"context"
	"errors"
	"iter"
	"slices"
	"time"

	"github.com/musterhq/muster/port"
)

func leaseFlaws() []flaw {
	return []flaw{
		{
			"revives an expired lease",
			"C19 a lease that ran out stays lost, even when nobody took it", "Renew of a lease that ran out: error is <nil>",
			alone(func(b *bent) {
				b.renew = func(ctx context.Context, ttl time.Duration, l port.Lease) (port.Lease, error) {
					got, err := b.renewOne(ctx, ttl, l)
					if errors.Is(err, port.ErrLost) {
						return b.Backend.Acquire(ctx, l, ttl)
					}
					return got, err
				}
			}),
		},
		{
			"renews for the same owner with another nonce",
			"a lease that another nonce holds is refused, and tells who", "want [held by another]",
			alone(func(b *bent) {
				b.acquire = func(ctx context.Context, want port.Lease, ttl time.Duration) (port.Lease, error) {
					l, err := b.Backend.Acquire(ctx, want, ttl)
					if errors.Is(err, port.ErrHeld) && l.Owner == want.Owner {
						return l, nil
					}
					return l, err
				}
			}),
		},
		{
			"refuses the holder itself",
			"C17 the nonce that holds renews by Acquire and keeps its token", "held",
			func() func(*bent) {
				granted := make(map[string]port.Lease)
				return func(b *bent) {
					b.acquire = func(ctx context.Context, want port.Lease, ttl time.Duration) (port.Lease, error) {
						if l, ok := granted[want.Name]; ok {
							return l, port.ErrHeld
						}
						l, err := b.Backend.Acquire(ctx, want, ttl)
						granted[want.Name] = l
						return l, err
					}
				}
			},
		},
		{
			"gives a new token within a term",
			"C17 the nonce that holds renews by Acquire and keeps its token", "token",
			func() func(*bent) {
				var more uint64
				return func(b *bent) {
					b.acquire = func(ctx context.Context, want port.Lease, ttl time.Duration) (port.Lease, error) {
						l, err := b.Backend.Acquire(ctx, want, ttl)
						more++
						l.Token += more
						return l, err
					}
				}
			},
		},
		{
			"releases what another holds",
			"C18 only who holds a lease can renew or release it", "want [lost]",
			func() func(*bent) {
				granted := make(map[string]port.Lease)
				return func(b *bent) {
					b.acquire = func(ctx context.Context, want port.Lease, ttl time.Duration) (port.Lease, error) {
						l, err := b.Backend.Acquire(ctx, want, ttl)
						if err == nil {
							granted[l.Name] = l
						}
						return l, err
					}
					b.release = func(ctx context.Context, l port.Lease) error {
						return b.Backend.Release(ctx, granted[l.Name])[0]
					}
				}
			},
		},
		{
			"reads a lease back after setting it whatever was there",
			"C16 64 who want a lease have one holder at a time, and tokens grow in the order of terms", "one holds at a time",
			alone(func(b *bent) {
				b.acquire = func(ctx context.Context, want port.Lease, ttl time.Duration) (port.Lease, error) {
					l, err := b.Backend.Acquire(ctx, want, ttl)
					if !errors.Is(err, port.ErrHeld) {
						<-time.After(time.Microsecond)
						return l, err
					}
					want.Token = uint64(time.Now().UnixMicro())
					return want, nil
				}
			}),
		},
		{
			"lets tokens fall back",
			"tokens grow over releases, expiries and what was seen", "has token",
			func() func(*bent) {
				token := uint64(1 << 40)
				return func(b *bent) {
					b.acquire = func(ctx context.Context, want port.Lease, ttl time.Duration) (port.Lease, error) {
						l, err := b.Backend.Acquire(ctx, want, ttl)
						token--
						l.Token = token
						return l, err
					}
				}
			},
		},
		{
			"rounds large tokens",
			"the largest tokens are exact", "token",
			alone(func(b *bent) {
				b.acquire = func(ctx context.Context, want port.Lease, ttl time.Duration) (port.Lease, error) {
					l, err := b.Backend.Acquire(ctx, want, ttl)
					l.Token = l.Token / 100 * 100
					return l, err
				}
			}),
		},
		{
			"cuts the time of a lease to whole seconds",
			"C15 a lease lives to the millisecond", "a lease that was granted for 1.9s has 1s",
			alone(func(b *bent) {
				b.acquire = func(ctx context.Context, want port.Lease, ttl time.Duration) (port.Lease, error) {
					return b.Backend.Acquire(ctx, want, ttl.Truncate(time.Second))
				}
			}),
		},
	}
}

// ears is a flaw that listens in a way of its own.
func ears(listen func(ctx context.Context, b *bent, patterns []string) (iter.Seq2[port.Signal, error], error)) func() func(*bent) {
	return alone(func(b *bent) {
		b.listen = func(ctx context.Context, patterns ...string) (iter.Seq2[port.Signal, error], error) {
			return listen(ctx, b, patterns)
		}
	})
}

func signalFlaws() []flaw {
	return []flaw{
		{
			"takes wildcards literally",
			"C22 the globs of Listen are those of Match", "channels that \"*\" hears",
			ears(func(ctx context.Context, b *bent, patterns []string) (iter.Seq2[port.Signal, error], error) {
				patterns = slices.Clone(patterns)
				for i := range patterns {
					patterns[i] = literal(patterns[i])
				}
				return b.Backend.Listen(ctx, patterns...)
			}),
		},
		{
			"yields a signal once for each pattern",
			"C2 a signal that several patterns match is yielded once", "heard",
			ears(func(ctx context.Context, b *bent, patterns []string) (iter.Seq2[port.Signal, error], error) {
				seq, err := b.Backend.Listen(ctx, patterns...)
				return func(yield func(port.Signal, error) bool) {
					for s, err := range seq {
						for _, p := range patterns {
							if port.Match(p, s.Channel) && !yield(s, err) {
								return
							}
						}
					}
				}, err
			}),
		},
		{
			"swallows a gap",
			"a slow loop loses no signal without being told", "ErrGap",
			ears(func(ctx context.Context, b *bent, patterns []string) (iter.Seq2[port.Signal, error], error) {
				seq, err := b.Backend.Listen(ctx, patterns...)
				return func(yield func(port.Signal, error) bool) {
					for s, err := range seq {
						if !errors.Is(err, port.ErrGap) && !yield(s, err) {
							return
						}
					}
				}, err
			}),
		},
		{
			"listens only when the loop begins",
			"a listener hears what is signalled after Listen returned", "Listen ended before",
			ears(func(ctx context.Context, b *bent, patterns []string) (iter.Seq2[port.Signal, error], error) {
				return func(yield func(port.Signal, error) bool) {
					ctx, cancel := context.WithTimeout(ctx, time.Second)
					defer cancel()
					seq, err := b.Backend.Listen(ctx, patterns...)
					if err != nil {
						yield(port.Signal{}, err)
						return
					}
					seq(yield)
				}, nil
			}),
		},
		{
			"has signals that it does not claim",
			"a listener hears what is signalled after Listen returned", "want [unsupported]",
			alone(func(b *bent) {
				b.caps = func() port.Caps {
					c := b.Backend.Caps()
					c.LiveSignals = false
					return c
				}
			}),
		},
		{
			"turns the order of signals round",
			"signals of one sender come in the order in which it sent them", "the order is kept",
			func() func(*bent) {
				var held *port.Signal
				return func(b *bent) {
					b.signal = func(ctx context.Context, channel string, payload []byte) error {
						if held == nil && channel != "end" {
							held = &port.Signal{Channel: channel, Payload: payload}
							return nil
						}
						err := b.Backend.Signal(ctx, channel, payload)
						if held != nil {
							err = errors.Join(err, b.Backend.Signal(ctx, held.Channel, held.Payload))
							held = nil
						}
						return err
					}
				}
			},
		},
	}
}
