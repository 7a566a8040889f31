package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/musterhq/muster/cache"
	"github.com/musterhq/muster/envelope"
	"github.com/musterhq/muster/port"
)

func cacheCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cache",
		Short: "Look at a cache of the fleet, and make what it holds invalid",
		Args:  exactly(0, "one of status, get, invalidate, clear"),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(cacheStatus(), cacheGet(), cacheInvalidate(), cacheClear())
	return cmd
}

// completeCache offers the caches that there are.
func (f *backendFlags) completeCache(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return f.names(cmd, cache.LogTopic("*"), func(info port.TopicInfo) []string {
		return []string{strings.TrimSuffix(info.Topic.Name, cache.LogTopic(""))}
	})
}

// withCache opens a cache that is there, as a node that only asks. How long its log is kept tells Keep; what this node writes
// is remembered for ever otherwise, for only the nodes know how long their values live.
func (f *backendFlags) withCache(cmd *cobra.Command, name string, do func(ctx context.Context, b port.Backend, s *screen, c *cache.Cache[[]byte]) error) error {
	if err := port.CheckName("cache", name); err != nil {
		return usage(cmd, err)
	}
	return f.with(cmd, func(ctx context.Context, b port.Backend, s *screen) error {
		info, found, err := inspectOne(ctx, b, cache.LogTopic(name))
		if err != nil {
			return err
		}
		if !found {
			return fmt.Errorf("cache %q: %w: no node has changed or followed it; muster topics '%s' lists the logs that there are", name, port.ErrNotFound, cache.LogTopic("*"))
		}
		return do(ctx, b, s, cache.New(b, name, cache.Config[[]byte]{TTL: -1, Keep: info.Topic.MaxAge, Codec: envelope.Bytes{}}))
	})
}

// cacheLine is a cache as it is printed.
type cacheLine struct {
	Cache   string          `json:"cache"`
	Leader  string          `json:"leader,omitempty"`
	History int64           `json:"history"`
	Nodes   []cacheNodeLine `json:"nodes"`
}

// cacheNodeLine is a node that follows a cache, as it told of itself.
type cacheNodeLine struct {
	Node      string     `json:"node"`
	Token     uint64     `json:"token"`
	Offset    string     `json:"offset,omitempty"`
	Heard     *time.Time `json:"heard,omitempty"`
	Staleness float64    `json:"stalenessSeconds"`
	Told      float64    `json:"toldSeconds"`
}

func cacheStatus() *cobra.Command {
	var f backendFlags
	var watch bool
	cmd := &cobra.Command{
		Use:   "status NAME",
		Short: "List the nodes that follow a cache, or watch what becomes invalid",
		Long: `Lists the nodes that follow a cache, the one that has followed longest first: when each last heard the log to its end (by its own clock),
the largest staleness that its audit has seen, and how long ago it told so. With --watch it prints each change from now on: when, what,
by which node, and the keys, the tags or the pattern.`,
		Example:           "  muster cache status users --watch",
		Args:              exactly(1, "one cache"),
		ValidArgsFunction: f.completeCache,
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.withCache(cmd, args[0], func(ctx context.Context, b port.Backend, s *screen, c *cache.Cache[[]byte]) error {
				if watch {
					return follow(cmd, s, cacheOps(ctx, b, args[0]), func(o cacheOpLine) error { return o.show(s) })
				}
				return showCache(ctx, s, args[0], c)
			})
		},
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&watch, "watch", false, "print each change, until an interrupt")
	return cmd
}

