package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/musterhq/muster/flow"
	"github.com/musterhq/muster/port"
)

// removeFlags are the flags of the commands that remove runs.
type removeFlags struct {
	backendFlags
	unfinished bool
	yes        bool
}

func (f *removeFlags) add(cmd *cobra.Command) {
	f.backendFlags.add(cmd)
	cmd.Flags().BoolVar(&f.unfinished, "unfinished", false, "also runs that are not over and alive nowhere, which muster resume could go on with")
	yesFlag(cmd, &f.yes)
}

const removeLong = `
What is removed is all that the backend keeps of a run: its record and history, its topics, its dead letters. What was released stays where it is. A
removal that was cut off leaves the run in the state removing; removing it again does the rest.`

func runsRemoveCommand() *cobra.Command {
	var f removeFlags
	cmd := &cobra.Command{
		Use:     "remove RUN...",
		Aliases: []string{"rm"},
		Short:   "Remove runs that are over, with all that is kept of them",
		Long: `Removes runs that have succeeded, failed or were cancelled. One that is alive in a process is refused, with status 4, and one that is
not over is unless --unfinished says that it will not be resumed; then nothing is removed.
` + removeLong,
		Example: "  muster runs remove 01a2186a-1fa3-7095-9916-d87fb6e3fc72",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage(cmd, errors.New("no run is named; muster runs list tells the names, and muster runs prune removes by age or number"))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.with(cmd, func(ctx context.Context, b port.Backend, s *screen) error {
				all, err := runs(ctx, b, args...)
				if err != nil {
					return err
				}
				for _, k := range all {
					if err := k.removable(f.unfinished); err != nil {
						return err
					}
				}
				return f.remove(cmd, b, s, all)
			})
		},
	}
	f.add(cmd)
	return cmd
}

func runsPruneCommand() *cobra.Command {
	var f removeFlags
	older, keep := age(0), 0
	cmd := &cobra.Command{
		Use:   "prune {--older-than D | --keep N}",
		Short: "Remove runs that ended long ago, or all but the newest",
		Long: `Removes the runs that are over and ended longer than --older-than ago, or all but the newest --keep of those that are over; with both
flags, those that both choose. Runs that are alive in a process stay.
` + removeLong,
		Example: "  muster runs prune --older-than 30d --yes\n  muster runs prune --keep 20 --yes",
		Args:    exactly(0, "flags alone: a run is removed by name with muster runs remove"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			byAge, byNumber := cmd.Flags().Changed("older-than"), cmd.Flags().Changed("keep")
			switch {
			case !byAge && !byNumber:
				return usage(cmd, errors.New("say which runs: --older-than 30d, or --keep 20; --keep 0 is all that are over"))
			case keep < 0:
				return usage(cmd, fmt.Errorf("--keep %d: it is 0 or more", keep))
			}
			return f.with(cmd, func(ctx context.Context, b port.Backend, s *screen) error {
				all, err := runs(ctx, b)
				if err != nil {
					return err
				}
				return f.remove(cmd, b, s, f.old(all, time.Now().Add(-time.Duration(older)), keep))
			})
		},
	}
	f.add(cmd)
	cmd.Flags().Var(&older, "older-than", "that ended longer ago than this: 36h, 30d")
	cmd.Flags().IntVar(&keep, "keep", 0, "so many of the newest stay")
	return cmd
}

// age is a duration that may be given in days.
type age time.Duration

func (a *age) Type() string { return "age" }

// String is "" for none, which is no default to be told of.
func (a *age) String() string {
	if *a == 0 {
		return ""
	}
	return brief(time.Duration(*a))
}

// Set reads a duration as Go writes it, or a whole number of days with a d.
func (a *age) Set(text string) error {
	d, err := time.ParseDuration(text)
	if number, ok := strings.CutSuffix(text, "d"); ok {
		var days int
		days, err = strconv.Atoi(number)
		d = time.Duration(days) * 24 * time.Hour
		if days > 100*366 {
			err = strconv.ErrRange
		}
	}
	if err != nil || d < 0 {
		return errors.New("it is a time such as 90m, 36h or 30d")
	}
	*a = age(d)
	return nil
}

// removable is the error of a run that is not to be removed.
func (k *kept) removable(unfinished bool) error {
	switch {
	case k.by != nil && !k.removal:
		return fmt.Errorf("%w: the run %s is alive in %s: let it end, or interrupt that process, then remove it", port.ErrConflict, k.Run, k.by)
	case !k.over() && !unfinished:
		return fmt.Errorf("%w: the run %s is not over: muster resume %s goes on with it, --unfinished removes it as it is", port.ErrConflict, k.Run, k.Run)
	}
	return nil
}

// old are the runs to be removed that ended before a time, without the newest of them. What was being removed is always among them.
func (f *removeFlags) old(all []*kept, before time.Time, keep int) (chosen []*kept) {
	for _, k := range all {
		ended := k.now.Ended
		if ended.IsZero() {
			ended = k.Created
		}
		switch {
		case k.removable(f.unfinished) != nil:
		case k.removal:
			chosen = append(chosen, k)
		case keep > 0:
			keep--
		case !ended.After(before):
			chosen = append(chosen, k)
		}
	}
	return chosen
}

// remove removes runs after a question, and tells of each.
func (f *removeFlags) remove(cmd *cobra.Command, b port.Backend, s *screen, all []*kept) error {
	if len(all) == 0 {
		if s.json {
			return nil
		}
		return s.line("no run is to be removed")
	}
	if err := confirm(cmd, f.yes, fmt.Sprintf("%s with the records and dead letters would be gone for good.", several(len(all), "run"))); err != nil {
		return err
	}
	for i, k := range all {
		if err := k.remove(cmd.Context(), b); err != nil {
			return fmt.Errorf("%d of %s removed; the rest is removed by saying it again: run %s: %w", i, several(len(all), "run"), k.Run, err)
		}
		if err := s.removed(k.Run); err != nil {
			return err
		}
	}
	return nil
}

func (s *screen) removed(run string) error {
	if s.json {
		return s.value(removedLine{run})
	}
	return s.line("removed", run)
}

// removedLine is a run that was removed.
type removedLine struct {
	Run string `json:"run"`
}

// remove removes the run. It only deletes, so that it also does where the store is full. The launch goes first: from then on nobody
// begins to carry the run, and who began just before notices within a second and ends. The entry goes last.
func (k *kept) remove(ctx context.Context, b port.Backend) error {
	if _, err := b.Apply(ctx, port.Change{Key: launchKey(k.Run), Delete: true}); err != nil {
		return err
	}
	for end := time.Now().Add(runTTL + runLoan); ; {
		err := k.look(ctx, b)
		if err == nil && k.by != nil {
			err = fmt.Errorf("it is alive in %s: %w", k.by, port.ErrConflict)
		}
		if err == nil {
			err = flow.Drop(ctx, b, k.pipeline())
		}
		if err == nil {
			break
		}
		if !errors.Is(err, port.ErrConflict) || time.Now().After(end) {
			return err
		}
		select { // until the process has ended, or the loan of one that died
		case <-time.After(runTTL / 50):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	_, err := b.Apply(ctx, port.Change{Key: claimKey(k.Run), Delete: true}, port.Change{Key: entryKey(k.Run), Delete: true})
	return err
}
