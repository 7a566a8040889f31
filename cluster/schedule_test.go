package cluster

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterhq/muster/adapter/memory"
	"github.com/musterhq/muster/internal/hold"
	"github.com/musterhq/muster/port"
)

var (
	schedules = flag.Int("schedules", 20, "how many schedules of each kind are played")
	firstSeed = flag.Uint64("seed", 1, "the first schedule's seed")
)

// kind is a way to hold something; most is how many may at once.
type kind struct {
	name  string
	most  int
	reads func(id string) bool // who shares; nil: nobody does
	fair  bool                 // terms are short, and everybody has one when the faults are over, in the order of the queue
	run   func(ctx context.Context, l port.Leases, id string, w world, fn func(context.Context, Term) error) error
}

const playTTL = 3 * time.Second

func kinds() []kind {
	return []kind{
		{"lead", 1, nil, false, func(ctx context.Context, l port.Leases, id string, w world, fn func(context.Context, Term) error) error {
			return Lead(ctx, l, Candidate{ID: id, TTL: playTTL, Log: quiet, world: w}, fn)
		}},
		{"lock", 1, nil, false, func(ctx context.Context, l port.Leases, id string, w world, fn func(context.Context, Term) error) error {
			return Lock(ctx, l, Hold{Name: "x", ID: id, TTL: playTTL, Log: quiet, world: w}, fn)
		}},
		{"lock renewed together", 1, nil, false, func(ctx context.Context, l port.Leases, id string, w world, fn func(context.Context, Term) error) error {
			return Lock(ctx, NewShared(l), Hold{Name: "x", ID: id, TTL: playTTL, Log: quiet, world: w}, fn)
		}},
		{"semaphore", 2, nil, false, func(ctx context.Context, l port.Leases, id string, w world, fn func(context.Context, Term) error) error {
			return Semaphore(ctx, l, Hold{Name: "x", ID: id, Slots: 2, TTL: playTTL, Log: quiet, world: w}, fn)
		}},
		{"fair lock", 1, nil, true, func(ctx context.Context, l port.Leases, id string, w world, fn func(context.Context, Term) error) error {
			return Lock(ctx, l, Hold{Name: "x", ID: id, TTL: playTTL, Fair: true, Log: quiet, world: w}, fn)
		}},
		{"readers and writers", 1, reads, true, func(ctx context.Context, l port.Leases, id string, w world, fn func(context.Context, Term) error) error {
			h := Hold{Name: "x", ID: id, TTL: playTTL, Log: quiet, world: w}
			if reads(id) {
				return ReadLock(ctx, l, h, fn)
			}
			return Lock(ctx, l, h, fn)
		}},
		{"readers of many TTLs, renewed together, and fair writers", 1, reads, true, func(ctx context.Context, l port.Leases, id string, w world, fn func(context.Context, Term) error) error {
			h := Hold{Name: "x", ID: id, TTL: playTTL, Fair: true, Log: quiet, world: w}
			if reads(id) {
				h.TTL -= time.Duration(len(id)) * 100 * time.Millisecond
				h.TTL -= time.Duration(id[0]-'0') * 300 * time.Millisecond
				return ReadLock(ctx, NewShared(l), h, fn)
			}
			return Lock(ctx, NewShared(l), h, fn)
		}},
	}
}

// reads tells two readers of three processes, each of which writes in every third life.
func reads(id string) bool {
	var process, life int
	if _, err := fmt.Sscanf(id, "%d.%d", &process, &life); err != nil {
		panic(err)
	}
	return (process+life)%3 != 0
}

// usher sees that nobody gets the lock before somebody whose ticket is smaller and still there.
type usher struct {
	port.Leases
	s    *stage
	all  port.Leases // what is true
	id   string
	mine port.Lease // its ticket
	may  bool       // it saw nobody wait, and asked, and does not know what came of it
}

func (w *usher) Acquire(ctx context.Context, want port.Lease, ttl time.Duration) (port.Lease, error) {
	got, err := w.Leases.Acquire(ctx, want, ttl)
	switch {
	case err != nil:
		if want.Name == "lock.x" && (w.mine.Token == 0 || errors.Is(err, port.ErrHeld)) {
			w.may = !errors.Is(err, port.ErrHeld)
		}
	case strings.HasPrefix(got.Name, "share.x.q."):
		w.mine = got
	case got.Name == "lock.x" && w.mine.Token != 0 && !w.may:
		held, err := w.all.Holders(context.WithoutCancel(ctx), "share.x.q.")
		if err != nil {
			w.s.fail("%v", err)
		}
		for _, h := range held {
			if before(h, w.mine) < 0 && h.Owner != w.mine.Owner {
				w.s.fail("%s overtook %s", w.id, h.Owner)
			}
		}
	}
	return got, err
}

