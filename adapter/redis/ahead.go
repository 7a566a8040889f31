package redis

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"github.com/musterhq/muster/port"
)

// A backlog is read by the server's own command, which costs it a fifth of what a script pays for reading, and then lent by a short
// script. What may go wrong between the two:
//
//   - Another consumer fetches, and the group's place is another: the script sees it, and what was read is forgotten. Who meets that often
//     tries it seldom.
//   - An entry is taken out of the log, or the log is made anew: its count of removals, or its era, is another.
//   - A master takes over that does not have what was read: the last entry read is not there.
//   - The script's answer is lost: what it lent comes again when the loan ends, as with every fetch.
//
// Only what was in the log at the last answer is read, so that its size is known before.

// leastAhead is how many messages are worth two questions.
const leastAhead = 32

// longestRecord is from how many places on messages are not lent as one.
const longestRecord = 4096

// ahead is what is known of the groups that have a backlog, by topic and name.
type ahead struct {
	mu sync.Mutex
	of map[[2]string]*spot
}

// spot is where a group stood at the last answer, and what its log had behind that.
type spot struct {
	era, drops, ms, n, lastMS, lastN string
	count                            int64 // of messages behind it
	largest, average                 int64 // bytes
	failures, skips                  int
}

// take answers what is known of a group, which nobody else gets until it is put back; nil for nothing.
func (a *ahead) take(g *port.Group) *spot {
	a.mu.Lock()
	defer a.mu.Unlock()
	key := [2]string{g.Topic, g.Name}
	s := a.of[key]
	delete(a.of, key)
	return s
}

