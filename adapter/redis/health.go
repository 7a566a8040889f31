package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/musterhq/muster/port"
)

// maxBody is the largest body, payload or value. Larger ones hold up everybody else on the server.
const maxBody = 8 << 20

// server is what the server says of itself.
type server struct {
	info        map[string]string
	appendfsync string // "" when the server does not tell
}

func (s server) number(field string) int64 {
	n, err := strconv.ParseInt(s.info[field], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// now is the server's time, or this machine's where it does not tell.
func (s server) now() time.Time {
	if us := s.number("server_time_usec"); us > 0 {
		return time.UnixMicro(us)
	}
	return time.Now()
}

// version is major * 100 + minor. Valkey says which version of Redis it is like.
func (s server) version() int {
	major, rest, _ := strings.Cut(s.info["redis_version"], ".")
	minor, _, _ := strings.Cut(rest, ".")
	a, errA := strconv.Atoi(major)
	b, errB := strconv.Atoi(minor)
	if errA != nil || errB != nil {
		return 0
	}
	return a*100 + b
}

// safe reports whether no acknowledged write is lost when the server is killed, and why not.
func (s server) safe() (bool, string) {
	switch {
	case s.info["aof_enabled"] != "1":
		return false, "The append-only file is off, so what was acknowledged since the last snapshot is lost when the server ends: set appendonly yes and appendfsync always."
	case s.appendfsync == "":
		return false, "The server does not tell appendfsync (CONFIG GET is not allowed), so the promise is that of appendfsync no."
	case s.appendfsync != "always":
		return false, fmt.Sprintf("The append-only file is written with appendfsync %s, so up to 2 s of what was acknowledged may be lost when the server is killed: set appendfsync always.", s.appendfsync)
	default:
		return true, ""
	}
}

func (s server) evicts() bool {
	policy := s.info["maxmemory_policy"]
	return policy != "" && policy != "noeviction" && !strings.HasPrefix(policy, "volatile-")
}

// dangers are whole sentences about what endangers a promise.
func (s server) dangers() []string {
	var out []string
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	if ok, why := s.safe(); !ok {
		say("%s", why)
	}
	policy := s.info["maxmemory_policy"]
	switch {
	case s.evicts():
		say("The server may evict any key when its memory is full (maxmemory-policy %s), messages among them: set maxmemory-policy noeviction.", policy)
	case strings.HasPrefix(policy, "volatile-"):
		say("The server may evict keys with a time to live when its memory is full (maxmemory-policy %s), and with them what is known of message IDs: set maxmemory-policy noeviction.", policy)
	}
	if most, used := s.number("maxmemory"), s.number("used_memory"); most > 0 && used > most/10*9 {
		say("The server uses %d of %d bytes of its memory and refuses writes when it is full: raise maxmemory or take off what fills it.", used, most)
	}
	if status := s.info["aof_last_write_status"]; s.info["aof_enabled"] == "1" && status != "" && status != "ok" {
		say("The server could not write its append-only file (%s): look at its disk and log.", status)
	}
	if status := s.info["rdb_last_bgsave_status"]; status != "" && status != "ok" {
		say("The server could not save its last snapshot (%s): look at its disk and log.", status)
	}
	if role := s.info["role"]; role != "" && role != "master" {
		say("The server is a %s and refuses writes: connect to the master.", role)
	}
	if s.number("connected_slaves") > 0 {
		say("The server has replicas: a fail-over to one of them may lose what it had acknowledged, locks included.")
	}
	return out
}

// look asks the server what it is.
func (b *Backend) look(ctx context.Context) (s server, trip time.Duration, err error) {
	if err := b.alive(ctx, "health"); err != nil {
		return s, 0, err
	}
	start := time.Now()
	text, err := b.client.Do(ctx, b.client.B().Info().Build()).ToString()
	trip = time.Since(start)
	if err != nil {
		return s, trip, b.fail(ctx, "health", err, false)
	}
	s.info = map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			s.info[name] = value
		}
	}
	config, err := b.client.Do(ctx, b.client.B().ConfigGet().Parameter("appendfsync").Build()).AsStrMap()
	if _, answered := rueidis.IsRedisErr(err); err != nil && !answered {
		return s, trip, b.fail(ctx, "health", err, false)
	}
	s.appendfsync = config["appendfsync"]
	return s, trip, nil
}