// WatchLeases begins one after the other where several begin at one moment, so that a seed replays exactly.
func (w *usher) WatchLeases(ctx context.Context, prefix string) (iter.Seq2[port.Lease, error], error) {
	nap(ctx, time.Duration(len(prefix))*time.Microsecond)
	return w.Leases.WatchLeases(ctx, prefix)
}

// Terms are disjoint, tokens grow in the order of grants, a register that keeps the largest token never goes back, the
// ctx ends and fn returns before anyone else starts, and when the faults end somebody holds it soon.
func TestNoScheduleOfDelaysLostRepliesStopsCrashesAndRestartsBreaksTheRules(t *testing.T) {
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			var sum tally
			for seed := *firstSeed; seed < *firstSeed+uint64(*schedules); seed++ {
				p := play(t, k, seed)
				sum.add(p.tally)
				if len(p.wrong) > 0 {
					t.Fatalf("go test ./cluster -run '%s' -seed %d -schedules 1\n%s\n%s", t.Name(), seed, strings.Join(p.wrong, "\n"), strings.Join(p.trace, "\n"))
				}
			}
			t.Logf("%d schedules: %+v", *schedules, sum)
			if *schedules >= 20 && (sum.Terms == 0 || sum.Lost == 0 || sum.Crashes == 0 || sum.Stops == 0 || sum.Faults == 0 || sum.Late == 0) {
				t.Errorf("the faults are too few to show anything: %+v", sum)
			}
		})
	}
}

func TestASeedReplaysExactly(t *testing.T) {
	for _, k := range kinds() {
		for seed := uint64(1); seed <= 10; seed++ {
			first, second := play(t, k, seed), play(t, k, seed)
			if !slices.Equal(first.trace, second.trace) {
				for i := range first.trace {
					if i >= len(second.trace) || first.trace[i] != second.trace[i] {
						t.Fatalf("%s, seed %d: line %d is %q, then %q", k.name, seed, i, first.trace[i], slices.Concat(second.trace, []string{""})[min(i, len(second.trace))])
					}
				}
				t.Fatalf("%s, seed %d: the second run is longer", k.name, seed)
			}
		}
	}
}

// tally says what schedules were made of.
type tally struct {
	Terms, Lost, Crashes, Stops, Faults int
	Acts, Late                          int // Late: acts that Guard refused or found to have been late
	Together                            int // the most that held it at once
}

func (s *tally) add(o tally) {
	s.Terms += o.Terms
	s.Lost += o.Lost
	s.Crashes += o.Crashes
	s.Stops += o.Stops
	s.Faults += o.Faults
	s.Acts += o.Acts
	s.Late += o.Late
	s.Together = max(s.Together, o.Together)
}

// stage is one schedule being played.
type stage struct {
	kind  kind
	seed  uint64
	start time.Time
	calm  time.Duration // from then on nothing goes wrong any more

	mu    sync.Mutex
	gate  map[string]uint64 // the largest token that a register has seen, by fence
	last  map[string]uint64 // the last token that was granted, by fence
	on    []*actor          // those whose function runs
	had   map[byte]bool     // the processes that had a term since the faults are long over
	moved time.Duration     // when a term began or ended last
	trace []string
	wrong []string
	tally tally
}

// actor is one term on the stage.
type actor struct {
	id   string
	term Term
	ctx  context.Context
}

// play plays the schedule of a seed: three processes for twelve seconds of faults, and ten of calm.
func play(t *testing.T, k kind, seed uint64) *stage {
	s := &stage{kind: k, seed: seed, gate: map[string]uint64{}, last: map[string]uint64{}, had: map[byte]bool{}, calm: 12 * time.Second}
	synctest.Test(t, func(t *testing.T) {
		s.start = time.Now()
		b := memory.New(memory.Config{})
		life := s.calm + 10*time.Second
		if k.fair {
			life += 20 * time.Second
		}
		ctx, stop := context.WithTimeout(t.Context(), life)
		defer stop()
		var wg sync.WaitGroup
		for i := range 3 {
			wg.Go(func() { s.process(ctx, b, i) })
		}
		// A request that hangs since before the calm ends after one and a half TTL, and then it is asked again.
		nap(ctx, s.calm+playTTL+playTTL/2+playTTL/3)
		s.mu.Lock()
		if len(s.on) == 0 && s.moved < s.calm {
			s.failed("nobody has held it since the faults ended")
		}
		s.mu.Unlock()
		wg.Wait()
		if k.fair && len(s.had) != 3 {
			s.fail("only these had a term after the faults: %v", s.had)
		}
		held, err := b.Holders(context.WithoutCancel(ctx), "")
		if err != nil || len(held) > 0 {
			s.fail("held at the end: %v, %v", held, err)
		}
	})
	return s
}

