package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/musterhq/muster/bus"
	"github.com/musterhq/muster/port"
)

func topicsCommand() *cobra.Command {
	var f backendFlags
	cmd := &cobra.Command{
		Use:   "topics [PATTERN]",
		Short: "List topics, with what they keep and how far their groups are behind",
		Long: `Lists the topics whose name matches a pattern (* any run of characters, ? any one, [a-z] one of a set), dead-letter topics among
them. A name that is no pattern must be there.`,
		Example:           `  muster topics 'orders.*'`,
		Args:              atMost(1, "at most one pattern"),
		ValidArgsFunction: f.completeTopic,
		RunE: func(cmd *cobra.Command, args []string) error {
			pattern := "*"
			if len(args) == 1 {
				pattern = args[0]
			}
			if err := port.CheckPattern(pattern); err != nil {
				return usage(cmd, err)
			}
			return f.with(cmd, func(ctx context.Context, b port.Backend, s *screen) error {
				return listTopics(ctx, b, s, pattern)
			})
		},
	}
	f.add(cmd)
	return cmd
}

// topicLine is a topic as it is printed.
type topicLine struct {
	Topic         string   `json:"topic"`
	Count         int64    `json:"count"`
	Delayed       int64    `json:"delayed"`
	Lag           int64    `json:"lag"`
	Loaned        int64    `json:"loaned"`
	Groups        []string `json:"groups"`
	First         string   `json:"first,omitempty"`
	Last          string   `json:"last,omitempty"`
	MaxAgeSeconds float64  `json:"maxAgeSeconds,omitempty"`
	MaxCount      int64    `json:"maxCount,omitempty"`
	MaxBytes      int64    `json:"maxBytes,omitempty"`
	WindowSeconds float64  `json:"windowSeconds,omitempty"`
}

func topicOf(info *port.TopicInfo) topicLine {
	l := topicLine{
		Topic: info.Topic.Name, Count: info.Count, Delayed: info.Delayed, Groups: []string{}, First: string(info.First), Last: string(info.Last),
		MaxAgeSeconds: max(0, info.Topic.MaxAge.Seconds()), MaxCount: max(0, info.Topic.MaxCount), MaxBytes: max(0, info.Topic.MaxBytes),
		WindowSeconds: max(0, info.Topic.Window.Seconds()),
	}
	for _, g := range info.Groups {
		l.Groups = append(l.Groups, g.Name)
		l.Lag += g.Lag
		l.Loaned += g.Loaned
		l.Delayed += g.Delayed
	}
	return l
}

func listTopics(ctx context.Context, b port.Backend, s *screen, pattern string) error {
	var rows [][]string
	n := 0
	for info, err := range b.Inspect(ctx, pattern) {
		if err != nil {
			return err
		}
		n++
		l := topicOf(&info)
		if s.json {
			if err := s.value(l); err != nil {
				return err
			}
			continue
		}
		rows = append(rows, []string{l.Topic, itoa(l.Count), itoa(l.Lag), itoa(l.Loaned), itoa(l.Delayed), limits(info.Topic), orDash(strings.Join(l.Groups, ","))})
	}
	if n == 0 && !port.IsPattern(pattern) {
		return fmt.Errorf("topic %q: %w; muster topics lists those that there are", pattern, port.ErrNotFound)
	}
	if s.json {
		return nil
	}
	return s.table([]string{"TOPIC", "COUNT", "LAG", "LOANED", "DELAYED", "KEPT", "GROUPS"}, rows)
}

// limits is how long and how much a topic keeps.
func limits(t port.Topic) string {
	var all []string
	if t.MaxAge > 0 {
		all = append(all, brief(t.MaxAge))
	}
	if t.MaxCount > 0 {
		all = append(all, itoa(t.MaxCount)+" messages")
	}
	if t.MaxBytes > 0 {
		all = append(all, itoa(t.MaxBytes)+" B")
	}
	if len(all) == 0 {
		return "all"
	}
	return strings.Join(all, ", ")
}

// brief is d in days where it is whole days.
func brief(d time.Duration) string {
	const day = 24 * time.Hour
	if d%day == 0 {
		return itoa(int64(d/day)) + "d"
	}
	return d.String()
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

func groupsCommand() *cobra.Command {
	var f backendFlags
	cmd := &cobra.Command{
		Use:   "groups TOPIC",
		Short: "List the groups of a topic: lag, loans, waiting messages, the oldest, consumers, dead letters",
		Long: `Lists the groups of a topic. LAG: messages that could be fetched now. LOANED: on loan to a worker. DELAYED: waiting for their time.
OLDEST: the age of the oldest message that is not finished. CONSUMERS: who has loans, an estimate. DEAD: dead letters.`,
		Args:              exactly(1, "one topic"),
		ValidArgsFunction: f.completeTopic,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := port.CheckName("topic", args[0]); err != nil {
				return usage(cmd, err)
			}
			return f.with(cmd, func(ctx context.Context, b port.Backend, s *screen) error {
				return listGroups(ctx, b, s, args[0])
			})
		},
	}
	f.add(cmd)
	return cmd
}

