package nats

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/musterhq/muster/port"
)

// Versions of the server that have atomic batches, and what is refused below.
const (
	leastMajor = 2
	leastMinor = 12
)

// leastPayload is how large a message must be allowed to be: the record of a group has room in it.
const leastPayload = 512 << 10

// openSpace looks at the server, and finds or makes the stream.
func (b *Backend) openSpace(ctx context.Context) error {
	no := func(format string, args ...any) error {
		return fmt.Errorf("nats: open %s: %s: %w", b.where, fmt.Sprintf(format, args...), port.ErrUnsupported)
	}
	version := b.conn.ConnectedServerVersion()
	if !newEnough(version) {
		return no("the server is version %q, at least %d.%d is needed for steps that are whole", version, leastMajor, leastMinor)
	}
	b.cluster = b.conn.ConnectedClusterName()
	if n := b.conn.MaxPayload(); n < leastPayload {
		return no("the server takes messages of %d bytes at most, %d are needed: raise max_payload", n, leastPayload)
	}
	info, err := b.findStream(ctx)
	e, refused := errors.AsType[*apiError](err)
	switch {
	case errors.Is(err, errNoStream):
		return no("JetStream is not enabled for this account: start the server with it")
	case refused && (e.ErrCode == codeNoPeers || e.ErrCode == codeNoReplicas):
		return no("there are no %d servers to keep the namespace on (%s): add servers with JetStream, or open with fewer Replicas", b.copies, e.Description)
	case err != nil:
		return b.fail(ctx, "open: the stream "+b.space.stream, err, false)
	}
	c := &info.Config
	switch {
	case !c.Direct || !c.Atomic || !c.TTL || !c.Rollup:
		return no("the stream %s lacks one of direct gets, atomic publishing, message TTLs and rollups, which this adapter makes it with", b.space.stream)
	case !slices.Contains(c.Subjects, b.space.all()):
		return no("the stream %s does not hold %s", b.space.stream, b.space.all())
	case c.Replicas < b.copies:
		return no("the stream %s has %d replicas, and %d are wanted: scale it by `nats stream edit`, or open with fewer Replicas", b.space.stream, c.Replicas, b.copies)
	}
	b.copies = c.Replicas
	b.caps = b.capsOf(c.Storage)
	return b.known(ctx)
}

// findStream returns when the stream is there, and makes it where there is none. What a cluster refuses because it is about to agree on
// a leader, or has not heard of all its servers yet, is asked again.
func (b *Backend) findStream(ctx context.Context) (*streamInfo, error) {
	if b.copies = b.conf.Replicas; b.copies == 0 {
		b.copies = 1
		if b.cluster != "" {
			b.copies = 3
		}
	}
	for start := time.Now(); ; {
		info, err := b.tellTime(ctx)
		if e, ok := errors.AsType[*apiError](err); ok && e.ErrCode == codeStreamNotFound {
			if err = b.makeStream(ctx); err == nil {
				info, err = b.tellTime(ctx)
			}
		}
		if err == nil && b.cluster != "" && info.Cluster.Leader == "" {
			err = errNoLeader
		}
		e, refused := errors.AsType[*apiError](err)
		again := passing(err) || errors.Is(err, errNoLeader) || refused && (e.ErrCode == codeNoPeers || e.ErrCode == codeStreamNotFound)
		if !again || b.cluster == "" || time.Since(start) > b.conf.timeout() {
			return info, err
		}
		if err := b.rest(ctx, 20*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

// known returns when direct gets reach the stream, which is told of before it serves them.
func (b *Backend) known(ctx context.Context) error {
	end := time.Now().Add(b.conf.timeout())
	for {
		_, err := b.cells(ctx, []string{b.space.topic("none")})
		if !passing(err) || time.Now().After(end) {
			return b.fail(ctx, "open", err, false)
		}
		if err := b.rest(ctx, 20*time.Millisecond); err != nil {
			return fmt.Errorf("nats: open: %w", err)
		}
	}
}

func newEnough(version string) bool {
	parts := strings.SplitN(version, ".", 3)
	if len(parts) < 2 {
		return false
	}
	major, err1 := strconv.Atoi(parts[0])
	minor, err2 := strconv.Atoi(parts[1])
	return err1 == nil && err2 == nil && (major > leastMajor || major == leastMajor && minor >= leastMinor)
}

func (b *Backend) makeStream(ctx context.Context) error {
	most := int64(-1)
	if b.conf.MaxBytes > 0 {
		most = b.conf.MaxBytes + reserve(b.conf.MaxBytes)
	}
	err := b.api(ctx, "STREAM.CREATE."+b.space.stream, map[string]any{
		"name":                 b.space.stream,
		"description":          "Muster's namespace " + b.conf.namespace(),
		"subjects":             []string{b.space.all()},
		"retention":            "limits",
		"storage":              "file",
		"num_replicas":         b.copies,
		"discard":              "new", // a full store refuses; it forgets nothing
		"max_consumers":        -1,
		"max_msgs":             -1,
		"max_bytes":            most,
		"max_msgs_per_subject": -1,
		"max_msg_size":         -1,
		"max_age":              0,
		"duplicate_window":     100 * time.Millisecond,
		"allow_direct":         true,
		"allow_rollup_hdrs":    true,
		"allow_atomic":         true,
		"allow_msg_ttl":        true,
	}, nil)
	if e, ok := errors.AsType[*apiError](err); ok && e.ErrCode == codeStreamExists {
		return nil // somebody else made it meanwhile, with other limits
	}
	return err
}

// reserve is what a full namespace keeps for settlements: without it nothing of it could be finished, and it would stay full.
func reserve(most int64) int64 { return max(most/10, leastReserve) }

const leastReserve = 16 << 20

// limit is the MaxBytes that a stream of that size was made for, or 0.
func limit(size int64) int64 {
	if size <= 0 {
		return 0
	}
	if most := size - leastReserve; most < 10*leastReserve {
		return max(most, 1)
	}
	return size / 11 * 10
}

// overhead is what a message has beside its body: its subject, headers, ID and key.
const overhead = 8 << 10

func (b *Backend) capsOf(storage string) port.Caps {
	durable := port.DurableProcess
	switch {
	case storage != "file":
		durable = port.DurableNone
	case b.host.synced():
		durable = port.DurableMachine
	}
	return port.Caps{
		Name:            "nats",
		Atomic:          port.AtomicAll,
		Durable:         durable,
		LinearReads:     true,
		MinTTL:          time.Millisecond,
		Fenced:          true,
		Exclusion:       durable >= port.DurableProcess,
		TokenOrder:      true,
		DelayResolution: poll,
		MinLoan:         10 * time.Millisecond,
		MaxBody:         int(b.conn.MaxPayload()) - overhead,
		LiveSignals:     true,
		GapDetection:    true,
	}
}
