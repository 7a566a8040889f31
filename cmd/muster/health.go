package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/musterhq/muster/bus"
	"github.com/musterhq/muster/port"
)

// errDown is the answer of a backend that gives none.
var errDown = fmt.Errorf("the backend does not answer: %w; see that the server runs and that --backend names it", port.ErrUnavailable)

func healthCommand() *cobra.Command {
	var f backendFlags
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Ask the backend how it is and what it promises",
		Long: `Asks the backend how it is, what endangers its promises, and what they are. The status is 0 when it answers, degraded or not, and
5 when it does not.`,
		Args: exactly(0, "none"),
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			s := newScreen(cmd.OutOrStdout(), f.json)
			defer func() { err = errors.Join(err, s.flush()) }()
			b, err := f.open(cmd.Context())
			if errors.Is(err, port.ErrUnavailable) {
				down := port.Health{State: port.Unavailable, Details: []string{strings.TrimRight(sentence(err), ".") + "."}}
				return errors.Join(printHealth(s, down, port.Caps{}), errDown)
			}
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, b.Close()) }()
			h := b.Health(cmd.Context())
			if err := printHealth(s, h, b.Caps()); err != nil {
				return err
			}
			if h.State == port.Unavailable {
				return errDown
			}
			return nil
		},
	}
	f.add(cmd)
	return cmd
}

// healthLine is an answer as it is printed.
type healthLine struct {
	State       string    `json:"state"`
	RoundTripMS float64   `json:"roundTripMs"`
	Details     []string  `json:"details"`
	Promises    *promises `json:"promises,omitempty"` // absent when the backend could not be opened
}

// promises are the Caps of a backend as they are printed.
type promises struct {
	Backend          string  `json:"backend"`
	Atomic           string  `json:"atomic"`
	Durable          string  `json:"durable"`
	LinearReads      bool    `json:"linearReads"`
	Fenced           bool    `json:"fenced"`
	Exclusion        bool    `json:"exclusion"`
	TokenOrder       bool    `json:"tokenOrder"`
	LiveSignals      bool    `json:"liveSignals"`
	GapDetection     bool    `json:"gapDetection"`
	MinLoanSeconds   float64 `json:"minLoanSeconds"`
	MinTTLSeconds    float64 `json:"minTtlSeconds"`
	MaxBody          int     `json:"maxBody"`
	DelayResolutionS float64 `json:"delayResolutionSeconds"`
}

func promisesOf(c port.Caps) *promises {
	if c.Name == "" {
		return nil
	}
	return &promises{
		Backend: c.Name, Atomic: atomicity(c.Atomic), Durable: durability(c.Durable), LinearReads: c.LinearReads, Fenced: c.Fenced,
		Exclusion: c.Exclusion, TokenOrder: c.TokenOrder, LiveSignals: c.LiveSignals, GapDetection: c.GapDetection,
		MinLoanSeconds: c.MinLoan.Seconds(), MinTTLSeconds: c.MinTTL.Seconds(), MaxBody: c.MaxBody, DelayResolutionS: c.DelayResolution.Seconds(),
	}
}

func atomicity(a port.Atomicity) string {
	switch a {
	case port.AtomicAll:
		return "all"
	case port.AtomicFamily:
		return "family"
	default:
		return "none"
	}
}

func durability(d port.Durability) string {
	switch d {
	case port.DurableQuorum:
		return "quorum"
	case port.DurableMachine:
		return "machine"
	case port.DurableProcess:
		return "process"
	default:
		return "none"
	}
}

func printHealth(s *screen, h port.Health, c port.Caps) error {
	p := promisesOf(c)
	if s.json {
		return s.value(healthLine{
			State: h.State.String(), RoundTripMS: float64(h.RoundTrip.Microseconds()) / 1000, Details: append([]string{}, h.Details...), Promises: p,
		})
	}
	rows := [][2]string{{"state", h.State.String()}}
	if h.RoundTrip > 0 {
		rows = append(rows, [2]string{"round trip", h.RoundTrip.Round(10 * time.Microsecond).String()})
	}
	for i, d := range h.Details {
		rows = append(rows, [2]string{once(i, "because"), d})
	}
	if p != nil {
		rows = append(rows,
			[2]string{"backend", p.Backend},
			[2]string{"durable", p.Durable + durableMeans(c.Durable)},
			[2]string{"atomic", p.Atomic},
			[2]string{"fenced", strconv.FormatBool(p.Fenced)},
			[2]string{"exclusion", strconv.FormatBool(p.Exclusion)},
			[2]string{"largest body", strconv.Itoa(p.MaxBody) + " B"},
		)
	}
	return s.facts(rows)
}

func durableMeans(d port.Durability) string {
	switch d {
	case port.DurableQuorum:
		return ": what was acknowledged survives the loss of a minority of machines"
	case port.DurableMachine:
		return ": what was acknowledged survives a power cut"
	case port.DurableProcess:
		return ": what was acknowledged survives kill -9 of the server"
	default:
		return ": what was acknowledged may be lost when the server ends"
	}
}

func statsCommand() *cobra.Command {
	var f backendFlags
	cmd := &cobra.Command{
		Use:   "stats",
		Short: "Count what is in the namespace",
		Long: `Counts what is in the namespace now: topics, the messages they keep, groups, how far these are behind, dead letters. What went
through one worker it logs itself when it ends.`,
		Args: exactly(0, "none"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.with(cmd, func(ctx context.Context, b port.Backend, s *screen) error {
				return printStats(ctx, b, s)
			})
		},
	}
	f.add(cmd)
	return cmd
}

// statsLine is what is in a namespace. Topics, messages and groups of dead letters are counted by Dead alone.
type statsLine struct {
	Topics   int64      `json:"topics"`
	Messages int64      `json:"messages"`
	Groups   int64      `json:"groups"`
	Lag      int64      `json:"lag"`
	Loaned   int64      `json:"loaned"`
	Delayed  int64      `json:"delayed"`
	Dead     int64      `json:"dead"`
	Oldest   *time.Time `json:"oldest,omitempty"`
}

func printStats(ctx context.Context, b port.Backend, s *screen) error {
	all := make(map[string]port.TopicInfo)
	for info, err := range b.Inspect(ctx, "*") {
		if err != nil {
			return err
		}
		all[info.Topic.Name] = info
	}
	letters := make(map[string]bool) // the dead-letter topics of groups that are there
	for name, info := range all {
		for _, g := range info.Groups {
			letters[bus.DeadTopic(name, g.Name).Name] = true
		}
	}
	var l statsLine
	for name, info := range all {
		if letters[name] {
			l.Dead += info.Count
			continue
		}
		l.Topics++
		l.Messages += info.Count
		l.Groups += int64(len(info.Groups))
		l.Delayed += info.Delayed
		for _, g := range info.Groups {
			l.Lag += g.Lag
			l.Loaned += g.Loaned
			l.Delayed += g.Delayed
			if !g.Oldest.IsZero() && (l.Oldest == nil || g.Oldest.Before(*l.Oldest)) {
				l.Oldest = new(g.Oldest.UTC())
			}
		}
	}
	if s.json {
		return s.value(l)
	}
	oldest := time.Time{}
	if l.Oldest != nil {
		oldest = *l.Oldest
	}
	return s.facts([][2]string{
		{"topics", itoa(l.Topics)},
		{"messages", itoa(l.Messages)},
		{"groups", itoa(l.Groups)},
		{"lag", itoa(l.Lag)},
		{"loaned", itoa(l.Loaned)},
		{"delayed", itoa(l.Delayed)},
		{"dead", itoa(l.Dead)},
		{"oldest", since(oldest)},
	})
}
