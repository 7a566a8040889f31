package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/musterhq/muster/bus"
	"github.com/musterhq/muster/envelope"
	"github.com/musterhq/muster/port"
)

// deadFlags are the flags of the commands under muster dead.
type deadFlags struct {
	backendFlags
	tenant string
	reason string
	limit  int
	rate   float64
	yes    bool
}

func deadCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dead",
		Short: "List, show, redrive and remove the dead letters of a group",
		Args:  exactly(0, "one of list, show, redrive, remove"),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(deadList(), deadShow(), deadRedrive(), deadRemove())
	return cmd
}

// chooses adds the flags that choose dead letters.
func (f *deadFlags) chooses(cmd *cobra.Command) {
	f.add(cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.tenant, "tenant", "", "only those of this tenant (default any)")
	flags.StringVar(&f.reason, "reason", "", "only those whose reason contains this text (default any)")
	flags.IntVar(&f.limit, "limit", 0, "at most so many, the oldest first (default all)")
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) < 2 {
			return usage(cmd, fmt.Errorf("%s, wanted is a topic, a group, and any number of ids", several(len(args), "argument")))
		}
		return nil
	}
	cmd.ValidArgsFunction = f.completeTopicGroup
}

// with checks the flags and opens the backend.
func (f *deadFlags) with(cmd *cobra.Command, args []string, do func(ctx context.Context, d bus.Dead, s *screen) error) error {
	if err := checkNames(args[:2]); err != nil {
		return usage(cmd, err)
	}
	if f.limit < 0 || !(f.rate >= 0) || f.rate > 1e9 {
		return usage(cmd, fmt.Errorf("--limit %d and --rate %v must not be negative, nor the rate over 1e9", f.limit, f.rate))
	}
	return f.backendFlags.with(cmd, func(ctx context.Context, b port.Backend, s *screen) error {
		d := bus.Dead{Queue: b, Topic: args[0], Group: args[1]}
		if err := known(ctx, d); err != nil {
			return err
		}
		return do(ctx, d, s)
	})
}

// known refuses a group that there is not, and was not as far as is known: there are no dead letters of it either.
func known(ctx context.Context, d bus.Dead) error {
	_, found, err := inspectOne(ctx, d.Queue, bus.DeadTopic(d.Topic, d.Group).Name)
	if err != nil || found {
		return err
	}
	info, _, err := inspectOne(ctx, d.Queue, d.Topic)
	if err != nil {
		return err
	}
	if _, found := groupNamed(&info, d.Group); !found {
		return fmt.Errorf("group %q of topic %q, or a dead letter of it: %w; muster topics lists topics, and muster groups %s the groups of this one", d.Group, d.Topic, port.ErrNotFound, d.Topic)
	}
	return nil
}

func (f *deadFlags) filter(ids []string) bus.DeadFilter {
	return bus.DeadFilter{IDs: ids, Tenant: f.tenant, Reason: f.reason, Limit: f.limit, PerSecond: f.rate}
}

func deadList() *cobra.Command {
	var f deadFlags
	cmd := &cobra.Command{
		Use:   "list TOPIC GROUP [ID...]",
		Short: "List dead letters, oldest first",
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.with(cmd, args, func(ctx context.Context, d bus.Dead, s *screen) error {
				return listDead(ctx, d, s, f.filter(args[2:]))
			})
		},
	}
	f.chooses(cmd)
	return cmd
}

// deadLine is a dead letter as it is printed.
type deadLine struct {
	Offset     string          `json:"offset"`
	ID         string          `json:"id"`
	Topic      string          `json:"topic"`
	Group      string          `json:"group"`
	Key        string          `json:"key,omitempty"`
	TenantID   string          `json:"tenantId,omitempty"`
	Worker     string          `json:"worker,omitempty"`
	Reason     string          `json:"reason"`
	Stack      string          `json:"stack,omitempty"`
	Attempts   int             `json:"attempts"`
	Crashes    int             `json:"crashes"`
	First      time.Time       `json:"first"`
	Last       time.Time       `json:"last"`
	Body       json.RawMessage `json:"body,omitempty"`
	BodyBase64 *string         `json:"bodyBase64,omitempty"`
}

func deadOf(d *bus.DeadLetter) deadLine {
	l := deadLine{
		Offset: string(d.Offset), ID: d.ID, Topic: d.Topic, Group: d.Group, Key: d.Key, TenantID: d.Tenant, Worker: d.Worker, Reason: d.Reason,
		Stack: d.Stack, Attempts: d.Attempts, Crashes: d.Crashes, First: d.First, Last: d.Last,
	}
	l.Body, l.BodyBase64 = jsonOr(d.Body)
	return l
}

func listDead(ctx context.Context, d bus.Dead, s *screen, filter bus.DeadFilter) error {
	var rows [][]string
	var broken error
	for letter, err := range d.List(ctx, filter) {
		if err != nil {
			if letter.Offset == "" {
				return err
			}
			broken = errors.Join(broken, err) // the list goes on
			continue
		}
		if s.json {
			if err := s.value(deadOf(&letter)); err != nil {
				return err
			}
			continue
		}
		rows = append(rows, []string{letter.ID, since(letter.Last), strconv.Itoa(letter.Attempts), strconv.Itoa(letter.Crashes), orDash(letter.Tenant), firstLine(letter.Reason)})
	}
	if s.json {
		return broken
	}
	return errors.Join(s.table([]string{"ID", "AGE", "ATTEMPTS", "CRASHES", "TENANT", "REASON"}, rows), broken)
}

