package redis

import (
	"cmp"
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
	density                          int64 // messages of an entry, as far as they were seen
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

// entries is in how many entries so many messages are likely to be: of the first there may be little left.
func (s *spot) entries(most int64) int64 {
	if s.density < 2 {
		return most
	}
	return min(most, (most+s.density-1)/s.density+1)
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

// readAhead reads what is behind a spot. False: what was read is not worth another question.
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
	read := b.client.B().Xrange().Key(log).Start("(" + s.ms + "-" + s.n).End(s.lastMS + "-" + s.lastN).Count(s.entries(most)).Build()
	entries, err := b.client.Do(b.ctx, read).ToArray()
	if err != nil {
		return l, false, b.fail(b.ctx, "", err, false) // the next fetch asks the script, which says what it meets
	}
	if len(entries) == 0 {
		s.failed()
		return l, false, nil
	}
	l = newLending(loan{group: g}, s.era, int(most))
	if err := l.read(s, entries, min(limit, mostMessages)); err != nil {
		return l, false, err
	}
	return l, len(l.list) >= leastAhead, nil
}

// read takes entries over, as much of them as one answer may hold.
func (l *lending) read(s *spot, entries []rueidis.RedisMessage, most int) error {
	after, err := strconv.ParseInt(s.n, 10, 64)
	fits := func(n int64) bool {
		return len(l.list) < most && l.bytes < mostBytes && (len(l.places) == 0 || n-l.places[0].n < longestRecord)
	}
	held, used := 0, 0
	for i := range entries {
		r, before := reply{list: entries[i]}, len(l.list)
		id := r.text()
		fields := reply{list: r.next()}
		fields.text()
		value := fields.stored()
		if err = cmp.Or(err, r.err, fields.err); err == nil {
			err = l.take(id, value, after, fits)
		}
		if err != nil {
			return fmt.Errorf("%w: %w", port.ErrUncertain, err)
		}
		if len(l.list) == before {
			break
		}
		l.last, used, held = id, used+1, held+value.size()
	}
	s.density = int64(held / max(used, 1))
	return nil
}

// bits has one for each message from the first to the last, the lowest of the first byte being the first message's.
func (l *lending) bits() []byte {
	first := l.places[0].n
	bits := make([]byte, (l.places[len(l.places)-1].n-first)/8+1)
	for _, p := range l.places {
		bits[(p.n-first)/8] |= 1 << ((p.n - first) % 8)
	}
	return bits
}

// lend runs the script, and makes the receipts of what it lent.
func (b *Backend) lend(l lending, s *spot) ([]port.Delivery, bool, error) {
	g, n := l.group, len(l.list)
	first, last := l.places[0], l.places[n-1]
	lastN := number(last.n)
	args := make([]string, 0, 14+n)
	args = append(args, g.Consumer, number(port.Millis(g.Loan)), number(port.Millis(g.Remember)), s.era, s.drops, s.ms, s.n,
		first.ms, number(first.n), last.ms, lastN, strconv.Itoa(n), rueidis.BinaryString(l.bits()), l.last)
	if g.Remember > 0 {
		for i := range l.places {
			args = append(args, l.places[i].id)
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
	s.moved(last.ms, lastN)
	s.failures, s.average = 0, l.bytes/int64(n)+1
	if r.err != nil {
		return nil, false, fmt.Errorf("%w: %w", port.ErrUncertain, r.err)
	}
	l.seal()
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
// and skips are those of the spot before, if there is one. Entries is how many the new messages of the list came in.
func spotted(before *spot, era, text string, list []port.Delivery, entries int) *spot {
	f := strings.Fields(text)
	if len(f) != 6 || len(list) == 0 {
		return nil
	}
	s := &spot{era: era, lastMS: f[2], lastN: f[3], drops: f[4], density: int64(len(list) / max(entries, 1))}
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