// groupLine is a group as it is printed.
type groupLine struct {
	Topic     string     `json:"topic"`
	Group     string     `json:"group"`
	Lag       int64      `json:"lag"`
	Loaned    int64      `json:"loaned"`
	Delayed   int64      `json:"delayed"`
	Oldest    *time.Time `json:"oldest,omitempty"`
	Consumers []string   `json:"consumers"`
	Dead      int64      `json:"dead"`
}

func listGroups(ctx context.Context, b port.Backend, s *screen, topic string) error {
	info, found, err := inspectOne(ctx, b, topic)
	if err != nil {
		return err
	}
	if !found {
		return fmt.Errorf("topic %q: %w; muster topics lists those that there are", topic, port.ErrNotFound)
	}
	var rows [][]string
	for _, g := range info.Groups {
		dead, err := bus.Dead{Queue: b, Topic: topic, Group: g.Name}.Count(ctx)
		if err != nil {
			return err
		}
		l := groupLine{Topic: topic, Group: g.Name, Lag: g.Lag, Loaned: g.Loaned, Delayed: g.Delayed, Consumers: []string{}, Dead: dead}
		l.Consumers = append(l.Consumers, g.Consumers...)
		if !g.Oldest.IsZero() {
			l.Oldest = new(g.Oldest.UTC())
		}
		if s.json {
			if err := s.value(l); err != nil {
				return err
			}
			continue
		}
		rows = append(rows, []string{l.Group, itoa(l.Lag), itoa(l.Loaned), itoa(l.Delayed), since(g.Oldest), strconv.Itoa(len(l.Consumers)), itoa(dead)})
	}
	if s.json {
		return nil
	}
	return s.table([]string{"GROUP", "LAG", "LOANED", "DELAYED", "OLDEST", "CONSUMERS", "DEAD"}, rows)
}

func dropCommand() *cobra.Command {
	var f backendFlags
	yes := false
	cmd := &cobra.Command{
		Use:   "drop TOPIC [GROUP]",
		Short: "Give up a group with what it has not finished, or a topic with all its messages and groups",
		Long: `Gives up a group with what it has not finished, or, without GROUP, the topic with all its messages and groups. Dead letters are a
topic of their own and stay. It refuses, with status 4, while a worker has a message of it on loan.`,
		Args:              between(1, 2, "a topic and at most one group"),
		ValidArgsFunction: f.completeTopicGroup,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkNames(args); err != nil {
				return usage(cmd, err)
			}
			return f.with(cmd, func(ctx context.Context, b port.Backend, s *screen) error {
				return dropNamed(cmd, b, s, args, yes)
			})
		},
	}
	f.add(cmd)
	yesFlag(cmd, &yes)
	return cmd
}

// checkNames checks a topic and a group, if there is one.
func checkNames(args []string) error {
	if err := port.CheckName("topic", args[0]); err != nil {
		return err
	}
	if len(args) > 1 {
		return port.CheckGroupName(args[1])
	}
	return nil
}

func dropNamed(cmd *cobra.Command, b port.Backend, s *screen, args []string, yes bool) error {
	topic, group := args[0], ""
	info, found, err := inspectOne(cmd.Context(), b, topic)
	if err != nil {
		return err
	}
	if !found {
		return fmt.Errorf("topic %q: %w; muster topics lists those that there are", topic, port.ErrNotFound)
	}
	question := fmt.Sprintf("Topic %q with %s and %s would be gone for good.", topic, several(int(info.Count), "message"), several(len(info.Groups), "group"))
	if len(args) > 1 {
		group = args[1]
		g, found := groupNamed(&info, group)
		if !found {
			return fmt.Errorf("group %q of topic %q: %w; muster groups lists those that there are", group, topic, port.ErrNotFound)
		}
		question = fmt.Sprintf("Group %q of topic %q with %s not finished would be gone for good.", group, topic, several(int(g.Lag+g.Loaned+g.Delayed), "message"))
	}
	if err := confirm(cmd, yes, question); err != nil {
		return err
	}
	if err := b.Drop(cmd.Context(), topic, group); err != nil {
		return err
	}
	if s.json {
		return s.value(struct {
			Topic string `json:"topic"`
			Group string `json:"group,omitempty"`
		}{topic, group})
	}
	return s.line("dropped")
}

func groupNamed(info *port.TopicInfo, name string) (port.GroupInfo, bool) {
	for _, g := range info.Groups {
		if g.Name == name {
			return g, true
		}
	}
	return port.GroupInfo{}, false
}
