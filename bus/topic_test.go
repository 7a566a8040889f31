package bus_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterhq/muster/adapter/memory"
	"github.com/musterhq/muster/bus"
	"github.com/musterhq/muster/envelope"
	"github.com/musterhq/muster/port"
)

func entries(t *testing.T, q port.Queue, topic string) []port.Stored {
	t.Helper()
	all, err := q.Read(t.Context(), port.Range{Topic: topic, Max: 10_000})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestMoreThanOneStepHoldsArePublishedInOrder(t *testing.T) {
	b := memory.New(memory.Config{})
	outs := make([]bus.Out[int], 3*port.MaxParts+1)
	for i := range outs {
		outs[i].Payload = i
	}
	topic := bus.Topic[int]{Name: "numbers"}
	ids, err := topic.PublishAll(t.Context(), b, outs...)
	if len(ids) != len(outs) || err != nil {
		t.Fatal(len(ids), err)
	}
	for i, e := range entries(t, b, topic.Name) {
		if e.Message.ID != ids[i] || !strings.HasSuffix(string(e.Message.Body), fmt.Sprintf(`"payload":%d}`, i)) {
			t.Fatalf("entry %d is %s", i, e.Message.Body)
		}
	}
}

func TestAKnownIDIsToldBesideTheIDsAndTheRestIsPublished(t *testing.T) {
	b := memory.New(memory.Config{})
	topic := bus.Topic[int]{Name: "numbers"}
	if _, err := topic.PublishAll(t.Context(), b, bus.Out[int]{ID: "a"}); err != nil {
		t.Fatal(err)
	}
	ids, err := topic.PublishAll(t.Context(), b, bus.Out[int]{ID: "a"}, bus.Out[int]{ID: "b"})
	dup, ok := errors.AsType[*port.DuplicateError](err)
	if !ok || fmt.Sprint(ids) != "[a b]" || fmt.Sprint(dup.IDs) != "[a]" || len(entries(t, b, topic.Name)) != 2 {
		t.Errorf("%v, %v", ids, err)
	}
}

// C1, C7: an unknown outcome is settled by writing again under the same id, and doubles nothing.
func TestAnUnknownOutcomeIsWrittenAgain(t *testing.T) {
	for name, c := range map[string]struct {
		faults  int
		point   memory.Point
		then    error
		id      string
		want    error
		entries int
	}{
		"applied, told once more":     {1, memory.After, nil, "", nil, 1},
		"not applied, then it is":     {1, memory.Before, nil, "", nil, 1},
		"applied, under an own id":    {1, memory.After, nil, "own", nil, 1},
		"applied, and nobody answers": {99, memory.After, nil, "", port.ErrUncertain, 1},
		"applied, then refused":       {1, memory.After, port.ErrUnavailable, "", port.ErrUncertain, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := memory.New(memory.Config{})
				writes := 0
				b := store.Open(memory.Config{Fault: func(op memory.Op) memory.Fault {
					if op.Name != "write" {
						return memory.Fault{}
					}
					if op.Point == memory.Before {
						writes++
					}
					switch {
					case op.Point == c.point && writes <= c.faults:
						return memory.Fault{Err: port.ErrUncertain}
					case op.Point == memory.Before && writes > c.faults:
						return memory.Fault{Err: c.then}
					}
					return memory.Fault{}
				}})
				ids, err := orders.PublishAll(t.Context(), b, bus.Out[order]{ID: c.id})
				if !errors.Is(err, c.want) || c.want == nil && (err != nil || len(ids) != 1) {
					t.Errorf("%v, %v", ids, err)
				}
				if got := len(entries(t, store, orders.Name)); got != c.entries {
					t.Errorf("%d entries", got)
				}
				if writes > 4 {
					t.Errorf("%d writes", writes)
				}
			})
		})
	}
}

func TestWhatCannotBePublishedIsToldAndNothingHappens(t *testing.T) {
	b := memory.New(memory.Config{})
	for name, publish := range map[string]func() (string, error){
		"a topic that is none": func() (string, error) { return bus.Topic[int]{Name: "a b"}.Publish(t.Context(), b, 1) },
		"a limit on no topic": func() (string, error) {
			return bus.Topic[int]{Keep: port.Topic{MaxCount: 1}}.Publish(t.Context(), b, 1)
		},
		"a payload that is none": func() (string, error) { return bus.Topic[func()]{Name: "f"}.Publish(t.Context(), b, nil) },
		"text that is none": func() (string, error) {
			ids, err := bus.Topic[int]{Name: "n"}.PublishAll(t.Context(), b, bus.Out[int]{Tenant: "\xff"})
			return strings.Join(ids, " "), err
		},
	} {
		if id, err := publish(); !errors.Is(err, port.ErrInvalid) || id != "" {
			t.Errorf("%s: %q, %v", name, id, err)
		}
	}
	for info, err := range b.Inspect(t.Context(), "*") {
		t.Errorf("there is %+v, %v", info, err)
	}
}