// firstLine is the first line of a text, shortened.
func firstLine(text string) string {
	const most = 120
	line, rest, _ := strings.Cut(strings.TrimSpace(text), "\n")
	if r := []rune(line); len(r) > most {
		return string(r[:most]) + "..."
	}
	if rest != "" {
		line += " ..."
	}
	return line
}

func deadShow() *cobra.Command {
	var f deadFlags
	cmd := &cobra.Command{
		Use:               "show TOPIC GROUP ID",
		Short:             "Show a dead letter with its body",
		Args:              exactly(3, "a topic, a group and an id"),
		ValidArgsFunction: f.completeTopicGroup,
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.with(cmd, args, func(ctx context.Context, d bus.Dead, s *screen) error {
				letter, err := d.Show(ctx, args[2])
				if errors.Is(err, port.ErrNotFound) {
					return fmt.Errorf("%w; muster dead list tells those that there are", err)
				}
				if err != nil {
					return err
				}
				return showDead(s, &letter)
			})
		},
	}
	f.add(cmd)
	return cmd
}

func showDead(s *screen, letter *bus.DeadLetter) error {
	if s.json {
		return s.value(deadOf(letter))
	}
	corr, payload := "", letter.Body
	if meta, body, err := envelope.Parse(letter.Body); err == nil {
		corr, payload = meta.CorrID, body
	}
	rows := [][2]string{
		{"id", letter.ID},
		{"correlation", corr},
		{"key", letter.Key},
		{"tenant", letter.Tenant},
		{"worker", letter.Worker},
		{"attempts", strconv.Itoa(letter.Attempts)},
		{"crashes", strconv.Itoa(letter.Crashes)},
		{"first", letter.First.Format(time.RFC3339)},
		{"last", letter.Last.Format(time.RFC3339)},
	}
	for i, line := range strings.Split(strings.TrimSpace(letter.Reason), "\n") {
		rows = append(rows, [2]string{once(i, "reason"), line})
	}
	for i, line := range strings.Split(strings.TrimSpace(letter.Stack), "\n") {
		rows = append(rows, [2]string{once(i, "stack"), line})
	}
	return s.facts(append(rows, [2]string{"payload", string(payload)}))
}

// once is name on the first of several lines.
func once(i int, name string) string {
	if i > 0 {
		return ""
	}
	return name
}

func deadRedrive() *cobra.Command {
	var f deadFlags
	cmd := &cobra.Command{
		Use:   "redrive TOPIC GROUP [ID...]",
		Short: "Give dead letters back to the group that failed, with all their tries",
		Long: `Gives the chosen dead letters, without ids and filters all of them, back to the group that failed, and to no other, oldest first.
Each is removed and appended in one step. Ids that are not there end it with status 3, after the others are redriven.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.with(cmd, args, func(ctx context.Context, d bus.Dead, s *screen) error {
				chosen, err := f.choose(ctx, d, args[2:])
				if err != nil {
					return err
				}
				n, err := d.Redrive(ctx, f.filter(args[2:]))
				return errors.Join(reportDead(s, "redriven", n), err, chosen.missing(d, args[2:]))
			})
		},
	}
	f.chooses(cmd)
	cmd.Flags().Float64Var(&f.rate, "rate", 0, "at most so many in a second (default as fast as it goes)")
	return cmd
}

func deadRemove() *cobra.Command {
	var f deadFlags
	cmd := &cobra.Command{
		Use:   "remove TOPIC GROUP [ID...]",
		Short: "Delete dead letters for good",
		Long: `Deletes the chosen dead letters, without ids and filters all of them, for good. Ids that are not there end it with status 3, after
the others are deleted.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.with(cmd, args, func(ctx context.Context, d bus.Dead, s *screen) error {
				chosen, err := f.choose(ctx, d, args[2:])
				if err != nil {
					return err
				}
				if len(chosen) > 0 {
					if err := confirm(cmd, f.yes, fmt.Sprintf("%s of group %q of topic %q would be gone for good.", several(len(chosen), "dead letter"), d.Group, d.Topic)); err != nil {
						return err
					}
				}
				n, err := d.Remove(ctx, f.filter(args[2:]))
				return errors.Join(reportDead(s, "removed", n), err, chosen.missing(d, args[2:]))
			})
		},
	}
	f.chooses(cmd)
	cmd.Flags().Float64Var(&f.rate, "rate", 0, "at most so many in a second (default as fast as it goes)")
	yesFlag(cmd, &f.yes)
	return cmd
}

// chosen are the ids of letters that a filter chooses.
type chosen []string

func (f *deadFlags) choose(ctx context.Context, d bus.Dead, ids []string) (chosen, error) {
	var found chosen
	for letter, err := range d.List(ctx, f.filter(ids)) {
		if err == nil {
			found = append(found, letter.ID)
		} else if letter.Offset == "" {
			return nil, err
		}
	}
	return found, nil
}

// missing is the error for ids that were named and are not there.
func (c chosen) missing(d bus.Dead, ids []string) error {
	var none []string
	for _, id := range ids {
		if !slices.Contains(c, id) {
			none = append(none, strconv.Quote(id))
		}
	}
	if len(none) == 0 {
		return nil
	}
	return fmt.Errorf("dead letter %s of group %q of topic %q, among those that the filters choose: %w; muster dead list tells those that there are", strings.Join(none, ", "), d.Group, d.Topic, port.ErrNotFound)
}

func reportDead(s *screen, what string, n int) error {
	if s.json {
		return s.value(map[string]int{what: n})
	}
	return s.line(strconv.Itoa(n), what)
}