func showCache(ctx context.Context, s *screen, name string, c *cache.Cache[[]byte]) error {
	status, err := c.Status(ctx)
	if err != nil {
		return err
	}
	l := cacheLine{Cache: name, Leader: status.Leader, History: status.History, Nodes: []cacheNodeLine{}}
	var rows [][]string
	for _, m := range status.Members {
		l.Nodes = append(l.Nodes, cacheNodeLine{
			Node: m.Node, Token: m.Token, Offset: string(m.Offset), Heard: orNil(m.Heard), Staleness: m.Staleness.Seconds(), Told: m.Told.Seconds(),
		})
		rows = append(rows, []string{m.Node, fmt.Sprint(m.Token), since(m.Heard), m.Staleness.Round(time.Millisecond).String(), m.Told.Round(time.Second).String()})
	}
	if s.json {
		return s.value(l)
	}
	if err := s.facts([][2]string{{"cache", name}, {"leader", l.Leader}, {"history", itoa(l.History) + " entries"}}); err != nil || len(rows) == 0 {
		return err
	}
	return s.table([]string{"NODE", "TOKEN", "HEARD", "STALENESS", "TOLD"}, rows)
}

// cacheOpLine is an entry of a cache's log as it is printed.
type cacheOpLine struct {
	At          time.Time `json:"at"`
	Op          string    `json:"op"`
	Node        string    `json:"node"`
	Names       []string  `json:"names,omitempty"`
	NamesBase64 [][]byte  `json:"namesBase64,omitempty"`
}

func cacheOpOf(entry port.Stored) (cacheOpLine, error) {
	op, err := cache.ParseOp(entry.Message.Body)
	if err != nil {
		return cacheOpLine{}, fmt.Errorf("entry %q: %w", entry.Offset, err)
	}
	l := cacheOpLine{At: entry.At.UTC(), Op: string(op.Kind), Node: op.Version.Node, Names: op.Names}
	for _, name := range op.Names {
		if !utf8.ValidString(name) {
			l.Names = nil
		}
	}
	if l.Names == nil {
		for _, name := range op.Names {
			l.NamesBase64 = append(l.NamesBase64, []byte(name))
		}
	}
	return l, nil
}

func (l cacheOpLine) show(s *screen) error {
	if s.json {
		return s.value(l)
	}
	cells := append([]string{stamp(l.At), l.Op, l.Node}, l.Names...)
	for _, name := range l.NamesBase64 {
		cells = append(cells, string(name))
	}
	return s.line(cells...)
}

// cacheOps are the entries of a cache's log from now on, without the ticks of nodes that measure how far they are. An error is waited out.
func cacheOps(ctx context.Context, q port.Queue, name string) iter.Seq2[cacheOpLine, error] {
	return func(yield func(cacheOpLine, error) bool) {
		after := port.Latest
		for ctx.Err() == nil {
			list, err := q.Read(ctx, port.Range{Topic: cache.LogTopic(name), After: after, Max: 500, Wait: time.Minute})
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				if !yield(cacheOpLine{}, err) {
					return
				}
				if errors.Is(err, port.ErrGap) {
					after = port.Latest
				}
				select {
				case <-time.After(time.Second):
				case <-ctx.Done():
				}
			}
			for _, entry := range list {
				after = entry.Offset
				l, err := cacheOpOf(entry)
				if err == nil && l.Op == string(cache.OpTick) {
					continue
				}
				if !yield(l, err) {
					return
				}
			}
		}
	}
}

func cacheGet() *cobra.Command {
	var f backendFlags
	cmd := &cobra.Command{
		Use:   "get NAME KEY",
		Short: "Print the value that a cache has in the store, byte for byte",
		Long: `Prints the value that a cache has in the store for a key, as the nodes encode it, which is JSON unless they say otherwise. A value that
has run out, was deleted, or was made invalid by a pattern, a tag or clear is not found (status 3).`,
		Args:              exactly(2, "a cache and a key"),
		ValidArgsFunction: f.completeCache,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkKeys(cmd, args[1:]); err != nil {
				return err
			}
			return f.withCache(cmd, args[0], func(ctx context.Context, _ port.Backend, s *screen, c *cache.Cache[[]byte]) error {
				value, err := c.Get(ctx, args[1])
				if err != nil {
					return err
				}
				if !s.json {
					return s.raw(value)
				}
				l := keyOf(args[1])
				l.Value, l.ValueBase64 = textOr(value)
				return s.value(l)
			})
		},
	}
	f.add(cmd)
	return cmd
}

