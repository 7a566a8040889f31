package histories_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/musterhq/muster/adapter/memory"
	"github.com/musterhq/muster/port"
	"github.com/musterhq/muster/proof/histories"
)

var firstSeed = flag.Uint64("seed", 1, "the first seed of the faults in virtual time")

var errNet = errors.New("the network is down")

// play is some clients of one lock on a memory backend, in virtual time.
type play struct {
	way     string
	clients int
	lasts   time.Duration
	seed    uint64 // of the faults; 0: there are none

	leases  func(port.Leases) port.Leases   // what the clients hold the lock by is made of the backend; nil: the backend
	backend func(port.Backend) port.Backend // so is what they act on
	slots   int                             // of the semaphore, other than the rules have it; 0: as they have it
}

const playTTL = time.Second

// history plays it, and returns what the clients told, and what the faults were.
func (p play) history(t *testing.T) (*histories.History, *mishaps) {
	t.Helper()
	h, m := &histories.History{}, &mishaps{}
	synctest.Test(t, func(t *testing.T) {
		m.start = time.Now()
		b := memory.New(memory.Config{})
		ctx, stop := context.WithTimeout(t.Context(), p.lasts)
		defer stop()
		var wg sync.WaitGroup
		for i := range p.clients {
			wg.Go(func() {
				for life := 0; ctx.Err() == nil; life++ {
					p.live(ctx, t, b, h, m, i, life)
				}
			})
		}
		wg.Wait()
	})
	return h, m
}

// live is a client until ctx ends or it dies.
func (p play) live(ctx context.Context, t *testing.T, b *memory.Backend, h *histories.History, m *mishaps, i, life int) {
	id := fmt.Sprintf("%d.%d", i, life)
	ctx, crash := context.WithCancel(ctx)
	defer crash()
	fault := &faults{play: p, m: m, i: i, life: life, asked: map[string]int{}, die: func() {
		h.Died(id, time.Now().UnixNano())
		crash()
	}}
	handle := b.Open(memory.Config{Fault: fault.of})
	c := &histories.Client{
		ID: id, Way: p.way, Backend: handle, TTL: playTTL, Stay: playTTL / 2, Pace: 10 * time.Millisecond, Past: 2 * playTTL, Slots: p.slots, Tell: h.Add,
	}
	if p.leases != nil {
		c.Leases = p.leases(handle)
	}
	if p.backend != nil {
		c.Backend = p.backend(handle)
	}
	if err := c.Run(ctx); err != nil {
		t.Error(err)
	}
}

// mishaps counts faults.
type mishaps struct {
	start time.Time

	mu                                   sync.Mutex
	Lost, Late, Down, Crashes, Histories int
	Acts, Terms, Shared, Unknown, Stale  int
}

func (m *mishaps) count(n *int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	*n++
}

// faults are those of one life of a client. What happens to a request is a matter of the seed, the life, and the number of the
// request among those of its kind.
type faults struct {
	play
	m       *mishaps
	i, life int
	die     func()

	mu    sync.Mutex
	asked map[string]int
}

func (f *faults) of(op memory.Op) memory.Fault {
	f.mu.Lock()
	f.asked[op.Name]++
	r := f.chance(op.Name, op.Point.String(), f.i, f.life, f.asked[op.Name])
	f.mu.Unlock()
	fault := memory.Fault{Delay: time.Duration(1 + r.Int64N(int64(2*time.Millisecond)))}
	if f.seed == 0 {
		return fault
	}
	if f.down() {
		f.m.count(&f.m.Down)
		fault.Err = errNet
		return fault
	}
	switch n := r.IntN(1000); {
	case n < 20:
		f.m.count(&f.m.Lost)
		fault.Err = errNet // of the request, or of the answer
	case n < 40:
		f.m.count(&f.m.Late)
		fault.Delay += time.Duration(r.Int64N(int64(playTTL / 2)))
	case n < 43:
		f.m.count(&f.m.Late)
		fault.Delay += time.Duration(r.Int64N(int64(3 * playTTL)))
	case n < 46:
		fault.Twice = true
	case n < 48:
		f.m.count(&f.m.Crashes)
		f.die()
		fault = memory.Fault{Cut: true}
	}
	return fault
}

// down reports whether the client is cut off: four times for up to two TTL.
func (f *faults) down() bool {
	r := f.chance("down", f.i)
	now := time.Since(f.m.start)
	for range 4 {
		from := time.Duration(r.Int64N(int64(f.lasts)))
		if d := time.Duration(r.Int64N(int64(2 * playTTL))); from <= now && now < from+d {
			return true
		}
	}
	return false
}

// chance is a source of its own for each purpose.
func (p play) chance(parts ...any) *rand.Rand {
	h := fnv.New64a()
	_, _ = fmt.Fprint(h, p.seed, parts)
	return rand.New(rand.NewPCG(p.seed, h.Sum64()))
}

func (m *mishaps) add(h *histories.History, o *mishaps) {
	m.Histories++
	m.Lost, m.Late, m.Down, m.Crashes = m.Lost+o.Lost, m.Late+o.Late, m.Down+o.Down, m.Crashes+o.Crashes
	for _, a := range h.Acts() {
		m.Acts++
		if a.What == histories.Begins {
			m.Terms++
			if a.Shared {
				m.Shared++
			}
		}
		switch a.Got {
		case histories.Unknown:
			m.Unknown++
		case histories.Stale:
			m.Stale++
		}
	}
}

// judge is porcupine's verdict.
func judge(t *testing.T, r histories.Rules, h *histories.History) porcupine.CheckResult {
	t.Helper()
	verdict, info := porcupine.CheckOperationsVerbose(r.Model(), h.Operations(0), 2*time.Minute)
	if verdict != porcupine.Ok {
		picture := filepath.Join(t.ArtifactDir(), "history.html")
		if err := porcupine.VisualizePath(r.Model(), info, picture); err != nil {
			t.Error(err)
		}
	}
	return verdict
}

// Requests and answers get lost or late, clients are cut off and die. The seed decides on the faults; nonces and jitter are new each time.
func TestLocksAreLinearizableUnderFaultsInVirtualTime(t *testing.T) {
	for _, way := range []string{histories.Lead, histories.Lock, histories.Fair, histories.ReadWrite, histories.Semaphore} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			var sum mishaps
			for seed := *firstSeed; seed < *firstSeed+uint64(scale(4, 200)); seed++ {
				h, m := play{way: way, clients: 5, lasts: 20 * playTTL, seed: seed}.history(t)
				sum.add(h, m)
				if verdict := judge(t, histories.RulesOf(way), h); verdict != porcupine.Ok {
					t.Fatalf("not linearizable (%v): see %s, and try -seed %d", verdict, t.ArtifactDir(), seed)
				}
			}
			t.Logf("%d histories of %d acts, %d terms (%d shared), %d of unknown outcome, %d refused; %d lost, %d late, %d while cut off, %d crashes", sum.Histories,
				sum.Acts, sum.Terms, sum.Shared, sum.Unknown, sum.Stale, sum.Lost, sum.Late, sum.Down, sum.Crashes)
			if sum.Terms < 20 || sum.Unknown == 0 || sum.Lost == 0 || sum.Late == 0 || sum.Down == 0 || sum.Crashes == 0 || sum.Stale == 0 ||
				way == histories.ReadWrite && sum.Shared == 0 {
				t.Errorf("the faults are too few to show anything: %+v", &sum)
			}
		})
	}
}
