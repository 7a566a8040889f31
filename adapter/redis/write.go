package redis

import (
	"context"
	"errors"
	"fmt"

	"github.com/musterhq/muster/port"
)

// mostStep is how many bytes one step may carry in all: a server copies them twice.
const mostStep = 128 << 20

// mostTrims is how often a step that meets a full topic is tried again. Each time somebody else's came first.
const mostTrims = 100

// Write makes the step in one script, with those that others write in the same family while one is under way. A full topic is
// trimmed, and the step tried again, up to 100 times: others may fill what was trimmed. A step that carries more than 128 MiB is
// [port.ErrInvalid], as it is in Settle.
func (b *Backend) Write(ctx context.Context, batch port.Batch) error {
	err := batch.Check(b.caps, "")
	if err == nil {
		err = checkWeight(&batch)
	}
	if err != nil {
		return fmt.Errorf("redis: write: %w", err)
	}
	if err := b.alive(ctx, "write"); err != nil {
		return err
	}
	name, ok := anyName(&batch)
	if !ok {
		return nil // nothing to do
	}
	family := port.Family(name)
	if err := b.register(ctx, "write", family); err != nil {
		return err
	}
	err = b.gather.write(ctx, family, batch)
	for range mostTrims {
		full, ok := errors.AsType[*fullError](err)
		if !ok {
			break
		}
		if kept, e := b.trim(ctx, full.topic); e != nil || kept {
			return errors.Join(err, e)
		}
		err = b.gather.write(ctx, family, batch)
	}
	return err
}

// weight is how many bytes of bodies and values a step carries.
func weight(b *port.Batch) int {
	n := 0
	for i := range b.Messages {
		n += len(b.Messages[i].Body)
	}
	for i := range b.Changes {
		n += len(b.Changes[i].Value) + len(b.Changes[i].Old)
	}
	return n
}

func checkWeight(b *port.Batch) error {
	if n := weight(b); n > mostStep {
		return fmt.Errorf("the step carries %d bytes, at most %d go in one step: write it as several: %w", n, mostStep, port.ErrInvalid)
	}
	return nil
}

// anyName is one of the names in a step, which are all of one family; false when there is none, or a fence alone.
func anyName(b *port.Batch) (string, bool) {
	switch {
	case len(b.Messages) > 0:
		return b.Messages[0].Topic, true
	case len(b.Removes) > 0:
		return b.Removes[0].Topic, true
	case len(b.Changes) > 0:
		return b.Changes[0].Key, true
	default:
		return "", false
	}
}
