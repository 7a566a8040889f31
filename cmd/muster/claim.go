package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/musterhq/muster/adapter/nats"
	"github.com/musterhq/muster/port"
)

// runTTL is how long after the death of its process a run of another machine counts as alive, and runLoan after how long the phase
// that it died in is begun again.
const (
	runTTL  = 5 * time.Second
	runLoan = 6 * time.Second
)

// claim says which process carries a run. It is a key of the run's own family that lives for runTTL, and not a lease: of that the
// last token would stay when the run is removed. It keeps two processes from working on one run; that nothing is doubled where
// they do all the same is flow's.
type claim struct {
	Host  string `json:"host"`
	PID   int    `json:"pid"`
	Nonce string `json:"nonce"`
}

func newClaim() *claim {
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	return &claim{host, os.Getpid(), rand.Text()}
}

func (c *claim) String() string { return fmt.Sprintf("process %d on %s", c.PID, c.Host) }

// claimOf is the claim that a key holds, nil where there is none, or one of a process of this machine that has ended.
func claimOf(v port.Value) (*claim, error) {
	if !v.Found {
		return nil, nil
	}
	c := new(claim)
	if err := json.Unmarshal(v.Bytes, c); err != nil || c.Nonce == "" {
		return nil, fmt.Errorf("the key %q holds no claim of a process: %w", v.Key, errors.Join(port.ErrInvalid, err))
	}
	if c.Host == newClaim().Host && !living(c.PID) {
		return nil, nil
	}
	return c, nil
}

// carrier is this process while it has the claim of a run.
type carrier struct {
	b    port.KV
	run  string
	text []byte
}

// carry takes the run for this process. While another one has it, it waits for as long as that may be dead, and then answers
// [port.ErrConflict].
func carry(ctx context.Context, b port.KV, run string) (*carrier, error) {
	me := newClaim()
	text, err := json.Marshal(me)
	if err != nil {
		return nil, err
	}
	c := &carrier{b, run, text}
	change := port.Change{Key: claimKey(run), Value: text, If: port.Absent, TTL: runTTL}
	for end := time.Now().Add(runTTL + runTTL/2); ; {
		was, err := c.apply(ctx, change)
		if err != nil || was == nil {
			return c, err
		}
		other, err := claimOf(*was)
		switch {
		case err != nil:
			return nil, err
		case !was.Found:
			change.If, change.Old = port.Absent, nil // it ended meanwhile
			continue
		case other == nil:
			change.If, change.Old = port.Equals, was.Bytes // its process is dead
			continue
		case other.Host == me.Host || time.Now().After(end):
			return nil, fmt.Errorf("the run %s is alive in %s; let it end, or end it: %w", run, other, port.ErrConflict)
		}
		change.If, change.Old = port.Absent, nil
		select {
		case <-time.After(runTTL / 10):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// apply makes a change of the claim. It returns what stands in its way, nil when it is made, or was by an earlier try.
func (c *carrier) apply(ctx context.Context, change port.Change) (*port.Value, error) {
	applied, err := c.b.Apply(ctx, change)
	if errors.Is(err, port.ErrUncertain) {
		applied, err = c.b.Apply(ctx, change)
	}
	switch {
	case err != nil:
		return nil, err
	case applied[0].Err != nil:
		return nil, applied[0].Err
	case applied[0].Done, applied[0].Was.Found && bytes.Equal(applied[0].Was.Bytes, change.Value):
		return nil, nil
	}
	return &applied[0].Was, nil
}

// keep keeps the claim until ctx ends. An outage is waited out, as the work on the run does; what ends the run is an error: another
// process has it, it is being removed, or the store is full.
func (c *carrier) keep(ctx context.Context) error {
	tick := time.NewTicker(runTTL / 5)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		err := c.renew(ctx)
		away := errors.Is(err, port.ErrUnavailable) || errors.Is(err, port.ErrUncertain)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && (!away || errors.Is(err, nats.ErrFull)):
			return err
		}
	}
}

func (c *carrier) renew(ctx context.Context) error {
	mine := port.Change{Key: claimKey(c.run), Value: c.text, If: port.Equals, Old: c.text, TTL: runTTL}
	was, err := c.apply(ctx, mine)
	if err == nil && was != nil && !was.Found { // it ran out in an outage
		mine.If, mine.Old = port.Absent, nil
		was, err = c.apply(ctx, mine)
	}
	if err != nil {
		return err
	}
	if was != nil {
		other, err := claimOf(*was)
		if err != nil {
			return err
		}
		if other != nil {
			return fmt.Errorf("the run %s passed on to %s: %w", c.run, other, port.ErrConflict)
		}
	}
	vs, err := c.b.Get(ctx, launchKey(c.run))
	if err == nil && !vs[0].Found {
		err = fmt.Errorf("the run %s was removed by another process: %w", c.run, port.ErrConflict)
	}
	return err
}

// free gives the claim back. Where that fails it runs out by itself.
func (c *carrier) free(ctx context.Context) {
	ctx, end := context.WithTimeout(context.WithoutCancel(ctx), runTTL)
	defer end()
	_, _ = c.b.Apply(ctx, port.Change{Key: claimKey(c.run), Delete: true, If: port.Equals, Old: c.text})
}