// C25: a topic that is full of what nobody has finished refuses, and does not forget.
func TestAFullTopicRefusesUntilItsGroupsHaveCaughtUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(memory.Config{})
		small := bus.Topic[int]{Name: "small", Keep: port.Topic{MaxCount: 10}}
		handled := 0
		s := subscribe(t, b, small, bus.Group{Name: "g", Workers: 1}, func(context.Context, bus.Message[int]) error { <-time.After(time.Second); handled++; return nil })
		synctest.Wait()
		published, refused := 0, 0
		for range 100 {
			if _, err := small.Publish(t.Context(), b, 1); err == nil {
				published++
			} else if refused++; !errors.Is(err, port.ErrUnavailable) {
				t.Error(err)
			}
			<-time.After(100 * time.Millisecond)
		}
		<-time.After(time.Minute)
		s.end()
		if refused == 0 || handled != published {
			t.Errorf("%d published, %d refused, %d handled", published, refused, handled)
		}
	})
}

// C15: durations cut to whole seconds.
func TestAMessageForLaterComesThenAndNotBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(memory.Config{})
		begin := time.Now()
		var after time.Duration
		s := subscribe(t, b, orders, bus.Group{Name: "g"}, func(context.Context, bus.Message[order]) error { after = time.Since(begin); return nil })
		if _, err := orders.PublishAll(t.Context(), b, bus.Out[order]{At: begin.Add(1900 * time.Millisecond)}); err != nil {
			t.Fatal(err)
		}
		<-time.After(time.Minute)
		s.end()
		if after < 1900*time.Millisecond || after > 1950*time.Millisecond {
			t.Errorf("it came after %v", after)
		}
	})
}

// C5: de-duplication that was marked before the work skipped the redelivery. C2: two paths brought every message twice.
func TestAnIDIsRememberedWhenItsMessageIsDoneAndNotBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(memory.Config{})
		topic := bus.Topic[int]{Name: "numbers", Keep: port.Topic{Window: -1}}
		runs := 0
		s := subscribe(t, b, topic, bus.Group{Name: "g", Remember: time.Hour, Log: quiet}, func(context.Context, bus.Message[int]) error {
			if runs++; runs == 1 {
				return errors.New("not yet")
			}
			return nil
		})
		for range 3 {
			if _, err := topic.PublishAll(t.Context(), b, bus.Out[int]{ID: "same"}); err != nil {
				t.Fatal(err)
			}
			<-time.After(time.Minute)
		}
		s.end()
		if runs != 2 {
			t.Errorf("%d runs: one failed, one done, and two repetitions that are known", runs)
		}
		empty(t, b, topic.Name, "g")
	})
}

func TestATypeAndACodecAreTheTopicsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(memory.Config{})
		raw := bus.Topic[[]byte]{Name: "raw", Type: "blob.v1", Codec: envelope.Bytes{}}
		var got bus.Message[[]byte]
		s := subscribe(t, b, raw, bus.Group{Name: "g"}, func(_ context.Context, m bus.Message[[]byte]) error { got = m; return nil })
		if _, err := raw.PublishAll(t.Context(), b, bus.Out[[]byte]{Payload: []byte("\x00\xff"), Key: "own key"}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		s.end()
		if got.Type != "blob.v1" || string(got.Payload) != "\x00\xff" || got.Key != "own key" || got.ContentType != "application/octet-stream" {
			t.Errorf("%+v", got)
		}
	})
}

func TestABareTopicCarriesThePayloadAloneAndWhatOthersWrote(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.New(memory.Config{})
		bare := bus.Topic[order]{Name: "orders.bare", Bare: true, Key: func(o order) string { return o.Customer }}
		out := bus.Topic[[]byte]{Name: "orders.out", Codec: envelope.Bytes{}, Bare: true}
		var got []bus.Message[order]
		s := subscribe(t, b, bare, bus.Group{Name: "g", Workers: 1, Log: quiet}, func(_ context.Context, m bus.Message[order]) error {
			got = append(got, m)
			bus.Emit(m, out, []byte(m.Payload.ID))
			return nil
		})
		id := publish(t, b, bare, order{ID: "1", Customer: "ann"})
		foreign := []port.Message{
			{Topic: bare.Name, ID: "theirs\xff", Body: []byte(`{"ID":"2"}`)},
			{Topic: bare.Name, ID: "broken", Body: []byte(`no JSON`)},
		}
		if err := b.Write(t.Context(), port.Batch{Messages: foreign}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		s.end()
		if len(got) != 2 || got[0].ID != id || got[0].CorrID != id || got[0].Key != "ann" || got[0].Type != bare.Name || got[0].At.IsZero() || got[1].Payload.ID != "2" {
			t.Errorf("%+v", got)
		}
		if e := entries(t, b, bare.Name); string(e[0].Message.Body) != `{"ID":"1","Customer":"ann","Cents":0}` {
			t.Errorf("on the wire: %s", e[0].Message.Body)
		}
		if e := entries(t, b, out.Name); len(e) != 2 || string(e[0].Message.Body) != "1" {
			t.Errorf("emitted %+v", e)
		}
		if ds := dead(t, b, bare.Name, "g"); len(ds) != 1 || string(ds[0].Body) != "no JSON" {
			t.Errorf("%+v", ds)
		}
		for name, o := range map[string]bus.Out[order]{"a tenant": {Tenant: "t"}, "headers": {Headers: map[string]string{"a": "b"}}} {
			if _, err := bare.PublishAll(t.Context(), b, o); !errors.Is(err, port.ErrInvalid) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}
