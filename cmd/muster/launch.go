package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/musterhq/muster/cluster"
	"github.com/musterhq/muster/flow"
	"github.com/musterhq/muster/port"
)

// launch is what muster run was asked for, kept beside the run so that muster resume does the same. Each run is a pipeline of its
// own: no process carries on what another one was asked for, into its own directory and with its own model.
type launch struct {
	Run     string    `json:"run"`
	File    string    `json:"file"` // of the requirements
	Text    string    `json:"text"` // what it said
	Out     string    `json:"out"`  // absolute
	Model   string    `json:"model"`
	Script  string    `json:"script"` // absolute
	Created time.Time `json:"created"`
}

func pipelineOf(run string) string    { return "delivery-" + run }
func launchKey(run string) string     { return pipelineOf(run) + "/launch" }
func runMember(run string) string     { return "run-" + run }
func (l *launch) pipeline() string    { return pipelineOf(l.Run) }
func (l *launch) newer(o *launch) int { return -l.Created.Compare(o.Created) }

// save keeps the launch of a new run.
func (l *launch) save(ctx context.Context, b port.KV) error {
	text, err := json.Marshal(l)
	if err != nil {
		return err
	}
	_, err = b.Apply(ctx, port.Change{Key: launchKey(l.Run), Value: text, If: port.Absent})
	return err
}

// launches are the runs that there are, the newest first; those with these names where there are any, all of which must be there.
func launches(ctx context.Context, b port.KV, runs ...string) ([]*launch, error) {
	var keys []string
	for _, run := range runs {
		if err := port.CheckName("run", run); err != nil {
			return nil, &usageError{err}
		}
		keys = append(keys, launchKey(run))
	}
	if len(runs) == 0 {
		for key, err := range b.Keys(ctx, launchKey("*")) {
			if err != nil {
				return nil, err
			}
			keys = append(keys, key)
		}
	}
	var all []*launch
	for page := range slices.Chunk(keys, 100) {
		vs, err := b.Get(ctx, page...)
		if err != nil {
			return nil, err
		}
		for _, v := range vs {
			if !v.Found {
				if len(runs) > 0 {
					return nil, fmt.Errorf("no run has the key %q; see muster runs list: %w", v.Key, port.ErrNotFound)
				}
				continue
			}
			l := new(launch)
			if err := json.Unmarshal(v.Bytes, l); err != nil {
				return nil, fmt.Errorf("the key %q holds no run: %w", v.Key, err)
			}
			all = append(all, l)
		}
	}
	slices.SortFunc(all, (*launch).newer)
	return all, nil
}

// status is how the run is; pending where its process died before it was begun.
func (l *launch) status(ctx context.Context, b flow.Backend) (flow.Status, error) {
	now, err := flow.Lookup(ctx, b, l.pipeline(), l.Run)
	if errors.Is(err, port.ErrNotFound) {
		return flow.Status{ID: l.Run, Pipeline: l.pipeline(), State: flow.Pending, Created: l.Created}, nil
	}
	return now, err
}

// runTTL is how long after the death of its process a run of another machine counts as alive, and runLoan after how long the phase
// that it died in is begun again.
const (
	runTTL  = 5 * time.Second
	runLoan = 6 * time.Second
)

// carrier is the process that a run is alive in.
type carrier struct{ host, pid string }

func (k carrier) String() string { return "process " + k.pid + " on " + k.host }

func myself() carrier {
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	return carrier{host, strconv.Itoa(os.Getpid())}
}

func (k carrier) meta() map[string]string { return map[string]string{"host": k.host, "pid": k.pid} }

// gone reports whether it is a process of this machine that has ended.
func (k carrier) gone() bool {
	pid, err := strconv.Atoi(k.pid)
	return err == nil && k.host == myself().host && !living(pid)
}

// carriers are the processes that runs are alive in, by run. One of another machine may have ended within runTTL.
func carriers(ctx context.Context, b port.Leases) (map[string]carrier, error) {
	members, err := cluster.Members(ctx, b)
	if err != nil {
		return nil, err
	}
	by := make(map[string]carrier)
	for _, m := range members {
		if k := (carrier{m.Meta["host"], m.Meta["pid"]}); !k.gone() {
			by[m.ID] = k
		}
	}
	return by, nil
}

// free returns when nobody has the run, and port.ErrConflict when somebody has it.
func (l *launch) free(ctx context.Context, b port.Leases) error {
	for end := time.Now().Add(runTTL + runTTL/2); ; {
		by, err := carriers(ctx, b)
		if err != nil {
			return err
		}
		k, held := by[runMember(l.Run)]
		switch {
		case !held:
			return nil
		case k.host == myself().host || time.Now().After(end):
			return fmt.Errorf("the run %s is alive in %s; let it end, or end it: %w", l.Run, k, port.ErrConflict)
		}
		select {
		case <-time.After(runTTL / 10):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
