package main

import (
	"context"
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
		Args:  exactly(0, "a command"),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(runsListCommand())
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

func listRuns(ctx context.Context, b port.Backend, s *screen, runs []string) error {
	all, err := launches(ctx, b, runs...)
	if err != nil {
		return err
	}
	by, err := carriers(ctx, b)
	if err != nil {
		return err
	}
	var rows [][]string
	for _, l := range all {
		now, err := l.status(ctx, b)
		if err != nil {
			return err
		}
		line := runLine{
			Run: l.Run, State: string(now.State), Phase: now.Phase, Created: l.Created.UTC(), File: l.File, Out: l.Out, Reason: now.Reason,
		}
		if k, ok := by[runMember(l.Run)]; ok {
			line.Alive = k.String()
		}
		if !now.Ended.IsZero() {
			line.Ended = new(now.Ended.UTC())
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
	l, err := resumable(ctx, b, args)
	if err == nil {
		var p *prepared
		if p, err = prepare(l); err == nil {
			err = joined(p.carry(ctx, f, b, cmd.OutOrStdout(), cmd.ErrOrStderr()), p.close)
		}
	}
	return joined(advise(err), b.Close)
}

// resumable is the run with that name, or the newest one that can go on.
func resumable(ctx context.Context, b port.Backend, args []string) (*launch, error) {
	all, err := launches(ctx, b, args...)
	if err != nil {
		return nil, err
	}
	var alive []string
	for _, l := range all {
		now, err := l.status(ctx, b)
		if err != nil {
			return nil, err
		}
		if now.State.Over() {
			if len(args) > 0 {
				return nil, fmt.Errorf("%w: the run %s has %s %s; muster run begins a new one", port.ErrConflict, l.Run, now.State, now.Reason)
			}
			continue
		}
		err = l.free(ctx, b)
		if err == nil || len(args) > 0 {
			return l, err
		}
		alive = append(alive, l.Run)
	}
	if len(alive) > 0 {
		return nil, fmt.Errorf("%w: every run that is not over is alive in another process: %s", port.ErrConflict, strings.Join(alive, ", "))
	}
	return nil, fmt.Errorf("no run is to be resumed, see muster runs list: %w", port.ErrNotFound)
}
