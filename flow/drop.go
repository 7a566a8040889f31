package flow

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/musterhq/muster/port"
)

// Drop removes a pipeline from a backend, for those who do not have the Pipeline: its topics with their dead letters and news, and
// its runs, whatever their state, with their histories and what Do has recorded. Other keys of the family stay.
//
// Nobody may work on the pipeline or start a run of it meanwhile, for what they write may stay. Topics go first and the records of
// runs last, so that it may be repeated when it fails halfway, also by another process; dropping what is not there is no error.
// [port.ErrConflict] while a worker has a message of it on loan: the topics before that one are gone then, and the records are not.
func Drop(ctx context.Context, b Backend, pipeline string) error {
	if err := checkPart("pipeline", pipeline); err != nil {
		return fmt.Errorf("drop: %w", err)
	}
	s := store{d: &definition{name: pipeline}, b: b}
	fail := func(err error) error { return fmt.Errorf("drop pipeline %q: %w", pipeline, err) }
	for info, err := range b.Inspect(ctx, pipeline+".*") {
		if err != nil {
			return fail(err)
		}
		err = again(ctx, func(ctx context.Context) error { return b.Drop(ctx, info.Topic.Name, "") })
		if err != nil && !errors.Is(err, port.ErrNotFound) {
			return fail(err)
		}
	}
	for _, pattern := range []string{pipeline + "/do/*", pipeline + "/log/*", s.d.runKey("*")} {
		keys, err := s.keys(ctx, pattern)
		if err == nil {
			err = s.delete(ctx, keys)
		}
		if err != nil {
			return fail(err)
		}
	}
	return nil
}

// delete deletes keys. It needs no step, as it may be repeated.
func (s store) delete(ctx context.Context, keys []string) error {
	for page := range slices.Chunk(keys, port.MaxParts) {
		changes := make([]port.Change, len(page))
		for i, key := range page {
			changes[i] = port.Change{Key: key, Delete: true}
		}
		err := again(ctx, func(ctx context.Context) error {
			applied, err := s.b.Apply(ctx, changes...)
			for _, a := range applied {
				err = errors.Join(err, a.Err)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}
