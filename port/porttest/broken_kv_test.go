package porttest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"iter"
	"reflect"
	"strconv"
	"time"

	"github.com/musterhq/muster/port"
)

// change is a flaw that makes changes in a way of its own, alone and in steps.
func change(alter func(*port.Change)) func() func(*bent) {
	return alone(func(b *bent) {
		b.apply = func(ctx context.Context, c port.Change) (port.Applied, error) {
			alter(&c)
			return b.applyOne(ctx, c)
		}
		b.write = func(ctx context.Context, batch port.Batch) error {
			batch.Changes = append([]port.Change(nil), batch.Changes...)
			for i := range batch.Changes {
				alter(&batch.Changes[i])
			}
			return b.Backend.Write(ctx, batch)
		}
	})
}

func loseTTL(c *port.Change) {
	if c.TTL == port.KeepTTL {
		c.TTL = 0
	}
}

func kvFlaws() []flaw {
	return []flaw{
		{
			"loses the time to live in a change",
			"C14 a change keeps, sets or ends the time to live as it says", "a change that keeps it: 0s left to live", change(loseTTL),
		},
		{
			"loses the time to live in a step",
			"the changes of a step keep what they say of time", "has 0s left", change(loseTTL),
		},
		{
			"counts time to live in whole seconds",
			"C15 a time to live is kept to the millisecond", "a key that was set for 1.9s has 1s left",
			change(func(c *port.Change) {
				if c.TTL > 0 {
					c.TTL = c.TTL.Truncate(time.Second)
				}
			}),
		},
		{
			"cannot create by a condition",
			"C14 a change creates where there is nothing, and only there", "was not done",
			alone(func(b *bent) {
				b.apply = func(ctx context.Context, c port.Change) (port.Applied, error) {
					if c.If == port.Absent {
						return port.Applied{}, nil
					}
					return b.applyOne(ctx, c)
				}
			}),
		},
		{
			"compares values as JSON",
			"C14 a change is made where the value equals, byte by byte", "a value that differs in its bytes does not equal",
			alone(func(b *bent) {
				b.apply = func(ctx context.Context, c port.Change) (port.Applied, error) {
					a, err := b.applyOne(ctx, c)
					if err != nil || a.Done || c.If != port.Equals || !sameJSON(a.Was.Bytes, c.Old) {
						return a, err
					}
					c.Old = a.Was.Bytes
					return b.applyOne(ctx, c)
				}
			}),
		},
		{
			"recognises a repetition by equal values",
			"a change whose effect is there already is refused all the same", "because the value is what it would set",
			alone(func(b *bent) {
				b.apply = func(ctx context.Context, c port.Change) (port.Applied, error) {
					a, err := b.applyOne(ctx, c)
					a.Done = a.Done || err == nil && a.Was.Found && bytes.Equal(a.Was.Bytes, c.Value)
					return a, err
				}
			}),
		},
		{
			"recognises a repeated step by equal values",
			"a change whose effect is there already is refused all the same", "want [conflict]",
			alone(func(b *bent) {
				b.write = func(ctx context.Context, batch port.Batch) error {
					err := b.Backend.Write(ctx, batch)
					for _, c := range batch.Changes {
						vs, gerr := b.Get(ctx, c.Key)
						if gerr != nil || !bytes.Equal(vs[0].Bytes, c.Value) {
							return errors.Join(err, gerr)
						}
					}
					return nil
				}
			}),
		},
		{
			"adds by reading and writing back",
			"64 who add at once lose nothing and see each sum once", "is seen once",
			alone(func(b *bent) {
				b.add = func(ctx context.Context, key string, delta int64, ttl time.Duration) (int64, error) {
					vs, err := b.Get(ctx, key)
					if err != nil {
						return 0, err
					}
					n := delta
					if vs[0].Found {
						old, err := strconv.ParseInt(string(vs[0].Bytes), 10, 64)
						if err != nil {
							return 0, errors.Join(port.ErrInvalid, err)
						}
						n += old
					}
					<-time.After(time.Microsecond)
					_, err = b.Backend.Apply(ctx, port.Change{Key: key, Value: strconv.AppendInt(nil, n, 10), TTL: ttl})
					return n, err
				}
			}),
		},
		{
			"gives a key that is added to a new time to live",
			"a key that Add creates lives for ttl, an existing one keeps its time", "left to live, want 10m0s",
			alone(func(b *bent) {
				b.add = func(ctx context.Context, key string, delta int64, ttl time.Duration) (int64, error) {
					n, err := b.Backend.Add(ctx, key, delta, 0)
					if err != nil {
						return 0, err
					}
					_, err = b.Backend.Apply(ctx, port.Change{Key: key, Value: strconv.AppendInt(nil, n, 10), TTL: ttl})
					return n, err
				}
			}),
		},
		{
			"prefixes a pattern twice",
			"C21 what Keys yields can be deleted, and is gone then", "keys deleted: 0, want 20",
			alone(func(b *bent) {
				b.keys = func(ctx context.Context, pattern string) iter.Seq2[string, error] {
					return b.Backend.Keys(ctx, "namespace:"+pattern)
				}
			}),
		},
		{
			"yields names with its prefix",
			"C21 Keys yields names as they were given, whatever bytes they have", "keys: [\"namespace:",
			alone(func(b *bent) {
				b.keys = func(ctx context.Context, pattern string) iter.Seq2[string, error] {
					return func(yield func(string, error) bool) {
						for key, err := range b.Backend.Keys(ctx, pattern) {
							if !yield("namespace:"+key, err) {
								return
							}
						}
					}
				}
			}),
		},
		{
			"takes the wildcards of Keys literally",
			"C22 Keys yields what the glob matches", "keys that match",
			alone(func(b *bent) {
				b.keys = func(ctx context.Context, pattern string) iter.Seq2[string, error] {
					return b.Backend.Keys(ctx, literal(pattern))
				}
			}),
		},
		{
			"clears nothing, and says that it did",
			"C23 Clear deletes every key of the namespace, counts them and touches nothing else", "keys cleared: 0",
			alone(func(b *bent) {
				b.clear = func(context.Context) (int, error) { return 0, nil }
			}),
		},
		{
			"clears without leave",
			"Clear without leave is refused and deletes nothing", "want [unsupported]",
			alone(func(b *bent) {
				b.clear = func(context.Context) (int, error) { return 1, nil }
			}),
		},
	}
}

func sameJSON(a, b []byte) bool {
	var x, y any
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && reflect.DeepEqual(x, y)
}