// invalidated is how much was made invalid.
type invalidated struct {
	Keys     int `json:"keys"`
	Patterns int `json:"patterns"`
	Tags     int `json:"tags"`
}

func cacheInvalidate() *cobra.Command {
	var f backendFlags
	var patterns, tags []string
	cmd := &cobra.Command{
		Use:   "invalidate NAME [KEY...]",
		Short: "Make keys, what matches patterns, or what carries tags invalid on every node",
		Long: `Makes keys, what matches patterns, or what carries one of some tags invalid, in the store and on every node: each node within its
bound, and at once if it hears. Loads that are under way lose against it. What is not there is no error.`,
		Example: "  muster cache invalidate users 42 43\n  muster cache invalidate users --pattern 'team:7:*' --tag red",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage(cmd, errors.New("0 arguments, wanted is a cache, and keys, --pattern or --tag"))
			}
			return checkKeys(cmd, args[1:])
		},
		ValidArgsFunction: f.completeCache,
		RunE: func(cmd *cobra.Command, args []string) error {
			keys := args[1:]
			if len(keys)+len(patterns)+len(tags) == 0 {
				return usage(cmd, errors.New("nothing is named; give keys, --pattern or --tag, or see muster cache clear"))
			}
			for _, p := range patterns {
				if err := port.CheckPattern(p); err != nil {
					return usage(cmd, err)
				}
			}
			return f.withCache(cmd, args[0], func(ctx context.Context, _ port.Backend, s *screen, c *cache.Cache[[]byte]) error {
				if err := c.Delete(ctx, keys...); err != nil {
					return err
				}
				for _, p := range patterns {
					if err := c.InvalidatePattern(ctx, p); err != nil {
						return err
					}
				}
				if err := c.InvalidateTag(ctx, tags...); err != nil {
					return err
				}
				done := invalidated{len(keys), len(patterns), len(tags)}
				if s.json {
					return s.value(done)
				}
				return s.line("invalid:", several(done.Keys, "key")+",", several(done.Patterns, "pattern")+",", several(done.Tags, "tag"))
			})
		},
	}
	f.add(cmd)
	cmd.Flags().StringArrayVar(&patterns, "pattern", nil, "a pattern of keys, as of muster kv keys; may be given several times")
	cmd.Flags().StringArrayVar(&tags, "tag", nil, "a tag; may be given several times")
	return cmd
}

func cacheClear() *cobra.Command {
	var f backendFlags
	var yes, sweep bool
	cmd := &cobra.Command{
		Use:   "clear NAME",
		Short: "Make everything in a cache invalid, on every node",
		Long: `Makes every value of a cache invalid, in the store and on every node, in one step. Values go from the store when their time to
live ends; with --sweep they are removed now, in portions.`,
		Args:              exactly(1, "one cache"),
		ValidArgsFunction: f.completeCache,
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.withCache(cmd, args[0], func(ctx context.Context, _ port.Backend, s *screen, c *cache.Cache[[]byte]) error {
				if err := confirm(cmd, yes, fmt.Sprintf("Every value of cache %q would be invalid.", args[0])); err != nil {
					return err
				}
				if err := c.Clear(ctx); err != nil {
					return err
				}
				n := 0
				if sweep {
					var err error
					if n, err = c.Sweep(ctx); err != nil {
						return fmt.Errorf("everything is invalid, but not removed: %w", err)
					}
				}
				if s.json {
					return s.value(map[string]int{"swept": n})
				}
				return s.line("cleared,", several(n, "value"), "swept")
			})
		},
	}
	f.add(cmd)
	yesFlag(cmd, &yes)
	cmd.Flags().BoolVar(&sweep, "sweep", false, "remove the values from the store, too")
	return cmd
}
