package redis

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/musterhq/muster/port"
)

// node is one server of what this backend works on, by its address: one, or with a cluster each of its members.
type node struct {
	addr   string
	client rueidis.Client
}

func (b *Backend) clustered() bool { return b.client.Mode() == rueidis.ClientModeCluster }

// failsOver reports whether another server may take the place of one, with what it knows by then.
func (b *Backend) failsOver() bool { return b.client.Mode() != rueidis.ClientModeStandalone }

// nodes are the members of a cluster, by address; otherwise the one server there is.
func (b *Backend) nodes() []node {
	if !b.clustered() {
		return []node{{b.where, b.client}}
	}
	var all []node
	for addr, c := range b.client.Nodes() {
		all = append(all, node{addr, c})
	}
	slices.SortFunc(all, func(x, y node) int { return cmp.Compare(x.addr, y.addr) })
	return all
}

// masters are the nodes that have keys, and how the slots of a cluster lie among them. The layout of what is no cluster is "".
func (b *Backend) masters(ctx context.Context, what string) (masters []node, layout string, err error) {
	if !b.clustered() {
		return b.nodes(), "", nil
	}
	var lines []string
	for _, n := range b.nodes() {
		text, err := n.client.Do(ctx, n.client.B().ClusterNodes().Build()).ToString()
		if err != nil {
			continue // whether it is missed shows when the slots are counted
		}
		if slots, ok := served(text); ok {
			masters = append(masters, n)
			lines = append(lines, n.addr+" "+slots)
		}
	}
	if len(masters) == 0 {
		if err := b.alive(ctx, what); err != nil { // closed while they were asked
			return nil, "", err
		}
		return nil, "", fmt.Errorf("redis: %s: %s: no master of the cluster answers: %w", what, b.where, port.ErrUnavailable)
	}
	return masters, strings.Join(lines, "\n"), nil
}

// served are the slots that a node serves by its own words, with those that are on the move in brackets; false for a node without any.
// In CLUSTER NODES they follow the eight fields of the line that has "myself" among its flags.
func served(text string) (slots string, ok bool) {
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) > 8 && slices.Contains(strings.Split(f[2], ","), "myself") {
			return strings.Join(f[8:], " "), strings.Contains(f[2], "master")
		}
	}
	return "", false
}

// whole reports whether the slots of a layout are all there are.
func whole(layout string) bool {
	var count int
	for f := range strings.FieldsSeq(layout) {
		var from, to int
		if strings.HasPrefix(f, "[") || strings.Contains(f, ":") {
			continue
		}
		if n, _ := fmt.Sscanf(f, "%d-%d", &from, &to); n == 2 {
			count += to - from + 1
		} else if n == 1 {
			count++
		}
	}
	return count == 16384
}

// rounds of a scan at most, where the slots of a cluster keep moving.
const scanRounds = 10

// scan gives portions of the keys that match a pattern of the server to some, until it answers false. A key may be given more than once.
//
// In a cluster a key may move from a node that is still to be scanned to one that was, and be missed. So it is gone round again when the
// slots lay otherwise at the end than at the start, and once more where some are on the move all the time: a key moves once.
func (b *Backend) scan(ctx context.Context, what, glob string, some func([]string) (bool, error)) error {
	masters, layout, err := b.masters(ctx, what)
	if err != nil {
		return err
	}
	for rounds, same := 0, 0; rounds < scanRounds; rounds++ {
		for _, n := range masters {
			if more, err := b.scanNode(ctx, what, n, glob, some); !more || err != nil {
				return err
			}
		}
		before := layout
		if masters, layout, err = b.masters(ctx, what); err != nil {
			return err
		}
		if same++; layout != before {
			same = 0
		}
		if same > 0 && (layout == "" || whole(layout) && (same > 1 || !strings.Contains(layout, "["))) {
			return nil
		}
	}
	return fmt.Errorf("redis: %s: %s: slots of the cluster are not served, or move faster than its keys can be listed: %w", what, b.where, port.ErrUnavailable)
}

func (b *Backend) scanNode(ctx context.Context, what string, n node, glob string, some func([]string) (bool, error)) (more bool, err error) {
	for cursor := uint64(0); ; {
		if err := b.alive(ctx, what); err != nil {
			return false, err
		}
		e, err := n.client.Do(ctx, n.client.B().Scan().Cursor(cursor).Match(glob).Count(portion).Build()).AsScanEntry()
		if err != nil {
			return false, b.fail(ctx, what, err, false)
		}
		if more, err := some(e.Elements); !more || err != nil {
			return false, err
		}
		if cursor = e.Cursor; cursor == 0 {
			return true, nil
		}
	}
}

