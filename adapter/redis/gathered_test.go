package redis

import (
	"errors"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/musterhq/muster/internal/testserver"
	"github.com/musterhq/muster/port"
)

func TestAScriptTakesNoMoreThanItsShareUnlessOneStepIsLarger(t *testing.T) {
	small, large := port.Batch{Messages: make([]port.Message, 1)}, port.Batch{Messages: []port.Message{{Body: make([]byte, mostTogether+1)}}}
	many := port.Batch{Changes: make([]port.Change, mostParts)}
	for name, c := range map[string]struct {
		waiting []*port.Batch
		want    []int
	}{
		"a large step goes alone":        {[]*port.Batch{&small, &large, &small, &small}, []int{1, 1, 2, 0}},
		"a step of many parts so, too":   {[]*port.Batch{&many, &many, &small}, []int{1, 1, 1, 0}},
		"more steps than one script has": {slices.Repeat([]*port.Batch{&small}, mostGathered+1), []int{mostGathered, 1, 0}},
	} {
		g, l := newGather(nil), &line[*writing]{running: 1}
		for _, b := range c.waiting {
			l.waiting = append(l.waiting, newWriting(*b))
		}
		var got []int
		for range c.want {
			got = append(got, len(g.take(l, nil)))
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestTheStepsOfManyCallersAreThereOnceAndEachCallersInOrder(t *testing.T) {
	s := testserver.Redis(t, testserver.RedisConfig{})
	b, err := Open(t.Context(), Config{URL: s.URL()})
	if err != nil {
		t.Fatal(err)
	}
	const callers, steps = 64, 20
	var work sync.WaitGroup
	for c := range callers {
		work.Go(func() {
			topic := []string{"orders.made", "orders.paid", "users.made"}[c%3]
			for i := range steps {
				m := port.Message{Topic: topic, ID: strconv.Itoa(c) + "." + strconv.Itoa(i), Key: strconv.Itoa(c)}
				if err := b.Write(t.Context(), port.Batch{Messages: []port.Message{m}}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	work.Wait()
	next := map[string]int{}
	for _, topic := range []string{"orders.made", "orders.paid", "users.made"} {
		stored, err := b.Read(t.Context(), port.Range{Topic: topic, Max: 1000})
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range stored {
			if want := s.Message.Key + "." + strconv.Itoa(next[s.Message.Key]); s.Message.ID != want {
				t.Fatalf("message %s is there where %s should be", s.Message.ID, want)
			}
			next[s.Message.Key]++
		}
	}
	for c := range callers {
		if n := next[strconv.Itoa(c)]; n != steps {
			t.Errorf("of caller %d %d messages are there", c, n)
		}
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if len(b.gather.of) != 0 {
		t.Errorf("%d families are still under way", len(b.gather.of))
	}
}

func TestAStepThatTheServerRefusesDoesNotTakeOthersWithIt(t *testing.T) {
	sp := space{defaultNamespace + ":"}
	for name, spoil := range map[string]struct {
		key  string
		want error
	}{
		"its topic is of another type": {sp.topicHash("orders.bad"), port.ErrInvalid},
		"its delayed messages are":     {sp.addTopic(nil, "orders.bad")[2], port.ErrInvalid},
		"its known messages are":       {sp.addTopic(nil, "orders.bad")[3], port.ErrInvalid},
		"its topic was evicted":        {"", port.ErrUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGathering(t)
			if spoil.key == "" {
				g.evict("orders.bad")
			} else {
				g.spoil(spoil.key)
			}
			first := g.step(t.Context(), port.Batch{Changes: []port.Change{{Key: "orders.count", If: port.Absent}}})
			g.gathered(1)
			good := g.write(t.Context(), "orders.made", "good")
			g.gathered(2)
			bad := g.write(t.Context(), "orders.bad", "bad")
			g.gathered(3)
			g.resume()
			if *first != nil || *good != nil || !errors.Is(*bad, spoil.want) {
				t.Errorf("the good steps are answered with %v and %v, the bad one with %v", *first, *good, *bad)
			}
			if n := g.ids("orders.made")["good"]; n != 1 {
				t.Errorf("the good message is there %d times", n)
			}
		})
	}
}

// spoil has a key of the server hold what it should not.
func (g *gathering) spoil(key string) {
	if err := g.b.client.Do(g.t.Context(), g.b.client.B().Set().Key(key).Value("x").Build()).Error(); err != nil {
		g.t.Fatal(err)
	}
}

// evict has the server seem to have lost what a topic is, and kept its log.
func (g *gathering) evict(topic string) {
	key := g.b.space.addTopic(nil, topic)[1]
	if err := g.b.client.Do(g.t.Context(), g.b.client.B().Xadd().Key(key).Id("1-1").FieldValue().FieldValue("m", "x").Build()).Error(); err != nil {
		g.t.Fatal(err)
	}
}

// A topic that was met for a removal is not yet proved to take a message.
func TestARemovalThatGathersWithAMessageThatIsRefusedHappensOnce(t *testing.T) {
	g := newGathering(t)
	stored, err := g.b.Read(t.Context(), port.Range{Topic: "orders.made", Max: 1})
	if err != nil {
		t.Fatal(err)
	}
	g.spoil(g.b.space.addTopic(nil, "orders.made")[2])
	removal := g.step(t.Context(), port.Batch{Removes: []port.Removal{{Topic: "orders.made", Offset: stored[0].Offset}}})
	g.gathered(1)
	later := g.step(t.Context(), port.Batch{Messages: []port.Message{{Topic: "orders.made", ID: "later", At: time.Now().Add(time.Hour)}}})
	g.gathered(2)
	g.resume()
	if *removal != nil || !errors.Is(*later, port.ErrInvalid) {
		t.Errorf("the removal is answered with %v, the message with %v", *removal, *later)
	}
}