// process lives, crashes, and is started again, as the seed says.
func (s *stage) process(ctx context.Context, b *memory.Backend, i int) {
	r := s.chance("process", i)
	for life := 0; ctx.Err() == nil; life++ {
		s.live(ctx, b, r, i, life)
		nap(ctx, time.Duration(r.Int64N(int64(2*time.Second))))
	}
}

func (s *stage) live(ctx context.Context, b *memory.Backend, r *rand.Rand, i, life int) {
	ctx, crash := context.WithCancel(ctx)
	defer crash()
	var wg sync.WaitGroup
	defer wg.Wait()
	id := fmt.Sprintf("%d.%d", i, life)
	jump := new(hold.Jump)
	// Chance is a matter of the time, so that it is the same whoever of those who run at one moment asks first.
	w := world{clock: hold.Clock{Jump: jump}, random: func() float64 { return s.chance("random", i, life, s.moment()).Float64() }}
	var handle *memory.Backend
	die := func() {
		s.mu.Lock()
		s.tally.Crashes++
		s.on = slices.DeleteFunc(s.on, func(a *actor) bool { return a.id == id })
		s.note("%s crashes", id)
		s.mu.Unlock()
		crash()
	}
	handle = b.Open(memory.Config{Fault: func(op memory.Op) memory.Fault { return s.fault(op, i, life, die) }})
	// The process's clock is up to 0.9 % slow or fast, and now and then it is stopped for a while.
	wg.Go(func() {
		r := s.chance("clock", i, life)
		drift := time.Duration(r.Int64N(19)-9) * 100 * time.Microsecond
		for nap(ctx, 100*time.Millisecond+time.Duration(r.Int64N(1000))) {
			jump.Stopped(drift)
			if s.wild() && r.IntN(60) == 0 {
				d := time.Duration(r.Int64N(int64(4 * time.Second)))
				s.mu.Lock()
				s.tally.Stops++
				s.note("%s is stopped for %v", id, d)
				s.mu.Unlock()
				jump.Stopped(d)
			}
		}
	})
	for ctx.Err() == nil {
		var l port.Leases = handle
		if s.kind.fair {
			l = &usher{Leases: handle, s: s, all: b, id: id}
		}
		err := s.kind.run(ctx, l, id, w, func(ctx context.Context, term Term) error { return s.act(ctx, r, id, term) })
		if errors.Is(err, port.ErrClosed) || ctx.Err() != nil { // of one that crashed either comes first
			return
		}
		nap(ctx, time.Duration(r.Int64N(int64(200*time.Millisecond))))
	}
}

// act is the function that runs with a term: it writes through Guard, and stops within the drain budget when it has to.
func (s *stage) act(ctx context.Context, r *rand.Rand, id string, term Term) error {
	a := &actor{id: id, term: term, ctx: ctx}
	fence := term.Fence()
	s.mu.Lock()
	s.tally.Terms++
	s.moved = time.Since(s.start)
	s.note("%s begins with %s %d", id, fence.Name, fence.Token)
	if last := s.last[fence.Name]; fence.Token < last || fence.Token == last && !s.shares(id) {
		s.failed("%s got token %d after %d", id, fence.Token, last)
	}
	s.last[fence.Name] = fence.Token
	if time.Since(s.start) > s.calm+6*playTTL {
		s.had[id[0]] = true
	}
	s.on = append(s.on, a)
	s.tally.Together = max(s.tally.Together, len(s.on))
	if len(s.on) > s.kind.most && slices.ContainsFunc(s.on, func(a *actor) bool { return !s.shares(a.id) }) {
		for _, other := range s.on {
			s.failed("%s is on the stage, its ctx: %v", other.id, other.ctx.Err())
		}
	}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.on = slices.DeleteFunc(s.on, func(o *actor) bool { return o == a })
		s.moved = time.Since(s.start)
		s.note("%s ends", id)
		s.mu.Unlock()
	}()
	acts := 60
	if s.kind.fair {
		acts = 8
	}
	for range 1 + r.IntN(acts) {
		if !nap(ctx, time.Duration(1+r.Int64N(int64(300*time.Millisecond)))) {
			if errors.Is(context.Cause(ctx), port.ErrLost) {
				s.mu.Lock()
				s.tally.Lost++
				s.mu.Unlock()
			}
			nap(context.WithoutCancel(ctx), time.Duration(r.Int64N(int64(playTTL/5-10*time.Millisecond)))) // it needs some time to stop
			break
		}
		err := term.Guard(func() error {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.tally.Acts++
			held, alone := 0, false
			for _, other := range s.on {
				if other.term.Held() {
					held++
					alone = alone || !s.shares(other.id)
				}
			}
			if held > s.kind.most && alone {
				s.failed("%d hold it", held)
			}
			if fence.Token < s.gate[fence.Name] && ctx.Err() == nil {
				s.failed("%s acts with token %d after %d, guarded", id, fence.Token, s.gate[fence.Name])
			}
			s.gate[fence.Name] = max(s.gate[fence.Name], fence.Token)
			return nil
		})
		if err != nil {
			s.mu.Lock()
			s.tally.Late++
			s.mu.Unlock()
		}
	}
	return nil
}

