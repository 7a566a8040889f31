package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/musterhq/muster/cluster"
	"github.com/musterhq/muster/port"
)

// memberLine is a member, and with --watch what happened to it.
type memberLine struct {
	Change      string            `json:"change,omitempty"`
	ID          string            `json:"id"`
	Incarnation uint64            `json:"incarnation"`
	Since       *time.Time        `json:"since,omitempty"`
	TTL         float64           `json:"ttlSeconds,omitempty"`
	Meta        map[string]string `json:"meta,omitempty"`
}

func membersCommand() *cobra.Command {
	var f backendFlags
	var watch bool
	cmd := &cobra.Command{
		Use:   "members",
		Short: "List who is there, or watch who comes and goes",
		Long: `Lists the members of the cluster: the processes that have joined and are alive. With --watch it prints each as joined, and then who
joined, changed, left and expired, until an interrupt.`,
		Example: "  muster members --watch --json",
		Args:    exactly(0, "none"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.with(cmd, func(ctx context.Context, b port.Backend, s *screen) error {
				if watch {
					return watchMembers(ctx, cmd, b, s)
				}
				all, err := cluster.Members(ctx, b)
				if err != nil {
					return err
				}
				var rows [][]string
				for _, m := range all {
					if s.json {
						if err := s.value(lineOf("", m)); err != nil {
							return err
						}
					}
					rows = append(rows, []string{m.ID, fmt.Sprint(m.Incarnation), since(m.Since), orDash(pairs(m.Meta))})
				}
				if s.json {
					return nil
				}
				return s.table([]string{"ID", "INCARNATION", "SINCE", "META"}, rows)
			})
		},
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&watch, "watch", false, "print who comes and goes, until an interrupt")
	return cmd
}

func watchMembers(ctx context.Context, cmd *cobra.Command, l port.Leases, s *screen) error {
	events, err := cluster.Watch(ctx, l)
	if err != nil {
		return err
	}
	return follow(cmd, s, events, func(e cluster.Event) error {
		if s.json {
			return s.value(lineOf(e.Change.String(), e.Member))
		}
		return s.line(stamp(time.Now()), e.Change.String(), e.Member.ID, fmt.Sprint(e.Member.Incarnation), pairs(e.Member.Meta))
	})
}

// follow prints news until they end. An outage is a line on standard error, and is waited out.
func follow[T any](cmd *cobra.Command, s *screen, news iter.Seq2[T, error], show func(T) error) error {
	for v, err := range news {
		if err == nil {
			err = errors.Join(show(v), s.flush())
			if err != nil {
				return err
			}
			continue
		}
		if errors.Is(err, port.ErrClosed) {
			return err
		}
		if _, err := fmt.Fprintln(cmd.ErrOrStderr(), "muster:", sentence(err)+"; trying again until it works"); err != nil {
			return err
		}
	}
	return nil
}

func lineOf(change string, m cluster.Member) memberLine {
	return memberLine{Change: change, ID: m.ID, Incarnation: m.Incarnation, Since: orNil(m.Since), TTL: m.TTL.Seconds(), Meta: m.Meta}
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// orNil is t in UTC, nil when it is zero.
func orNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return new(t.UTC())
}

// pairs is metadata on one line, by name.
func pairs(meta map[string]string) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(meta)) {
		all = append(all, name+"="+meta[name])
	}
	return strings.Join(all, " ")
}

// termLine is who holds something. Without a holder it is free.
type termLine struct {
	Kind   string            `json:"kind,omitempty"`
	Name   string            `json:"name"`
	Slot   *int              `json:"slot,omitempty"`
	Holder string            `json:"holder,omitempty"`
	Token  uint64            `json:"token,omitempty"`
	Since  *time.Time        `json:"since,omitempty"`
	Until  *time.Time        `json:"until,omitempty"`
	Meta   map[string]string `json:"meta,omitempty"`
}

func termOf(kind, name string, t cluster.Term) termLine {
	return termLine{Kind: kind, Name: name, Holder: t.Holder, Token: t.Token, Since: orNil(t.Since), Until: orNil(t.Until()), Meta: t.Meta}
}

func leaderCommand() *cobra.Command {
	var f backendFlags
	var watch bool
	cmd := &cobra.Command{
		Use:   "leader [ELECTION]",
		Short: "Tell who leads an election, or watch who does",
		Long: `Tells who leads an election (default "default"), since when, and with which fencing token; status 3 when nobody does. With --watch it prints
each leader that there is until an interrupt, and a dash while there is none.`,
		Example: "  muster leader billing --watch",
		Args:    atMost(1, "at most one election"),
		RunE: func(cmd *cobra.Command, args []string) error {
			election := "default"
			if len(args) > 0 {
				election = args[0]
			}
			return f.with(cmd, func(ctx context.Context, b port.Backend, s *screen) error {
				if watch {
					news, err := cluster.Leaders(ctx, b, election)
					if err != nil {
						return asUsage(cmd, err)
					}
					return follow(cmd, s, news, func(t cluster.Term) error {
						if s.json {
							return s.value(termOf("", election, t))
						}
						return s.line(stamp(time.Now()), orDash(t.Holder), tokenText(t.Token), pairs(t.Meta))
					})
				}
				t, err := cluster.Leader(ctx, b, election)
				if errors.Is(err, port.ErrNotFound) {
					return fmt.Errorf("%w; name the election that is meant, or wait for its leader with --watch", err)
				}
				if err != nil {
					return asUsage(cmd, err)
				}
				if s.json {
					return s.value(termOf("", election, t))
				}
				return s.facts([][2]string{{"leader", t.Holder}, {"token", tokenText(t.Token)}, {"since", since(t.Since)}, {"meta", pairs(t.Meta)}})
			})
		},
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&watch, "watch", false, "print each leader, until an interrupt")
	return cmd
}

func tokenText(token uint64) string {
	if token == 0 {
		return "-"
	}
	return fmt.Sprint(token)
}

// asUsage is err as a usage error where a name is none.
func asUsage(cmd *cobra.Command, err error) error {
	if errors.Is(err, port.ErrInvalid) {
		return usage(cmd, err)
	}
	return err
}

func whoCommand() *cobra.Command {
	var f backendFlags
	cmd := &cobra.Command{
		Use:     "who NAME",
		Short:   "Tell who holds the election, lock or semaphore of a name",
		Long:    "Tells who holds what goes by a name: the election, the lock, the slots of the semaphore. Status 3 when nobody holds anything.",
		Example: "  muster who billing",
		Args:    exactly(1, "one name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.with(cmd, func(ctx context.Context, b port.Backend, s *screen) error {
				all, err := cluster.Who(ctx, b, args[0])
				if err != nil {
					return asUsage(cmd, err)
				}
				if len(all) == 0 {
					return fmt.Errorf("nobody holds %q: %w; muster members tells who is there", args[0], port.ErrNotFound)
				}
				var rows [][]string
				for _, h := range all {
					line, slot := termOf(h.Kind, h.Name, h.Term), ""
					if h.Kind == "slot" {
						line.Slot, slot = new(h.Slot), fmt.Sprint(h.Slot)
					}
					if s.json {
						if err := s.value(line); err != nil {
							return err
						}
					}
					rows = append(rows, []string{h.Kind, orDash(slot), h.Holder, tokenText(h.Token), since(h.Since), orDash(pairs(h.Meta))})
				}
				if s.json {
					return nil
				}
				return s.table([]string{"KIND", "SLOT", "HOLDER", "TOKEN", "SINCE", "META"}, rows)
			})
		},
	}
	f.add(cmd)
	return cmd
}
