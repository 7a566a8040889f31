//go:build unix

package nats_test

import (
	"fmt"
	"testing"

	"github.com/musterhq/muster/adapter/nats"
	"github.com/musterhq/muster/port"
)

func TestAProcessThatJustStartedRecognisesWhatAnotherHasWritten(t *testing.T) {
	c := nats.EmbeddedConfig{Dir: t.TempDir(), Relaxed: true}
	first := embedded(t, c)
	ctx := t.Context()
	if err := first.Declare(ctx, port.Topic{Name: "bare", Window: -1}); err != nil {
		t.Fatal(err)
	}
	for i, b := range []*nats.Backend{first, first, embedded(t, c), embedded(t, c)} {
		for topic, messages := range map[string]int{"bare": 1, "orders": 2} {
			step := port.Batch{ID: "step for " + topic}
			for k := range messages {
				step.Messages = append(step.Messages, port.Message{Topic: topic, ID: fmt.Sprint(k)})
			}
			if err := b.Write(ctx, step); err != nil {
				t.Errorf("process %d writes to %s: %v", i, topic, err)
			}
			list, err := b.Read(ctx, port.Range{Topic: topic, Max: 10})
			if err != nil || len(list) != messages {
				t.Errorf("after process %d topic %s has %d entries, %v; want %d", i, topic, len(list), err, messages)
			}
		}
	}
}