// fault is what goes wrong with an operation: a matter of the seed, the process and the time.
func (s *stage) fault(op memory.Op, i, life int, die func()) memory.Fault {
	r := s.chance("fault "+op.Name+" "+op.Point.String(), i, life, s.moment())
	f := memory.Fault{Delay: time.Duration(1 + r.Int64N(int64(2*time.Millisecond)))} // no two things at the same moment
	if !s.wild() {
		return f
	}
	switch slow, down := s.storm(i); {
	case down && r.IntN(3) > 0:
		f.Err = errNet
	case down:
		f.Delay += time.Duration(r.Int64N(int64(4 * time.Second)))
		f.Err = errNet
	case slow && op.Point == memory.After:
		f.Delay += time.Duration(r.Int64N(int64(time.Second)))
	default:
		return s.mishap(f, r, life, die)
	}
	s.mu.Lock()
	s.tally.Faults++
	s.mu.Unlock()
	return f
}

// storm says how the network of a process is at this time: there are two storms, each slow at first and then down.
func (s *stage) storm(i int) (slow, down bool) {
	r := s.chance("storm", i)
	now := time.Since(s.start)
	for range 2 {
		from := time.Duration(r.Int64N(int64(s.calm)))
		turn := from + time.Duration(r.Int64N(int64(2*time.Second)))
		till := turn + time.Duration(r.Int64N(int64(5*time.Second)))
		slow = slow || from <= now && now < turn
		down = down || turn <= now && now < till
	}
	return slow, down
}

// mishap is what goes wrong with one operation by itself.
func (s *stage) mishap(f memory.Fault, r *rand.Rand, life int, die func()) memory.Fault {
	switch n := r.IntN(100); {
	case n < 6:
		f.Err = errNet
	case n < 12:
		f.Delay += time.Duration(r.Int64N(int64(time.Second)))
	case n < 14:
		f.Delay += time.Duration(r.Int64N(int64(8 * time.Second)))
	case n < 15:
		f.Twice = true
	case n < 16 && life < 3:
		f.Cut = true
		nap(context.Background(), f.Delay) // no crash at the same moment as another step
		f.Delay = 0
		die()
	default:
		return f
	}
	s.mu.Lock()
	s.tally.Faults++
	s.mu.Unlock()
	return f
}

func (s *stage) shares(id string) bool { return s.kind.reads != nil && s.kind.reads(id) }

// moment is the time since the beginning.
func (s *stage) moment() int { return int(time.Since(s.start)) }

func (s *stage) wild() bool { return time.Since(s.start) < s.calm }

// chance is a source of its own for one purpose, so that what one process does not ask for changes nothing for another.
func (s *stage) chance(what string, parts ...int) *rand.Rand {
	return rand.New(rand.NewPCG(s.seed, s.hash(what, parts...)))
}

func (s *stage) hash(what string, parts ...int) uint64 {
	h := fnv.New64a()
	_, _ = fmt.Fprint(h, s.seed, what, parts)
	return h.Sum64()
}

// note and failed are called with s.mu held.
func (s *stage) note(format string, args ...any) {
	s.trace = append(s.trace, fmt.Sprintf("%v "+format, append([]any{time.Since(s.start)}, args...)...))
}

func (s *stage) failed(format string, args ...any) {
	s.note("WRONG: "+format, args...)
	s.wrong = append(s.wrong, s.trace[len(s.trace)-1])
}

func (s *stage) fail(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wrong = append(s.wrong, fmt.Sprintf(format, args...))
}

// nap waits for d; false when ctx ends before.
func nap(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
