package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/musterhq/muster/envelope"
	"github.com/musterhq/muster/flow"
	"github.com/musterhq/muster/port"
)

// launch is what muster run was asked for, kept beside the run so that muster resume does the same. Each run is a pipeline of its
// own: no process carries on what another one was asked for, into its own directory and with its own model.
type launch struct {
	entry
	Text   string `json:"text"` // what the requirements said
	Model  string `json:"model"`
	Script string `json:"script"` // absolute
}

// entry is what the list of runs tells of one. It is written with the launch, and is the last thing of a run that is removed: a run
// without a launch is one that is being removed, or was when the process that did it died.
type entry struct {
	Run     string    `json:"run"`
	File    string    `json:"file"` // of the requirements
	Out     string    `json:"out"`  // absolute
	Created time.Time `json:"created"`
}

func pipelineOf(run string) string { return "delivery-" + run }
func launchKey(run string) string  { return pipelineOf(run) + "/launch" }
func entryKey(run string) string   { return pipelineOf(run) + "/entry" }
func claimKey(run string) string   { return pipelineOf(run) + "/claim" }
func runOf(entryKey string) string {
	return strings.TrimSuffix(strings.TrimPrefix(entryKey, "delivery-"), "/entry")
}
func (e *entry) pipeline() string   { return pipelineOf(e.Run) }
func (e *entry) newer(o *entry) int { return -e.Created.Compare(o.Created) }

// save keeps the launch of a new run.
func (l *launch) save(ctx context.Context, b port.Queue) error {
	short, err := json.Marshal(l.entry)
	if err != nil {
		return err
	}
	text, err := json.Marshal(l)
	if err != nil {
		return err
	}
	return b.Write(ctx, port.Batch{ID: envelope.NewID(), Changes: []port.Change{
		{Key: entryKey(l.Run), Value: short, If: port.Absent},
		{Key: launchKey(l.Run), Value: text, If: port.Absent},
	}})
}

// load is the launch of a run; nil when it is being removed.
func (e *entry) load(ctx context.Context, b port.KV) (*launch, error) {
	vs, err := b.Get(ctx, launchKey(e.Run))
	if err != nil || !vs[0].Found {
		return nil, err
	}
	l := new(launch)
	if err := json.Unmarshal(vs[0].Bytes, l); err != nil {
		return nil, fmt.Errorf("the key %q holds no run: %w", vs[0].Key, err)
	}
	return l, nil
}

// kept is a run that there is, and how it is.
type kept struct {
	entry
	now     flow.Status
	removal bool   // it is being removed
	by      *claim // the process that it is alive in; nil where there is none
}

// over reports whether nobody is to carry the run on.
func (k *kept) over() bool { return k.removal || k.now.State.Over() }

// runs are the runs that there are, the newest first; those with these names where there are any, all of which must be there.
func runs(ctx context.Context, b port.Backend, names ...string) ([]*kept, error) {
	var keys []string
	for _, run := range names {
		if err := checkRun(run); err != nil {
			return nil, err
		}
		if key := entryKey(run); !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	if len(names) == 0 {
		for key, err := range b.Keys(ctx, entryKey("*")) {
			if err != nil {
				return nil, err
			}
			keys = append(keys, key)
		}
	}
	var all []*kept
	for page := range slices.Chunk(keys, 100) {
		vs, err := b.Get(ctx, page...)
		if err != nil {
			return nil, err
		}
		for _, v := range vs {
			k := new(kept)
			switch {
			case v.Found:
				if err := json.Unmarshal(v.Bytes, &k.entry); err != nil {
					return nil, fmt.Errorf("the key %q holds no run: %w", v.Key, err)
				}
				all = append(all, k)
			case len(names) > 0:
				return nil, fmt.Errorf("run %q: %w; muster runs list tells those that there are", runOf(v.Key), port.ErrNotFound)
			}
		}
	}
	for _, k := range all {
		if err := k.look(ctx, b); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(all, func(k, o *kept) int { return k.newer(&o.entry) })
	return all, nil
}

// checkRun refuses what cannot be the name of a run.
func checkRun(run string) error {
	err := port.CheckName("run", run)
	if err == nil && strings.Contains(run, ".") {
		err = fmt.Errorf("run %q: the name has dots: %w", run, port.ErrInvalid)
	}
	if err != nil {
		return &usageError{fmt.Errorf("%w; muster runs list tells the names", err)}
	}
	return nil
}

// look finds out how the run is; pending where its process died before it was begun.
func (k *kept) look(ctx context.Context, b port.Backend) error {
	vs, err := b.Get(ctx, launchKey(k.Run), claimKey(k.Run))
	if err != nil {
		return err
	}
	k.removal = !vs[0].Found
	if k.by, err = claimOf(vs[1]); err != nil {
		return err
	}
	k.now, err = flow.Lookup(ctx, b, k.pipeline(), k.Run)
	if errors.Is(err, port.ErrNotFound) {
		k.now, err = flow.Status{ID: k.Run, Pipeline: k.pipeline(), State: flow.Pending, Created: k.Created}, nil
	}
	return err
}

// state is how the run is in one word.
func (k *kept) state() string {
	if k.removal {
		return "removing"
	}
	return string(k.now.State)
}
