package nats

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/musterhq/muster/port"
)

// Fetch waits for hints, and looks by itself four times a second for those that were lost.
func (b *Backend) Fetch(ctx context.Context, g port.Group, limit int) ([]port.Delivery, error) {
	if err := port.CheckFetch(b.caps, g, limit); err != nil {
		return nil, fmt.Errorf("nats: fetch: %w", err)
	}
	for {
		if err := b.alive(ctx, "fetch"); err != nil {
			return nil, err
		}
		bell, err := b.bells.listen(ctx, b.space.hint(g.Topic))
		if err != nil {
			return nil, b.fail(ctx, "fetch", err, false)
		}
		list, wait, err := b.fetchOnce(ctx, g, min(limit, mostFetched))
		if err != nil || len(list) > 0 {
			return list, err
		}
		if wait <= 0 {
			continue
		}
		if err := b.wait(ctx, "fetch", bell, wait); err != nil {
			return nil, err
		}
	}
}

// mostFetched is how many messages one call hands out at most: their records fit into one write.
const mostFetched = 400

// fetchOnce hands out what is there, or tells how long nothing may come by itself.
func (b *Backend) fetchOnce(ctx context.Context, g port.Group, limit int) ([]port.Delivery, time.Duration, error) {
	f := &fetching{b: b, g: &g, limit: limit}
	o := &op{what: "fetch", weight: limit + 8, decide: f.decide}
	if err := b.groupLane(g.Topic, g.Name).do(ctx, o); err != nil {
		if o.state.Load() == taken && ctx.Err() != nil {
			b.handBack(f, o)
		}
		return nil, 0, err
	}
	if f.err != nil {
		return nil, 0, f.err
	}
	if f.promote {
		return nil, 0, b.promote(ctx, g.Topic)
	}
	b.counts.acked.Add(int64(f.acked))
	b.counts.fetched.Add(int64(len(f.list)))
	for i := range f.list {
		if f.list[i].Lost > 0 {
			b.counts.redelivered.Add(1)
		}
	}
	if len(f.list) > 0 || f.more {
		return f.list, 0, nil
	}
	return nil, min(poll, max(b.until(f.due), time.Millisecond)), nil
}

// patience is how long a Fetch whose ctx has ended waits for what was being handed out to it, to hand it back.
const patience = time.Second

// handBack releases what was lent to a caller that has stopped waiting for it: before its Fetch returns as a rule, and beside it, or
// while Close waits for it, where the server is slow.
func (b *Backend) handBack(f *fetching, o *op) {
	done := make(chan struct{})
	b.mu.Lock()
	b.handing[done] = true
	b.mu.Unlock()
	end := func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.handing, done)
		close(done)
	}
	if !b.begin(func() {
		defer end()
		select {
		case <-o.done:
			b.release(f, o)
		case <-b.ctx.Done():
		}
	}) {
		end()
	}
	t := time.NewTimer(patience)
	defer t.Stop()
	select {
	case <-done:
	case <-t.C:
	}
}

// release gives back what a round has lent. What cannot be given back comes back when its loan ends, as that of a consumer that died.
func (b *Backend) release(f *fetching, o *op) {
	if o.err != nil || f.err != nil || len(f.list) == 0 {
		return
	}
	list := make([]port.Settlement, len(f.list))
	for i := range f.list {
		list[i] = port.Settlement{Receipt: f.list[i].Receipt, Verdict: port.Release}
	}
	b.counts.fetched.Add(int64(len(list)))
	for errors.Is(errors.Join(b.Settle(b.ctx, *f.g, list...)...), port.ErrUncertain) && b.ctx.Err() == nil {
		continue // what was given back is stale by now
	}
}

// handedBack waits for what is being handed back, for as long as one answer may take.
func (b *Backend) handedBack() {
	b.mu.Lock()
	all := slices.Collect(maps.Keys(b.handing))
	b.mu.Unlock()
	t := time.NewTimer(b.conf.timeout())
	defer t.Stop()
	for _, done := range all {
		select {
		case <-done:
		case <-t.C:
			return
		}
	}
}

// fetching is one Fetch under way.
type fetching struct {
	b     *Backend
	g     *port.Group
	limit int

	list    []port.Delivery
	acked   int
	era     uint64
	due     int64 // when time alone brings something
	more    bool  // there was something that was not handed out: look again at once
	promote bool  // messages of the topic have become due
	err     error
}

// picked is an item that is about to be lent, with its message.
type picked struct {
	item
	entry   *entry
	at      time.Time // of its entry
	index   int       // among the loans, or from -1 down among what waits
	removed bool
}

