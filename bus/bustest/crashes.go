package bustest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/musterhq/muster/adapter/memory"
	"github.com/musterhq/muster/port"
)

// Plan is a run to be cut.
type Plan struct {
	// Seed publishes what there is to do, on a handle that is never cut; default nothing.
	Seed func(ctx context.Context, b port.Backend) error
	// Work is the process under test: it subscribes, and blocks until ctx ends, then returns nil. It is started a second time
	// after its crash, on another handle; what it shares with the first run must be in the backend.
	Work func(ctx context.Context, b port.Backend) error
	// Check looks at what is left when nothing is waiting, on loan or delayed in any group.
	Check func(t *testing.T, b port.Backend)
}

// patience is how long, in virtual time, a run may take until nothing is left to do.
const patience = 24 * time.Hour

// Crashes runs the plan once whole, and then once for each point of each operation that the whole run asked of its backend:
// there the worker's process ends, its loans run out, and a second worker goes on. Each run has a synctest bubble of its own, so
// loans cost no time. All of it is done twice: on an atomic backend, and on one that carries steps out part by part, so
// that a crash leaves half of one behind.
func Crashes(t *testing.T, p Plan) {
	for _, mode := range []struct {
		name   string
		config memory.Config
	}{
		{"atomic", memory.Config{}},
		{"stepwise", memory.Config{Stepwise: true}},
	} {
		t.Run(mode.name, func(t *testing.T) {
			var ops []memory.Op
			t.Run("whole", func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { ops = p.run(t, mode.config, 0) })
			})
			for _, op := range ops {
				if t.Failed() {
					return // one is enough to look into
				}
				t.Run(fmt.Sprintf("cut %d %s %s", op.N, op.Point, op.Name), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { p.run(t, mode.config, op.N) })
				})
			}
		})
	}
}

// run makes one run that is cut at question n (0: none) and returns the operations of its first worker.
func (p Plan) run(t *testing.T, config memory.Config, n int) []memory.Op {
	store := memory.New(config)
	if p.Seed != nil {
		if err := p.Seed(t.Context(), store); err != nil {
			t.Fatalf("seed: %v", err)
		}
	}
	var mu sync.Mutex
	var ops []memory.Op
	crashed := make(chan struct{})
	config.Fault = func(op memory.Op) memory.Fault {
		mu.Lock()
		defer mu.Unlock()
		ops = append(ops, op)
		if op.N == n {
			close(crashed)
		}
		return memory.Fault{Cut: op.N == n}
	}
	first := p.start(t, store.Open(config))
	if settled(t, store, crashed) {
		first.end(t, crashed)
	} else {
		<-crashed
		if err := first.wait(); err == nil || !errors.Is(err, port.ErrClosed) {
			t.Errorf("the worker whose process ended returned %v, not port.ErrClosed", err)
		}
		config.Fault = nil
		second := p.start(t, store.Open(config))
		if !settled(t, store, nil) {
			t.Error("after recovery there is still something to do")
		}
		second.end(t, nil)
	}
	p.Check(t, store)
	mu.Lock()
	defer mu.Unlock()
	return ops
}

// process is one run of Work.
type process struct {
	stop context.CancelFunc
	done chan error
}

func (p Plan) start(t *testing.T, b *memory.Backend) process {
	ctx, stop := context.WithCancel(t.Context())
	w := process{stop: stop, done: make(chan error, 1)}
	go func() { w.done <- p.Work(ctx, b) }()
	return w
}

func (w process) wait() error {
	defer w.stop()
	return <-w.done
}

// end stops a worker that has nothing left to do. It may still be cut where it ends.
func (w process) end(t *testing.T, crashed <-chan struct{}) {
	w.stop()
	err := <-w.done
	select {
	case <-crashed:
		if errors.Is(err, port.ErrClosed) {
			return
		}
	default:
	}
	if err != nil {
		t.Errorf("the worker ended with %v", err)
	}
}

// settled waits until nothing is left to do in any group, and reports whether that came before crashed and within patience.
func settled(t *testing.T, b *memory.Backend, crashed <-chan struct{}) bool {
	for begin := time.Now(); time.Since(begin) < patience; {
		select {
		case <-crashed:
			return false
		case <-time.After(time.Second):
		}
		synctest.Wait()
		left := int64(0)
		for info, err := range b.Inspect(t.Context(), "*") {
			if err != nil {
				t.Fatalf("inspect: %v", err)
			}
			left += info.Delayed
			for _, g := range info.Groups {
				left += g.Lag + g.Loaned + g.Delayed
			}
		}
		if left == 0 {
			return true
		}
	}
	t.Errorf("after %v of virtual time there is still something to do", patience)
	return false
}
