package cache

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/musterhq/muster/port"
)

// memberLife is how long a node is a member after it was last heard of.
const memberLife = 15 * time.Second

// Member is a node that follows the cache, as it told of itself.
type Member struct {
	Node      string
	Token     uint64        // grows from one incarnation of a node to the next; the leader is the member with the smallest
	Offset    port.Offset   // up to where it has applied the log
	Heard     time.Time     // when it last heard the log to its end, by its own clock; zero: not yet
	Staleness time.Duration // the largest that its audit has seen
	Told      time.Duration // how long ago it told this
}

// report is what a member's lease carries.
type report struct {
	Offset    port.Offset `json:"offset"`
	Heard     time.Time   `json:"heard,omitzero"`
	Staleness int64       `json:"stalenessNs"`
}

func memberPrefix(cache string) string { return cache + ".member." }

// keepMember tells the fleet of this node until ctx ends. That it cannot is no reason to be deaf: Status shows it.
func (c *Cache[T]) keepMember(ctx context.Context) {
	life := max(memberLife, c.b.Caps().MinTTL)
	want := port.Lease{Name: memberPrefix(c.node.cache) + c.node.id, Owner: c.node.id, Nonce: c.node.nonce}
	for {
		held, err := c.tell(ctx, want, life)
		if err == nil {
			want.Seen = held.Token - 1
		} else if ctx.Err() == nil {
			c.follow.note(fmt.Errorf("membership: %w", err))
		}
		if pause(ctx, life/5) != nil {
			break
		}
	}
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), c.conf.Bound)
	defer stop()
	if err := c.b.Release(ctx, want)[0]; err != nil && !errors.Is(err, port.ErrLost) {
		c.follow.note(fmt.Errorf("membership runs out within %v: %w", life, err))
	}
}

func (c *Cache[T]) tell(ctx context.Context, want port.Lease, life time.Duration) (port.Lease, error) {
	ctx, stop := context.WithTimeout(ctx, c.follow.patience(0))
	defer stop()
	r := report{Offset: c.follow.at(), Staleness: c.audit.worst.Load()}
	if last := c.follow.last.Load(); last != nil {
		r.Heard = time.Unix(0, last.wall)
	}
	var err error
	if want.Data, err = json.Marshal(r); err != nil {
		return port.Lease{}, err
	}
	return c.b.Acquire(ctx, want, life)
}

// members are the nodes that follow the cache, the leader first.
func (c *Cache[T]) members(ctx context.Context) ([]Member, error) {
	held, err := c.b.Holders(ctx, memberPrefix(c.node.cache))
	if err != nil {
		return nil, fmt.Errorf("cache %s: members: %w", c.node.name, err)
	}
	life := max(memberLife, c.b.Caps().MinTTL)
	var list []Member
	for _, l := range held {
		m := Member{Node: strings.TrimPrefix(l.Name, memberPrefix(c.node.cache)), Token: l.Token, Told: max(life-l.TTL, 0)}
		var r report
		if err := json.Unmarshal(l.Data, &r); err != nil {
			return nil, fmt.Errorf("cache %s: lease %q is none of a member: %w: %w", c.node.name, l.Name, err, port.ErrInvalid)
		}
		m.Offset, m.Heard, m.Staleness = r.Offset, r.Heard, time.Duration(r.Staleness)
		list = append(list, m)
	}
	slices.SortFunc(list, func(a, b Member) int { return cmp.Or(cmp.Compare(a.Token, b.Token), cmp.Compare(a.Node, b.Node)) })
	return list, nil
}