func (f *fetching) decide(t *tx) error {
	f.list, f.acked, f.due, f.more, f.promote, f.err = nil, 0, never, false, false, nil
	space := &f.b.space
	topic := f.g.Topic
	t.want(space.topic(topic), space.delayed(topic), space.removed(topic))
	s, err := t.member(f.g)
	if errors.Is(err, errNoGroup) {
		f.err = groupLost("fetch", f.g)
		return nil
	}
	if err != nil {
		return err
	}
	s.tidy()
	now := f.b.sinceEarly()
	q, err := t.later(topic)
	if err != nil {
		return err
	}
	if f.promote = q.due() <= now; f.promote {
		return nil
	}
	ts, err := t.topic(topic)
	if err != nil {
		return err
	}
	f.era = ts.Era
	x, err := t.gone(topic)
	if err != nil {
		return err
	}
	opened, err := t.openPages(topic, f.g.Name, &s.agenda, now, f.limit)
	if err != nil {
		return err
	}
	if opened {
		t.touchGroup(topic, f.g.Name, s)
	}
	fresh, cursor, ord, err := f.fresh(t, s, x)
	if err != nil {
		return err
	}
	room := f.limit
	if len(fresh) > 0 && room > 1 {
		room-- // what comes again does not keep out what is new
	}
	again := f.again(s, now)
	if f.limit == 1 && len(fresh) > 0 && len(again) > 0 && s.next%2 == 0 {
		again = nil
	}
	again = again[:min(len(again), room)]
	take, dropped, err := f.bodies(t, s, x, again)
	if err != nil {
		return err
	}
	fresh = fresh[:min(len(fresh), f.limit-len(take))]
	known, err := f.remembered(t, s, take, fresh)
	if err != nil {
		return err
	}
	take, fresh, full := f.fitting(s, take, fresh)
	if full && len(take)+len(fresh) == 0 {
		f.err = groupFull(f.g, len(s.loaned))
		return nil
	}
	f.lend(t, s, take, dropped, fresh, cursor, ord, known)
	if len(f.list) == 0 && !f.more && !t.renew(space.group(topic, f.g.Name)) {
		return errMissing // somebody else may have put something there
	}
	f.due = min(s.due(), q.due())
	return nil
}

// again are the indexes of what has come due: loans that ran out, then what waited, as negative numbers from -1 on.
func (f *fetching) again(s *groupState, now int64) []int {
	var list []int
	for i := range s.loaned {
		if s.loaned[i].due <= now {
			list = append(list, i)
		}
	}
	for i := range s.near {
		if s.near[i].due <= now {
			list = append(list, -1-i)
		}
	}
	due := func(i int) int64 {
		if i < 0 {
			return s.near[-1-i].due
		}
		return s.loaned[i].due
	}
	slices.SortStableFunc(list, func(a, b int) int { return cmp.Compare(due(a), due(b)) })
	return list
}

// bodies finds the messages of what comes again. Dropped is what is not there any more.
func (f *fetching) bodies(t *tx, s *groupState, x *removedState, again []int) (take []picked, dropped []int, err error) {
	missing := false
	for _, i := range again {
		var it item
		if i < 0 {
			it = s.near[-1-i]
		} else {
			it = s.loaned[i]
			it.lost++
			if it.begun {
				it.crashes++
			}
		}
		if it.body == 0 && x.has(it.place) {
			dropped = append(dropped, i)
			continue
		}
		p := picked{item: it}
		if p.entry, err = t.entry(f.g, it); errors.Is(err, errMissing) {
			missing = true
			continue
		} else if err != nil {
			return nil, nil, err
		}
		if p.entry == nil {
			dropped = append(dropped, i)
			continue
		}
		if p.at = time.Unix(0, it.at); it.body == 0 {
			c, err := t.chunk(f.g.Topic, it.seq)
			if err != nil {
				return nil, nil, err
			}
			p.at = c.at
		}
		p.index = i
		take = append(take, p)
	}
	if missing {
		return nil, nil, errMissing
	}
	return take, dropped, nil
}

// fresh reads on in the log, as far as the limit goes. Cursor and ord are where each entry leaves the group.
func (f *fetching) fresh(t *tx, s *groupState, x *removedState) (list []picked, cursor []place, ord []uint64, err error) {
	lane := t.run.lane
	if lane.serial != s.serial || s.cursor.less(lane.from) {
		lane.serial, lane.from, lane.ahead, lane.scanned = s.serial, place{}, nil, 0
	}
	if !slices.ContainsFunc(lane.ahead, func(c *chunk) bool { return c.holds(s.cursor) }) {
		switch {
		case s.cursor != s.start:
			f.more = true // others of this round have taken what was read: the next round reads on
		case !t.run.read:
			t.run.need.ahead = &aheadNeed{topic: f.g.Topic, cursor: s.cursor}
			return nil, nil, nil, errMissing
		}
		return nil, nil, nil, nil
	}
	list, cursor, ord = make([]picked, 0, f.limit), make([]place, 0, f.limit), make([]uint64, 0, f.limit)
	for _, c := range lane.ahead {
		if !c.holds(s.cursor) {
			continue
		}
		from := 0
		if c.seq == s.cursor.seq {
			from = int(s.cursor.idx) + 1
		}
		for i := from; i < len(c.entries); i++ {
			at := place{seq: c.seq, idx: uint32(i)}
			if len(list) == f.limit {
				return list, cursor, ord, nil
			}
			list = append(list, picked{item: item{place: at, id: hashOf(c.entries[i].id)}, entry: &c.entries[i], at: c.at, removed: x.has(at)})
			if i == len(c.entries)-1 {
				at = behind(c.seq)
			}
			cursor = append(cursor, at)
			ord = append(ord, c.ord+uint64(i)+1)
		}
	}
	return list, cursor, ord, nil
}

