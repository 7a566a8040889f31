//go:build unix

package terms_test

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/musterhq/muster/internal/testserver"
)

// Five candidates with a TTL of 3 s. Round after round the leader is stopped for 0.5 to 15 s, or cut off from the server for 1 to
// 10 s, silently or not, or killed and started again.
func TestALeaderThatIsStoppedCutOffOrKilledNeverOverlapsWithTheNext(t *testing.T) {
	t.Parallel()
	s := newStage(t, testserver.RedisConfig{})
	all := five(s)
	r := rand.New(rand.NewPCG(1, 2))
	between := func(low, high time.Duration) time.Duration { return low + time.Duration(r.Int64N(int64(high-low))) }
	var crashes []time.Duration
	for round := range scale(3, 50) {
		leader := s.leads(now())
		i := slices.IndexFunc(all, func(p *process) bool { return p.id == leader.ID })
		p := all[i]
		var d time.Duration
		kind := []string{"stopped", "cut off silently", "killed", "stopped", "cut off"}[round%5]
		switch kind {
		case "stopped":
			d = between(500*time.Millisecond, 15*time.Second)
			if round == 0 {
				d = 5 * time.Second // long enough for another to lead, also in the short form
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
			d = time.Duration(s.leads(at).From - at)
			crashes = append(crashes, d)
			all[i] = s.start(leader.ID + "+" + strconv.Itoa(round))
		}
		next := s.leads(now())
		t.Logf("round %d: %s for %v, then %s with token %d", round, kind, d.Round(time.Millisecond), next.ID, next.Token)
	}
	for _, p := range all {
		p.stop()
	}
	f := s.judge()
	t.Logf("%+v", f)
	t.Logf("after a crash the next one led within %v of a TTL of %v", slices.Max(crashes).Round(time.Millisecond), ttl)
	if f.Refused == 0 || f.Writes == 0 {
		t.Errorf("nothing was refused, or nothing written: %+v shows nothing", f)
	}
	s.linearizable()
}

// With an append-only file that is written at once nothing is lost, and terms stay disjoint. Without one all is lost, and the terms may
// overlap: the tokens grow all the same.
func TestTokensNeverGoBackWhenTheServerIsKilled(t *testing.T) {
	for name, c := range map[string]testserver.RedisConfig{"it kept its state": {}, "it lost its state": {Appendfsync: "off"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t, c)
			all := []*process{s.start("a"), s.start("b")}
			for range scale(1, 10) {
				before := s.leads(now())
				s.server.Kill()
				lasting(t, ttl+time.Second)
				s.server.Restart()
				until(t, "a new term begins", func() bool { return s.last().Token != before.Token })
				after := s.leads(now())
				t.Logf("token %d of %s, then %d of %s", before.Token, before.ID, after.Token, after.ID)
			}
			for _, p := range all {
				p.stop()
			}
			s.mu.Lock()
			var begun []event
			for _, e := range s.events {
				if e.What == "begin" {
					begun = append(begun, e)
				}
			}
			s.mu.Unlock()
			for i, e := range begun {
				for _, o := range begun[:i] {
					if (e.From > o.From) != (e.Token > o.Token) {
						t.Errorf("the tokens went back: %+v and %+v", o, e)
					}
				}
			}
			if c.Appendfsync == "" {
				t.Logf("%+v", s.judge())
			}
		})
	}
}
