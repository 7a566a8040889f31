//go:build unix

package faults_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/musterhq/muster/bus"
	"github.com/musterhq/muster/port"
)

// tally is what was counted.
type tally struct {
	published, runs, emitted, lost, doubled, dead int
}

func (n tally) String() string {
	return fmt.Sprintf("published %d, handler runs %d, emitted %d, lost %d, doubled effects %d, dead letters %d",
		n.published, n.runs, n.emitted, n.lost, n.doubled, n.dead)
}

// settle waits until nothing is left to do, and counts what became of every order: the bills, the counts, the balances, the
// dead letters. Whatever was published is in exactly one of them, once, or it is lost or doubled.
func (s *shop) settle() tally {
	s.t.Helper()
	until(s.t, "everything is handled", s.drained)
	n := tally{published: s.published, runs: s.told("begin")}
	bills := s.bills()
	dead := s.dead()
	sum := 0
	for i := 1; i <= s.published; i++ {
		count, _, err := counts.Get(s.t.Context(), s.b, strconv.Itoa(i))
		if err != nil {
			s.t.Fatal(err)
		}
		times := bills[i]
		n.emitted += times
		sum += count
		switch {
		case dead[i] > 0:
			n.dead++
			n.doubled += dead[i] - 1 + max(times, count)
		case times == 0 || count == 0:
			n.lost++
		default:
			n.doubled += max(times, count) - 1
		}
		if times != count {
			s.t.Errorf("order %d has %d bills, and its count is %d: a step was made in part", i, times, count)
		}
	}
	for i := range bills {
		if i < 1 || i > s.published {
			s.t.Errorf("order %d was handled and its publishing was not acknowledged", i)
		}
	}
	if total := s.balances(); total != 0 && total != sum {
		s.t.Errorf("the balances of all accounts are %d together, and %d orders took effect", total, sum)
	}
	return n
}

// bills counts the bills of each order.
func (s *shop) bills() map[int]int {
	s.t.Helper()
	bills := map[int]int{}
	s.billed = map[int]time.Time{}
	after := port.Earliest
	for {
		entries, err := s.b.Read(s.t.Context(), port.Range{Topic: outTopic, After: after, Max: 500})
		if err != nil {
			s.t.Fatal(err)
		}
		if len(entries) == 0 {
			return bills
		}
		for _, e := range entries {
			o, err := orderOf(e.Message.Body)
			if err != nil {
				s.t.Fatal(err)
			}
			bills[o.N]++
			s.billed[o.N] = e.At
			after = e.Offset
		}
	}
}

// dead counts the dead letters of each order.
func (s *shop) dead() map[int]int {
	s.t.Helper()
	dead := map[int]int{}
	for letter, err := range (bus.Dead{Queue: s.b, Topic: inTopic, Group: group}).List(s.t.Context(), bus.DeadFilter{}) {
		if err != nil {
			s.t.Fatal(err)
		}
		o, err := orderOf(letter.Body)
		if err != nil {
			s.t.Fatal(err)
		}
		dead[o.N]++
	}
	return dead
}

// balances is the sum of all accounts.
func (s *shop) balances() int {
	s.t.Helper()
	sum := 0
	for key, err := range s.b.Keys(s.t.Context(), balances.Prefix+"*") {
		if err != nil {
			s.t.Fatal(err)
		}
		balance, _, err := balances.Get(s.t.Context(), s.b, strings.TrimPrefix(key, balances.Prefix))
		if err != nil {
			s.t.Fatal(err)
		}
		sum += balance
	}
	return sum
}

// ending is the end of a fault.
type ending struct {
	at        time.Time
	published int // orders acknowledged before
}

// recovery waits until, after a fault has ended, something was published and handled again, and tells how long that took.
func (s *shop) recovery(p *producer) time.Duration {
	s.t.Helper()
	end := ending{time.Now(), s.published + int(p.acknowledged.Load())}
	s.endings = append(s.endings, end)
	var last int64
	until(s.t, "messages are published and handled again", func() bool {
		if last = p.last.Load(); last <= end.at.UnixNano() {
			return false
		}
		for _, w := range s.all() {
			if n, e := w.last("end"); n > 0 && e.At > end.at.UnixNano() {
				last = max(last, e.At)
				return true
			}
		}
		return false
	})
	return time.Duration(last - end.at.UnixNano())
}

// caughtUp reports whether the group has finished all that was published before the end of the last fault.
func (s *shop) caughtUp() bool {
	end := s.endings[len(s.endings)-1].at
	for info, err := range s.b.Inspect(s.t.Context(), inTopic) {
		if err != nil {
			return false
		}
		for _, g := range info.Groups {
			if !g.Oldest.IsZero() && !g.Oldest.After(end) {
				return false
			}
		}
		return true
	}
	return false
}

// backlog is how long it took, from the end of each fault, until all that was published before had taken effect: what was in hand
// when the fault struck comes again when its loan has ended.
func (s *shop) backlog() times {
	var took times
	for _, end := range s.endings {
		longest := time.Duration(0)
		for n := 1; n <= end.published; n++ {
			longest = max(longest, s.billed[n].Sub(end.at))
		}
		took = append(took, longest)
	}
	return took
}

// whole fails the test unless nothing is lost, doubled or dead.
func (n tally) whole(t *testing.T) {
	t.Helper()
	if n.published == 0 || n.lost > 0 || n.doubled > 0 || n.dead > 0 || n.emitted != n.published {
		t.Errorf("every order that was published must take effect once: %v", n)
	}
}

// sound fails the test unless every order took effect once or was lost whole.
func (n tally) sound(t *testing.T) {
	t.Helper()
	if n.published == 0 || n.doubled > 0 || n.dead > 0 || n.emitted+n.lost != n.published {
		t.Errorf("every order that was kept must take effect once: %v", n)
	}
}

// times is how long something took, again and again.
type times []time.Duration

func (d times) String() string {
	if len(d) == 0 {
		return "none"
	}
	sorted := slices.Sorted(slices.Values(d))
	return fmt.Sprintf("median %v, longest %v", sorted[len(sorted)/2].Round(10*time.Microsecond), sorted[len(sorted)-1].Round(10*time.Microsecond))
}