func (a *ahead) put(g *port.Group, s *spot) {
	if s == nil || s.count < leastAhead {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.of[[2]string{g.Topic, g.Name}] = s
}

// most is how many messages are read at once.
func (s *spot) most(limit int) int64 {
	return min(int64(limit), mostMessages, s.count, mostBytes/max(s.average, 1), 8*mostBytes/max(s.largest, 1))
}

// failed notes that what was read was not lent: twice as many fetches as before are made without.
func (s *spot) failed() {
	s.failures = min(s.failures+1, 7)
	s.skips = 1 << s.failures
}

// lendAhead reads and lends. False: nothing was lent, and fetch.lua is to be asked.
func (b *Backend) lendAhead(g *port.Group, s *spot, limit int) (list []port.Delivery, ok bool, err error) {
	l, ok, err := b.readAhead(g, s, limit)
	if !ok || err != nil {
		return nil, false, err
	}
	return b.lend(l, s)
}

// readAhead reads what is behind a spot. False: nothing was read.
func (b *Backend) readAhead(g *port.Group, s *spot, limit int) (l lending, ok bool, err error) {
	if s.skips > 0 {
		s.skips--
		return l, false, nil
	}
	most := s.most(limit)
	if most < leastAhead {
		return l, false, nil
	}
	log := b.space.addTopic(nil, g.Topic)[1]
	read := b.client.B().Xrange().Key(log).Start("(" + s.ms + "-" + s.n).End(s.lastMS + "-" + s.lastN).Count(most).Build()
	entries, err := b.client.Do(b.ctx, read).ToArray()
	if err != nil {
		return l, false, b.fail(b.ctx, "", err, false) // the next fetch asks the script, which says what it meets
	}
	if len(entries) == 0 {
		s.failed()
		return l, false, nil
	}
	l = lending{loan: loan{group: g}, list: make([]port.Delivery, 0, len(entries))}
	if err := l.read(s.era, entries); err != nil {
		return l, false, err
	}
	return l, true, nil
}

// lending is what was read and is to be lent as one.
type lending struct {
	loan
	list   []port.Delivery
	places []place
	bits   []byte
	bytes  int64
}

// read takes entries over, as many as one answer may hold.
func (l *lending) read(era string, entries []rueidis.RedisMessage) error {
	l.places = make([]place, 0, len(entries))
	first := int64(0)
	for i := range entries {
		r := reply{list: entries[i]}
		p, err := entry(era, r.text())
		r.note(err)
		n, err := strconv.ParseInt(p.n, 10, 64)
		r.note(err)
		fields := reply{list: r.next()}
		fields.text()
		if i == 0 {
			first = n
		}
		if l.bytes >= mostBytes || n-first >= longestRecord {
			return nil
		}
		blob := fields.next()
		r.note(fields.err)
		at, err := millis(p.ms)
		r.note(err)
		m, err := decode(l.group.Topic, &blob)
		r.note(err)
		if r.err != nil {
			return fmt.Errorf("%w: %w", port.ErrUncertain, r.err)
		}
		k := int(n - first)
		for len(l.bits) <= k/8 {
			l.bits = append(l.bits, 0)
		}
		l.bits[k/8] |= 1 << (k % 8)
		l.bytes += int64(headLength + len(m.ID) + len(m.Key) + len(m.Body))
		l.list = append(l.list, port.Delivery{Message: m, Offset: p.offset(), FirstAt: at})
		l.places = append(l.places, p)
	}
	return nil
}

// lend runs the script, and makes the receipts of what it lent.
func (b *Backend) lend(l lending, s *spot) ([]port.Delivery, bool, error) {
	g, n := l.group, len(l.list)
	first, last := l.places[0], l.places[n-1]
	args := make([]string, 0, 13+n)
	args = append(args, g.Consumer, number(port.Millis(g.Loan)), number(port.Millis(g.Remember)), s.era, s.drops, s.ms, s.n,
		first.ms, first.n, last.ms, last.n, strconv.Itoa(n), rueidis.BinaryString(l.bits))
	if g.Remember > 0 {
		for i := range l.list {
			args = append(args, l.list[i].Message.ID)
		}
	}
	keys := b.space.addGroup(b.space.addTopic(make([]string, 0, 2+topicKeys+groupKeys), g.Topic)[:2], g.Topic, g.Name)
	m, err := b.run(b.ctx, "", b.scripts.take, keys, args)
	if err != nil {
		return nil, false, err
	}
	if m.IsInt64() {
		s.failed()
		return nil, false, nil
	}
	r := reply{list: m}
	l.token = r.text()
	l.until = time.UnixMilli(r.int())
	s.lastMS, s.lastN, s.largest = r.text(), r.text(), r.int()
	s.moved(last.ms, last.n)
	s.failures, s.average = 0, l.bytes/int64(n)+1
	if r.err != nil {
		return nil, false, fmt.Errorf("%w: %w", port.ErrUncertain, r.err)
	}
	for i := range l.list {
		d := &l.list[i]
		d.Receipt, d.Until = claim{l.places[i].n, l.places[i].ms, l.token, d.Message.ID}.receipt(g), l.until
	}
	return l.list, true, nil
}

// moved sets the place of the group, and from it how much is behind; nothing where that is not to be found out.
func (s *spot) moved(ms, n string) {
	s.ms, s.n = ms, n
	from, err := strconv.ParseInt(n, 10, 64)
	to, err2 := strconv.ParseInt(s.lastN, 10, 64)
	if s.count = to - from; err != nil || err2 != nil {
		s.count = 0
	}
}

// spotted reads where a fetch left a group: <ms> <n> <ms of the log's last> <n of it> <removals> <bytes of the largest message>. Failures
// and skips are those of the spot before, if there is one.
func spotted(before *spot, era, text string, list []port.Delivery) *spot {
	f := strings.Fields(text)
	if len(f) != 6 || len(list) == 0 {
		return nil
	}
	s := &spot{era: era, lastMS: f[2], lastN: f[3], drops: f[4]}
	if before != nil {
		s.failures, s.skips = before.failures, before.skips
	}
	largest, err := strconv.ParseInt(f[5], 10, 64)
	if err != nil {
		return nil
	}
	s.largest = largest
	for i := range list {
		s.average += int64(headLength + len(list[i].Message.ID) + len(list[i].Message.Key) + len(list[i].Message.Body))
	}
	s.average = s.average/int64(len(list)) + 1
	s.moved(f[0], f[1])
	return s
}