// holds reports whether the chunk has something behind the place.
func (c *chunk) holds(p place) bool {
	return len(c.entries) > 0 && p.less(place{seq: c.seq, idx: uint32(len(c.entries) - 1)})
}

// remembered are the IDs among these that the group remembers.
func (f *fetching) remembered(t *tx, s *groupState, lists ...[]picked) (map[hash]bool, error) {
	known := map[hash]bool{}
	if !s.mindful {
		return known, nil
	}
	for _, list := range lists {
		for i := range list {
			yes, err := t.remembers(s, list[i].id)
			if err != nil {
				return nil, err
			}
			if yes {
				known[list[i].id] = true
			}
		}
	}
	return known, nil
}

// groupReserve is the room in the record of a group beside its loans: for what waits, and for marks of what was acknowledged.
const groupReserve = nearBytes + 64<<10

// fitting is what the record of the group has room for: all its loans are in it. Full tells that something was left out. What was on
// loan before has its room.
func (f *fetching) fitting(s *groupState, take, fresh []picked) (fits, freshFits []picked, full bool) {
	room := func(p *picked) bool {
		s.size += p.weight() + len(f.g.Consumer)
		return s.size <= f.b.caps.MaxBody-groupReserve
	}
	fits = slices.DeleteFunc(take, func(p picked) bool {
		out := p.index < 0 && !room(&p)
		full = full || out
		return out
	})
	for i := range fresh {
		if !room(&fresh[i]) {
			return fits, fresh[:i], true
		}
	}
	return fits, fresh, full
}

// groupFull is the answer where nothing more can be lent, so that nobody waits for it in silence.
func groupFull(g *port.Group, loans int) error {
	return fmt.Errorf("nats: fetch: group %q of topic %q has %d messages on loan, more do not fit into its record: settle some, or raise the server's max_payload: %w",
		g.Name, g.Topic, loans, port.ErrUnavailable)
}

// lend hands out what was picked and is not remembered.
func (f *fetching) lend(t *tx, s *groupState, take []picked, dropped []int, fresh []picked, cursor []place, ord []uint64, known map[hash]bool) {
	due := f.b.after(f.g.Loan)
	until := time.UnixMilli(due)
	out := map[int]bool{}
	for _, i := range dropped {
		out[i] = true
	}
	lent := make([]item, 0, len(take)+len(fresh))
	f.list = make([]port.Delivery, 0, len(take)+len(fresh))
	give := func(p *picked) {
		if known[p.id] {
			f.acked++
			t.discard(f.g, p.item)
			return
		}
		it := p.item
		it.lend, it.due, it.begun, it.who = s.number(), due, false, f.g.Consumer
		lent = append(lent, it)
		d := port.Delivery{
			Receipt: s.receipt(it.lend), Message: p.entry.message(f.g.Topic),
			Attempt: int(it.attempt), Lost: int(it.lost), Crashes: int(it.crashes), Reason: it.reason, FirstAt: p.at, Until: until,
		}
		if it.body > 0 {
			d.Message.Group = f.g.Name
		} else {
			d.Offset = offset(f.era, it.place, p.at.UnixNano())
		}
		f.list = append(f.list, d)
	}
	for i := range take {
		out[take[i].index] = true
		give(&take[i])
	}
	for i := range fresh {
		if !fresh[i].removed {
			give(&fresh[i])
		}
		s.cursor, s.ord = cursor[i], ord[i]
	}
	if len(out) == 0 && len(fresh) == 0 {
		return
	}
	f.more = f.more || len(lent) == 0
	s.loaned = keep(s.loaned, func(i int) bool { return !out[i] })
	s.near = keep(s.near, func(i int) bool { return !out[-1-i] })
	s.loaned = append(s.loaned, lent...)
	t.touchGroup(f.g.Topic, f.g.Name, s)
}

// keep is what of list stays.
func keep(list []item, stays func(i int) bool) []item {
	kept := list[:0]
	for i := range list {
		if stays(i) {
			kept = append(kept, list[i])
		}
	}
	return kept
}
