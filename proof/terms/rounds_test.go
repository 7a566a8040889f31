//go:build unix

package terms_test

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/musterhq/muster/internal/testserver"
	"github.com/musterhq/muster/proof/histories"
)

// Five processes with a TTL of 3 s. Round after round who holds it, or another, is stopped for 0.5 to 15 s, or cut off from the server for 1 to
// 10 s, silently or not, or killed and started again.
func TestWhoIsStoppedCutOffOrKilledNeverOverlapsWithTheNext(t *testing.T) {
	for backend, server := range backends() {
		for _, way := range []string{histories.Lead, histories.Fair, histories.ReadWrite, histories.Semaphore} {
			t.Run(backend+"/"+way, func(t *testing.T) {
				t.Parallel()
				left := scale(3, 50)
				var sum figures
				for part := 0; left > 0; part++ { // in parts, each from the beginning, because a history of all would be too long to judge
					n := min(left, 10)
					sum.add(rounds(t, server(t), way, part, n))
					left -= n
				}
				t.Logf("%+v", sum)
				if sum.Refused == 0 || sum.Within == 0 || way == histories.ReadWrite && sum.Shared == 0 {
					t.Errorf("nothing was refused, or nothing done, or nothing shared: %+v shows nothing", sum)
				}
			})
		}
	}
}

// rounds are some rounds with five processes.
func rounds(t *testing.T, server *testserver.Server, way string, part, n int) figures {
	t.Helper()
	s := newStage(t, server, way)
	all := s.five()
	r := rand.New(rand.NewPCG(1, uint64(part)))
	between := func(low, high time.Duration) time.Duration { return low + time.Duration(r.Int64N(int64(high-low))) }
	var crash time.Duration
	for round := range n {
		holder := s.holds(now())
		i := slices.IndexFunc(all, func(p *process) bool { return p.id == holder.ID })
		if way != histories.Lead && round%4 == 3 {
			i = r.IntN(len(all)) // who may be in the queue
		}
		p := all[i]
		var d time.Duration
		kind := []string{"stopped", "cut off silently", "killed", "stopped", "cut off"}[round%5]
		switch kind {
		case "stopped":
			d = between(500*time.Millisecond, 15*time.Second)
			if round == 0 && part == 0 {
				d = 5 * time.Second // long enough for another to hold it, also in the short form
			}
			p.signal(syscall.SIGSTOP)
			lasting(t, d)
			p.signal(syscall.SIGCONT)
		case "cut off silently":
			d = between(time.Second, 10*time.Second)
			p.proxy.BlackHole()
			lasting(t, d)
			p.proxy.Restore()
		case "cut off":
			d = between(time.Second, 10*time.Second)
			p.proxy.Cut()
			lasting(t, d)
			p.proxy.Restore()
		case "killed":
			at := now()
			p.kill()
			d = time.Duration(s.holds(at).Return - at)
			crash = max(crash, d)
			id, _, _ := strings.Cut(p.id, "+")
			all[i] = s.start(id + "+" + strconv.Itoa(round))
		}
		next := s.holds(now())
		t.Logf("round %d.%d: %s %s for %v, then %s with token %d", part, round, p.id, kind, d.Round(time.Millisecond), next.Who, next.Token)
	}
	s.stops(all)
	f := s.judge()
	f.Crash = crash.Round(time.Millisecond)
	f.Judged = s.linearizable()
	return f
}

// With what is written at once nothing is lost, and terms stay disjoint. Where all is lost the terms may overlap: the tokens grow all
// the same.
func TestTokensNeverGoBackWhenTheServerIsKilled(t *testing.T) {
	servers := backends()
	servers["redis without its state"] = func(t testing.TB) *testserver.Server {
		return testserver.Redis(t, testserver.RedisConfig{Appendfsync: "off"})
	}
	for name, server := range servers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t, server(t), histories.Lead)
			all := []*process{s.start("a"), s.start("b")}
			for range scale(1, 10) {
				before := s.holds(now())
				s.server.Kill()
				lasting(t, ttl+time.Second)
				s.server.Restart()
				until(t, "a new term begins", func() bool {
					s.mu.Lock()
					defer s.mu.Unlock()
					return s.last.Token != before.Token
				})
				after := s.holds(now())
				t.Logf("token %d of %s, then %d of %s", before.Token, before.ID, after.Token, after.ID)
			}
			s.stops(all)
			begun := s.begun()
			for i, a := range begun[1:] {
				if a.Token <= begun[i].Token {
					t.Errorf("the tokens went back: %+v and %+v", begun[i], a)
				}
			}
			if _, kept := backends()[name]; kept {
				t.Logf("%+v", s.judge())
			}
		})
	}
}