// look asks what there is of servers, the masters first. Silent are sentences about nodes that do not answer.
func (b *Backend) look(ctx context.Context) (servers []server, silent []string, trip time.Duration, err error) {
	if err := b.alive(ctx, "health"); err != nil {
		return nil, nil, 0, err
	}
	start := time.Now()
	for _, n := range b.nodes() {
		s, e := b.lookAt(ctx, n)
		if len(servers) == 0 && len(silent) == 0 {
			trip = time.Since(start)
		}
		switch {
		case e == nil:
			servers = append(servers, s)
		case !b.clustered():
			return nil, nil, trip, e
		default:
			err = e
			silent = append(silent, fmt.Sprintf("The member %s of the cluster does not answer: %v.", n.addr, e))
		}
	}
	slices.SortStableFunc(servers, func(x, y server) int { return cmp.Compare(x.rank(), y.rank()) })
	switch {
	case len(servers) > 0:
		err = nil
	case err == nil:
		err = fmt.Errorf("redis: health: %s: the cluster names no server that has slots: %w", b.where, port.ErrUnavailable)
	}
	return servers, silent, trip, err
}

// rank puts masters first.
func (s server) rank() int {
	if s.info["role"] == "master" {
		return 0
	}
	return 1
}

// lookAt asks one server what it is.
func (b *Backend) lookAt(ctx context.Context, n node) (s server, err error) {
	text, err := n.client.Do(ctx, n.client.B().Info().Build()).ToString()
	if err != nil {
		return s, b.fail(ctx, "health", err, false)
	}
	s.info = pairs(text)
	config, err := n.client.Do(ctx, n.client.B().ConfigGet().Parameter("appendfsync", "cluster-node-timeout").Build()).AsStrMap()
	if answer, answered := rueidis.IsRedisErr(err); answered && !strings.Contains(answer.Error(), "NOPERM") {
		// Before 7.0 there is one parameter in a question.
		config, err = n.client.Do(ctx, n.client.B().ConfigGet().Parameter("appendfsync").Build()).AsStrMap()
	}
	if _, answered := rueidis.IsRedisErr(err); err != nil && !answered {
		return s, b.fail(ctx, "health", err, false)
	}
	s.appendfsync = config["appendfsync"]
	maps.Copy(s.info, config)
	if s.info["cluster_enabled"] == "1" {
		text, err := n.client.Do(ctx, n.client.B().ClusterInfo().Build()).ToString()
		if err != nil {
			return s, b.fail(ctx, "health", err, false)
		}
		maps.Copy(s.info, pairs(text))
	}
	return s, nil
}

// pairs reads lines of name:value.
func pairs(text string) map[string]string {
	m := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			m[name] = value
		}
	}
	return m
}

// gap is how long a server that was replaced may still answer those who have not heard of it.
func (b *Backend) gap(s server) time.Duration {
	switch b.client.Mode() {
	case rueidis.ClientModeCluster:
		// A master that is cut off from most others stops serving after the timeout, and writes for at least as long after it came back.
		ms := s.number("cluster-node-timeout")
		if ms <= 0 {
			ms = 15000 // the server's default
		}
		return 2 * time.Duration(ms) * time.Millisecond
	case rueidis.ClientModeSentinel:
		return time.Minute
	default:
		return 0
	}
}

// replicated waits until enough replicas have what was written on this key's server until now. It writes a mark there, and the
// stream of a server's writes is in order: a replica that has the mark has what came before.
func (b *Backend) replicated(ctx context.Context, what, family string) error {
	c, release := b.client.Dedicate()
	defer release()
	mark := b.space.prefix + "mark:" + tagged(family)
	answers := c.DoMulti(ctx,
		c.B().Set().Key(mark).Value(b.process).PxMilliseconds(time.Minute.Milliseconds()).Build(),
		c.B().Wait().Numreplicas(int64(b.replicas)).Timeout(b.patience.Milliseconds()).Build())
	if err := answers[0].Error(); err != nil {
		return b.fail(ctx, what, err, true)
	}
	n, err := answers[1].AsInt64()
	if err != nil {
		return b.fail(ctx, what, err, true)
	}
	if int(n) < b.replicas {
		return fmt.Errorf("redis: %s: %d of %d replicas (Config.Replicas) took it in %v: look at the replicas' links: %w", what, n, b.replicas, b.patience, port.ErrUnavailable)
	}
	return nil
}
