package memory_test

import (
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/musterhq/muster/adapter/memory"
	"github.com/musterhq/muster/port"
)

// A Fetch and a Settle of many take the lock several times: that is not to be seen.
func TestManyMessagesAreHandedOutAndSettledByOneCallEach(t *testing.T) {
	const n = 300
	ctx := t.Context()
	b := memory.New(memory.Config{})
	g := port.Group{Topic: "orders", Name: "g", Consumer: "c", Loan: time.Minute}
	if err := b.Join(ctx, g); err != nil {
		t.Fatal(err)
	}
	var step port.Batch
	for i := range n {
		step.Messages = append(step.Messages, port.Message{Topic: "orders", ID: strconv.Itoa(i), Key: "k" + strconv.Itoa(i%3), Body: []byte(strconv.Itoa(-i))})
	}
	if err := b.Write(ctx, step); err != nil {
		t.Fatal(err)
	}
	fetch := func(limit, want int) []port.Delivery {
		t.Helper()
		ds, err := b.Fetch(ctx, g, limit)
		if err != nil || len(ds) != want {
			t.Fatalf("%d deliveries, %v, want %d", len(ds), err, want)
		}
		return ds
	}
	ds := fetch(n+1, n)
	last := port.Offset("")
	for i, d := range ds {
		if m := d.Message; m.ID != strconv.Itoa(i) || m.Key != "k"+strconv.Itoa(i%3) || string(m.Body) != strconv.Itoa(-i) || d.Offset <= last {
			t.Fatalf("delivery %d is %+v behind %q", i, d, last)
		}
		last = d.Offset
	}
	var verdicts []port.Settlement
	for i, d := range ds {
		s := port.Settlement{Receipt: d.Receipt}
		if i%2 == 0 {
			s = port.Settlement{Receipt: d.Receipt, Verdict: port.Return, Reason: "not now"}
		}
		verdicts = append(verdicts, s)
	}
	verdicts = append(verdicts, port.Settlement{Receipt: ds[0].Receipt})
	for i, err := range b.Settle(ctx, g, verdicts...) {
		if want := i == n; errors.Is(err, port.ErrStale) != want || !want && err != nil {
			t.Errorf("settlement %d: %v", i, err)
		}
	}
	// What stood in the memory that is given does not show through.
	for i := range ds {
		ds[i].Attempt, ds[i].Lost, ds[i].Crashes, ds[i].Reason, ds[i].Message.Group, ds[i].Message.At = 9, 9, 9, "old", "old", time.Unix(9, 9)
	}
	step.Messages = []port.Message{{Topic: "orders", ID: "new"}}
	if err := b.Write(ctx, step); err != nil {
		t.Fatal(err)
	}
	g.Into = ds[:0]
	for _, d := range fetch(n, n/2+1) {
		again := d.Message.ID != "new"
		if (d.Attempt == 1) != again || d.Lost != 0 || d.Crashes != 0 || (d.Reason == "not now") != again || d.Reason == "old" ||
			d.Message.Group != "" || !d.Message.At.IsZero() || again == (d.Message.Key == "") || again == (d.Message.Body == nil) {
			t.Errorf("%+v", d)
		}
	}
}
