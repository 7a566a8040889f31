package bus_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterhq/muster/adapter/memory"
	"github.com/musterhq/muster/bus"
	"github.com/musterhq/muster/port"
	"github.com/musterhq/muster/retry"
)

// onWrite is a hook that answers f the first times that a write comes to p.
func onWrite(p memory.Point, times int, f memory.Fault) func(memory.Op) memory.Fault {
	return func(op memory.Op) memory.Fault {
		if op.Name != "write" || op.Point != p || times == 0 {
			return memory.Fault{}
		}
		times--
		return f
	}
}

// C7: a repetition under another name. A topic may know no message IDs at all; the step's own ID is enough.
func TestARepeatedPublishDoublesNothingEvenWhereNoIDIsKnown(t *testing.T) {
	for name, c := range map[string]struct {
		point memory.Point
		times int
		fault memory.Fault
	}{
		"the answer is lost":              {memory.After, 1, memory.Fault{Err: port.ErrUncertain}},
		"three answers are lost":          {memory.After, 3, memory.Fault{Err: port.ErrUncertain}},
		"the network repeats the request": {memory.Before, 1, memory.Fault{Twice: true}},
	} {
		for _, window := range []time.Duration{-1, 0} {
			for _, id := range []string{"", "own"} {
				synctest.Test(t, func(t *testing.T) {
					store := memory.New(memory.Config{})
					topic := bus.Topic[int]{Name: "numbers", Keep: port.Topic{Window: window}}
					ids, err := topic.PublishAll(t.Context(), store.Open(memory.Config{Fault: onWrite(c.point, c.times, c.fault)}), bus.Out[int]{ID: id}, bus.Out[int]{})
					if n := len(entries(t, store, topic.Name)); len(ids) != 2 || err != nil || n != 2 {
						t.Errorf("%s, window %v, id %q: %d ids, %v, %d entries", name, window, id, len(ids), err, n)
					}
				})
			}
		}
	}
}

func TestAnUnknownOutcomeNeverPromisesThatNothingHappened(t *testing.T) {
	for name, then := range map[string]error{"unavailable": port.ErrUnavailable, "closed": port.ErrClosed, "another error": errors.New("no route")} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := memory.New(memory.Config{})
				writes := 0
				b := store.Open(memory.Config{Fault: func(op memory.Op) memory.Fault {
					switch {
					case op.Name != "write":
					case op.Point == memory.After:
						return memory.Fault{Err: port.ErrUncertain}
					default:
						if writes++; writes > 1 {
							return memory.Fault{Err: then}
						}
					}
					return memory.Fault{}
				}})
				_, err := orders.Publish(t.Context(), b, order{ID: "1"})
				if !errors.Is(err, port.ErrUncertain) || errors.Is(err, port.ErrUnavailable) || len(entries(t, store, orders.Name)) != 1 {
					t.Errorf("published with %v", err)
				}
			})
		})
	}
}

// An outage that a handler runs into while it publishes is a failure like any other, not one that trying again cannot help.
func TestAPublishThatFailsInAHandlerDoesNotKillItsMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.New(memory.Config{})
		writes := 0
		b := store.Open(memory.Config{Fault: func(op memory.Op) memory.Fault {
			if op.Name != "write" || op.Point != memory.Before {
				return memory.Fault{}
			}
			switch writes++; writes {
			case 1:
				return memory.Fault{Err: port.ErrUncertain}
			case 2:
				return memory.Fault{Err: port.ErrUnavailable}
			}
			return memory.Fault{}
		}})
		s := subscribe(t, store, orders, bus.Group{Name: "g", Log: quiet}, func(ctx context.Context, m bus.Message[order]) error {
			_, err := shipped.Publish(ctx, b, shipment{m.Payload.ID})
			if retry.IsPermanent(err) {
				t.Errorf("an outage is permanent: %v", err)
			}
			return err
		})
		publish(t, store, orders, order{ID: "1"})
		<-time.After(time.Minute)
		s.end()
		if ds := dead(t, store, orders.Name, "g"); len(ds) != 0 || len(entries(t, store, shipped.Name)) != 1 {
			t.Errorf("dead %+v, %d shipped", ds, len(entries(t, store, shipped.Name)))
		}
	})
}

// C8: two layers of retries that multiply.
func TestARetryAroundAPublishDoesNotMultiply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		writes := 0
		b := memory.New(memory.Config{Fault: func(op memory.Op) memory.Fault {
			if op.Name == "write" && op.Point == memory.Before {
				writes++
				return memory.Fault{Err: port.ErrUncertain}
			}
			return memory.Fault{}
		}})
		err := retry.Do(t.Context(), retry.Policy{}, func(ctx context.Context) error {
			_, err := orders.Publish(ctx, b, order{ID: "1"})
			return err
		})
		if !errors.Is(err, port.ErrUncertain) || writes != 4 {
			t.Errorf("%d writes, %v", writes, err)
		}
	})
}

func TestARedriveWhoseAnswersAreLostMovesEachLetterOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.New(memory.Config{})
		d, ids := bury(t, store, 3)
		d.Queue = store.Open(memory.Config{Fault: onWrite(memory.After, 3, memory.Fault{Err: port.ErrUncertain})})
		if n, err := d.Redrive(t.Context(), bus.DeadFilter{}); n != len(ids) || err != nil {
			t.Errorf("redrove %d, %v", n, err)
		}
		if n, err := d.Count(t.Context()); n != 0 || err != nil {
			t.Errorf("%d are left, %v", n, err)
		}
		if g := group(t, store, orders.Name, "g"); g.Lag != int64(len(ids)) {
			t.Errorf("%+v", g)
		}
	})
}