// ask makes the Caps of this backend, or refuses the server.
func (b *Backend) ask(ctx context.Context) error {
	s, _, err := b.look(ctx)
	if err != nil {
		return err
	}
	no := func(why string) error { return fmt.Errorf("redis: open %s: %s: %w", b.where, why, port.ErrUnsupported) }
	switch {
	case s.version() < 602:
		return no(fmt.Sprintf("the server is version %q, at least 6.2 is needed", s.info["redis_version"]))
	case s.info["cluster_enabled"] == "1":
		return no("the server is part of a cluster, which this adapter does not support: give a server on its own")
	}
	if s.info["role"] == "master" {
		if err := b.probe(ctx); err != nil {
			return err
		}
	}
	b.newer = s.version() >= 700
	safe, _ := s.safe()
	durable := port.DurableNone
	if safe && !s.evicts() {
		durable = port.DurableProcess
	}
	b.caps = port.Caps{
		Name:            "redis",
		Atomic:          port.AtomicFamily,
		Durable:         durable,
		LinearReads:     s.info["role"] == "master",
		MinTTL:          time.Millisecond,
		Fenced:          true,
		Exclusion:       durable >= port.DurableProcess,
		TokenOrder:      true,
		DelayResolution: 50 * time.Millisecond,
		MinLoan:         10 * time.Millisecond,
		MaxBody:         maxBody,
		LiveSignals:     true,
		GapDetection:    true,
	}
	return nil
}

// probe answers an error when the server's access list forbids this user a command, or the keys and channels of the namespace.
func (b *Backend) probe(ctx context.Context) error {
	m, err := b.run(ctx, "open", b.scripts.probe, []string{b.space.probe()}, []string{b.space.wake("probe")})
	if err != nil {
		return err
	}
	forbidden, err := m.AsStrSlice()
	if err != nil {
		return b.fail(ctx, "open", err, false)
	}
	if len(forbidden) > 0 {
		return fmt.Errorf("redis: open %s: the server's access list forbids this user %s on keys or channels that begin with %q: docs/redis.md names what is needed: %w",
			b.where, strings.Join(forbidden, ", "), b.space.prefix, port.ErrUnavailable)
	}
	return nil
}

// unservedFor is how long a topic must have been kept whole by a group without consumers before Health tells.
const unservedFor = time.Minute

// unserved are sentences about topics that are over their limits because of a group that nobody serves.
func (b *Backend) unserved(ctx context.Context, now time.Time) ([]string, error) {
	topics, err := b.client.Do(ctx, b.client.B().Smembers().Key(b.space.held()).Build()).AsStrSlice()
	if err != nil {
		return nil, b.fail(ctx, "health", err, false)
	}
	slices.Sort(topics)
	var out []string
	for part := range slices.Chunk(topics, 500) {
		ask := make([]rueidis.Completed, len(part))
		for i, topic := range part {
			ask[i] = b.client.B().Hmget().Key(b.space.topicHash(topic)).Field("held", "since").Build()
		}
		for i, r := range b.client.DoMulti(ctx, ask...) {
			list, err := r.ToMessage()
			if err != nil {
				return nil, b.fail(ctx, "health", err, false)
			}
			f := reply{list: list}
			group, since := f.next(), f.next()
			if f.err != nil || group.IsNil() || since.IsNil() {
				continue // the topic was dropped
			}
			name, err := group.ToString()
			ms, e := since.AsInt64()
			if err := errors.Join(err, e); err != nil {
				return nil, b.fail(ctx, "health", err, false)
			}
			if name != "" && now.Sub(time.UnixMilli(ms)) >= unservedFor {
				out = append(out, fmt.Sprintf("Topic %s is over its limits because of group %s, which has not finished its oldest messages while nobody has any of them on loan: serve the group, or give it up with Drop.", part[i], name))
			}
		}
	}
	return out, nil
}

// Health reads INFO, the one setting that it does not tell, and which topics the janitors found to be kept whole by a group that
// nobody serves.
func (b *Backend) Health(ctx context.Context) port.Health {
	s, trip, err := b.look(ctx)
	if err != nil {
		return port.Health{State: port.Unavailable, RoundTrip: trip, Details: []string{fmt.Sprintf("The server does not answer: %v.", err)}}
	}
	h := port.Health{State: port.Healthy, RoundTrip: trip, Details: s.dangers()}
	unserved, err := b.unserved(ctx, s.now())
	if err != nil {
		unserved = []string{fmt.Sprintf("Whether a group keeps a topic over its limits is not known: %v.", err)}
	}
	h.Details = slices.Concat(h.Details, unserved, b.janitor.troubles())
	if len(h.Details) > 0 {
		h.State = port.Degraded
	}
	return h
}
