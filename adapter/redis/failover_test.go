package redis_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/musterhq/muster/adapter/redis"
	"github.com/musterhq/muster/internal/testserver"
	"github.com/musterhq/muster/port"
)

// eventually calls fn until it returns nil. The limit is for a machine that is busy with everything else.
func eventually(t *testing.T, what string, fn func() error) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	late := time.After(time.Minute)
	for {
		err := fn()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("%s: not within a minute: %v", what, err)
		}
	}
}

func lease(name, nonce string) port.Lease { return port.Lease{Name: name, Owner: nonce, Nonce: nonce} }

func TestWorkGoesOnByItselfAfterAFailover(t *testing.T) {
	for _, c := range []struct {
		name string
		run  func(t *testing.T) (url string, fail func())
	}{
		{"behind sentinels", func(t *testing.T) (string, func()) {
			k := testserver.NewRedisSentinel(t, testserver.RedisConfig{})
			return k.URL(), func() {
				k.Servers[0].Kill()
				k.AwaitMaster(k.Servers[1])
			}
		}},
		{"in a cluster", func(t *testing.T) (string, func()) {
			k := testserver.NewRedisCluster(t, testserver.RedisConfig{})
			return k.URL(), func() {
				k.Master("orders").Kill()
				k.AwaitWhole()
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			url, fail := c.run(t)
			b := open(t, redis.Config{URL: url, Namespace: "failover", Timeout: time.Second})
			before, err := b.Acquire(t.Context(), lease("orders", "n1"), time.Millisecond)
			if err != nil {
				t.Fatal(err)
			}
			g := port.Group{Topic: "orders", Name: "billing", Consumer: "c1", Loan: time.Minute}
			eventually(t, "join", func() error { return b.Join(t.Context(), g) })
			fail()
			eventually(t, "join again, where the replica did not have the group yet", func() error { return b.Join(t.Context(), g) })
			eventually(t, "write", func() error {
				return b.Write(t.Context(), port.Batch{ID: "b1", Messages: []port.Message{{Topic: "orders", ID: "m1", Body: []byte("1")}}})
			})
			eventually(t, "fetch", func() error {
				ds, err := b.Fetch(t.Context(), g, 1)
				if err != nil {
					return err
				}
				return b.Settle(t.Context(), g, port.Settlement{Receipt: ds[0].Receipt})[0]
			})
			eventually(t, "a larger token", func() error {
				after, err := b.Acquire(t.Context(), lease("orders", "n2"), time.Minute)
				if err == nil && after.Token <= before.Token {
					t.Fatalf("the token went from %d to %d", before.Token, after.Token)
				}
				return err
			})
		})
	}
}

func TestNoLeaseIsGrantedForAWhileAfterTheMasterChanged(t *testing.T) {
	t.Parallel()
	k := testserver.NewRedisSentinel(t, testserver.RedisConfig{})
	b := open(t, redis.Config{URL: k.URL(), Timeout: time.Second, Replicas: 1, Quarantine: time.Millisecond})
	if _, err := b.Acquire(t.Context(), lease("leader", "n1"), time.Hour); !errors.Is(err, port.ErrUnavailable) {
		t.Fatalf("the first lease of all: %v, want %v: nothing tells what was granted before", err, port.ErrUnavailable)
	}
	var held port.Lease
	eventually(t, "a lease once the first quarantine is over", func() (err error) {
		held, err = b.Acquire(t.Context(), lease("leader", "n1"), time.Hour)
		return err
	})
	k.Servers[0].Kill()
	k.AwaitMaster(k.Servers[1])
	eventually(t, "renew", func() error {
		_, errs := b.Renew(t.Context(), time.Hour, held)
		return errs[0]
	})
	alone := open(t, redis.Config{URL: k.URL(), Timeout: time.Second, Quarantine: time.Hour})
	_, err := alone.Acquire(t.Context(), lease("other", "n2"), time.Hour)
	if !errors.Is(err, port.ErrUnavailable) {
		t.Fatalf("a new lease after the change: %v, want %v", err, port.ErrUnavailable)
	}
	short := open(t, redis.Config{URL: k.URL(), Timeout: time.Second, Quarantine: time.Millisecond})
	eventually(t, "a new lease after the quarantine", func() error {
		_, err := short.Acquire(t.Context(), lease("other", "n2"), time.Hour)
		return err
	})
}

func TestALeaseThatTooFewReplicasHaveIsGivenBack(t *testing.T) {
	t.Parallel()
	master := testserver.Redis(t, testserver.RedisConfig{})
	replica := testserver.Redis(t, testserver.RedisConfig{ReplicaOf: master, Lines: []string{"repl-diskless-sync-delay 0"}})
	b := open(t, redis.Config{URL: master.URL(), Timeout: 200 * time.Millisecond, Replicas: 1})
	eventually(t, "a lease that the replica has", func() error {
		_, err := b.Acquire(t.Context(), lease("a", "n1"), time.Hour)
		return err
	})
	replica.Kill()
	if _, err := b.Acquire(t.Context(), lease("b", "n1"), time.Hour); !errors.Is(err, port.ErrUnavailable) {
		t.Fatalf("a lease without a replica: %v, want %v", err, port.ErrUnavailable)
	}
	held, err := b.Holders(t.Context(), "")
	if err != nil || len(held) != 1 || held[0].Name != "a" {
		t.Fatalf("held are %v (%v), want a alone", held, err)
	}
}

// load writes and handles messages of one family until stop, and returns when all that was written is handled.
type load struct {
	t       *testing.T
	b       *redis.Backend
	written map[string]bool
}

func (l *load) write(stop <-chan struct{}) {
	for i := 0; ; i++ {
		select {
		case <-stop:
			return
		default:
		}
		id := "m" + strconv.Itoa(i)
		eventually(l.t, "write "+id, func() error {
			err := l.b.Write(l.t.Context(), port.Batch{ID: id, Messages: []port.Message{{Topic: "orders", ID: id, Body: []byte(id)}}})
			if errors.Is(err, port.ErrDuplicate) {
				return nil
			}
			return err
		})
		l.written[id] = true
	}
}

func (l *load) handle(g port.Group, count func(id string), done func() bool) {
	for !done() {
		ctx, end := context.WithTimeout(l.t.Context(), 100*time.Millisecond)
		ds, err := l.b.Fetch(ctx, g, 50)
		end()
		if err != nil {
			continue // it is asked again until all is handled
		}
		for _, d := range ds {
			var settled error
			eventually(l.t, "settle", func() error {
				settled = l.b.Settle(l.t.Context(), g, port.Settlement{Receipt: d.Receipt, Then: port.Batch{
					Messages: []port.Message{{Topic: "orders.done", ID: "done-" + d.Message.ID}},
				}})[0]
				if errors.Is(settled, port.ErrStale) {
					return nil // finished by an attempt before
				}
				return settled
			})
			count(d.Message.ID)
		}
	}
}

func TestNothingIsLostOrDoubledWhileASlotMoves(t *testing.T) {
	t.Parallel()
	k := testserver.NewRedisCluster(t, testserver.RedisConfig{})
	b := open(t, redis.Config{URL: k.URL(), Timeout: 2 * time.Second})
	g := port.Group{Topic: "orders", Name: "billing", Consumer: "c1", Loan: time.Minute}
	if err := b.Join(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	l := &load{t: t, b: b, written: map[string]bool{}}
	stop, wrote := make(chan struct{}), make(chan struct{})
	var mu sync.Mutex
	handled := map[string]bool{}
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(wrote)
		l.write(stop)
	})
	wg.Go(func() {
		l.handle(g, func(id string) {
			mu.Lock()
			defer mu.Unlock()
			handled[id] = true
		}, func() bool {
			select {
			case <-wrote:
			default:
				return false
			}
			mu.Lock()
			defer mu.Unlock()
			return len(handled) == len(l.written)
		})
	})
	moves := 0
	for many := 0; many < 1000; moves++ {
		k.MoveSlot("orders")
		mu.Lock()
		many = len(handled)
		mu.Unlock()
	}
	close(stop)
	wg.Wait()
	seen := map[string]int{}
	for after := port.Earliest; ; {
		part, err := b.Read(t.Context(), port.Range{Topic: "orders.done", After: after, Max: 500})
		if err != nil {
			t.Fatal(err)
		}
		if len(part) == 0 {
			break
		}
		for _, s := range part {
			seen[s.Message.ID]++
			after = s.Offset
		}
	}
	for id := range l.written {
		if n := seen["done-"+id]; n != 1 {
			t.Errorf("%s was done %d times", id, n)
		}
	}
	t.Logf("%d messages while the slot moved %d times", len(l.written), moves)
}

func TestKeysAreAllThereWhileSlotsMove(t *testing.T) {
	t.Parallel()
	k := testserver.NewRedisCluster(t, testserver.RedisConfig{})
	b := open(t, redis.Config{URL: k.URL(), Timeout: 2 * time.Second})
	const families, each = 20, 50
	for i := range families * each {
		key := fmt.Sprintf("f%d/%d", i%families, i)
		if _, err := b.Apply(t.Context(), port.Change{Key: key}); err != nil {
			t.Fatal(err)
		}
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(stop)
		for i := range 6 {
			k.MoveSlot("f" + strconv.Itoa(i))
		}
	})
	for moving := true; moving; {
		select {
		case <-stop:
			moving = false
		default:
		}
		count := 0
		for _, err := range b.Keys(t.Context(), "f*") {
			if err != nil {
				t.Fatal(err)
			}
			count++
		}
		if count != families*each {
			t.Fatalf("%d keys, want %d", count, families*each)
		}
	}
	wg.Wait()
}
