package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/musterhq/muster/port"
)

func runsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "runs",
		Short: "Runs of muster run",
		Args:  exactly(0, "one of list, prune, remove"),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(runsListCommand(), runsRemoveCommand(), runsPruneCommand())
	return cmd
}

func runsListCommand() *cobra.Command {
	var f backendFlags
	cmd := &cobra.Command{
		Use:   "list [RUN...]",
		Short: "List runs, the newest first",
		Long: `Lists the runs of muster run, the newest first: how each is, where, and the process that it is alive in. A run that is not over and
alive nowhere is one whose process died or was interrupted: muster resume goes on with it.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.with(cmd, func(ctx context.Context, b port.Backend, s *screen) error { return listRuns(ctx, b, s, args) })
		},
	}
	f.add(cmd)
	return cmd
}

// runLine is a run as it is printed.
type runLine struct {
	Run     string     `json:"run"`
	State   string     `json:"state"`
	Phase   string     `json:"phase,omitempty"`
	Alive   string     `json:"alive,omitempty"`
	Created time.Time  `json:"created"`
	Ended   *time.Time `json:"ended,omitempty"`
	File    string     `json:"file"`
	Out     string     `json:"out"`
	Reason  string     `json:"reason,omitempty"`
}

func listRuns(ctx context.Context, b port.Backend, s *screen, names []string) error {
	all, err := runs(ctx, b, names...)
	if err != nil {
		return err
	}
	var rows [][]string
	for _, k := range all {
		line := runLine{
			Run: k.Run, State: k.state(), Phase: k.now.Phase, Created: k.Created.UTC(), File: k.File, Out: k.Out, Reason: k.now.Reason,
		}
		if k.by != nil {
			line.Alive = k.by.String()
		}
		if !k.now.Ended.IsZero() {
			line.Ended = new(k.now.Ended.UTC())
		}
		if s.json {
			if err := s.value(line); err != nil {
				return err
			}
			continue
		}
		rows = append(rows, []string{line.Run, line.State, orDash(line.Phase), orDash(line.Alive), since(line.Created), line.File, line.Out})
	}
	if s.json {
		return nil
	}
	return s.table([]string{"RUN", "STATE", "PHASE", "ALIVE", "AGE", "FILE", "OUT"}, rows)
}

func resumeCommand() *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:   "resume [RUN]",
		Short: "Go on with a run whose process died",
		Long: `Goes on with a run of muster run whose process died or was interrupted; without RUN, with the newest of them. What was recorded is
printed and not done again: the phase that it died in is begun again, within some seconds. Requirements, directory and model are those of
the run.

The status is 0 only when the program is deployed and healthy, 3 when there is no such run, and 4 when it is over, or alive in another process.`,
		Args: between(0, 1, "one run at most"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return resume(cmd, f, args)
		},
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&f.verbose, "verbose", false, "log what the bus decides, on standard error")
	return cmd
}

func resume(cmd *cobra.Command, f runFlags, args []string) error {
	ctx := cmd.Context()
	b, err := f.open(ctx)
	if err != nil {
		return advise(err)
	}
	l, c, err := resumable(ctx, b, args)
	if err == nil {
		var p *prepared
		if p, err = prepare(l); err == nil {
			err = joined(p.work(ctx, f, b, c, cmd.OutOrStdout(), cmd.ErrOrStderr()), p.close)
		}
		c.free(ctx)
	}
	return joined(advise(err), b.Close)
}

// resumable is the run with that name, or the newest one that can go on, taken for this process.
func resumable(ctx context.Context, b port.Backend, args []string) (*launch, *carrier, error) {
	all, err := runs(ctx, b, args...)
	if err != nil {
		return nil, nil, err
	}
	var alive []string
	for _, k := range all {
		l, c, err := k.resume(ctx, b)
		if err == nil || len(args) > 0 || !errors.Is(err, port.ErrConflict) {
			return l, c, err
		}
		if k.by != nil {
			alive = append(alive, k.Run)
		}
	}
	if len(alive) > 0 {
		return nil, nil, fmt.Errorf("%w: every run that is not over is alive in another process: %s", port.ErrConflict, strings.Join(alive, ", "))
	}
	return nil, nil, fmt.Errorf("no run is to be resumed, see muster runs list: %w", port.ErrNotFound)
}

// resume takes the run for this process; port.ErrConflict where it is over, or alive in another one.
func (k *kept) resume(ctx context.Context, b port.Backend) (*launch, *carrier, error) {
	if err := k.ended(); err != nil {
		return nil, nil, err
	}
	c, err := carry(ctx, b, k.Run)
	if err != nil {
		return nil, nil, err
	}
	var l *launch
	if err = k.look(ctx, b); err == nil { // it may have ended, or have been removed, before the claim
		err = k.ended()
	}
	if err == nil {
		l, err = k.load(ctx, b)
	}
	if err == nil && l == nil {
		k.removal = true
		err = k.ended()
	}
	if err != nil {
		c.free(ctx)
		return nil, nil, err
	}
	return l, c, nil
}

// ended is the error of a run that cannot go on; nil where it can.
func (k *kept) ended() error {
	switch {
	case k.removal:
		return fmt.Errorf("%w: the run %s is being removed; muster runs remove %s does what is left of that", port.ErrConflict, k.Run, k.Run)
	case k.now.State.Over():
		return fmt.Errorf("%w: the run %s has %s; muster run begins a new one", port.ErrConflict, k.Run, strings.TrimSpace(string(k.now.State)+" "+k.now.Reason))
	}
	return nil
}
