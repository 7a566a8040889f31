package main

import (
	"errors"
	"strconv"
	"sync/atomic"

	"github.com/redis/rueidis"

	"github.com/musterhq/muster/bench"
	"github.com/musterhq/muster/port"
)

// keyCount is how many keys the callers of a suite touch in turn.
const keyCount = 1000

// swapText is a compare-and-set by hand.
const swapText = `if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end redis.call('SET', KEYS[1], ARGV[2]) return 1`

var swapScript = rueidis.NewLuaScript(swapText)

var errSwap = errors.New("the value is not what it should be")

// turn gives out the keys in turn.
type turn struct{ at atomic.Int64 }

func (t *turn) key() string { return "bench/" + strconv.FormatInt(t.at.Add(1)%keyCount, 10) }

// store is one way to get, set and compare-and-set a value.
type store interface {
	get(key string) error
	set(key string) error
	swap(key string) error // from the one value that is ever set to the same
}

// stored is a contest of one of the three.
type stored struct {
	store
	turn  turn
	do    func(store, string) error
	close func() error
}

func (s *stored) Close() error { return s.close() }

// Prepare has all keys there.
func (s *stored) Prepare(int) error {
	return callers(keyCount, 64, func() error { return s.set(s.turn.key()) })
}

func (s *stored) Move(n int) error {
	return callers(n, 64, func() error { return s.do(s.store, s.turn.key()) })
}

type rawStore struct{ *raw }

func (r rawStore) get(key string) error {
	return r.client.Do(r.ctx, r.client.B().Get().Key(key).Build()).Error()
}

func (r rawStore) set(key string) error {
	return r.client.Do(r.ctx, r.client.B().Set().Key(key).Value(r.body).Build()).Error()
}

func (r rawStore) swap(key string) error {
	n, err := swapScript.Exec(r.ctx, r.client, []string{key}, []string{r.body, r.body}).AsInt64()
	if err == nil && n != 1 {
		err = errSwap
	}
	return err
}

type goRedisStore struct{ *goRedis }

func (g goRedisStore) get(key string) error { return g.client.Get(g.ctx, key).Err() }
func (g goRedisStore) set(key string) error { return g.client.Set(g.ctx, key, g.body, 0).Err() }

func (g goRedisStore) swap(key string) error {
	n, err := g.swapScript.Run(g.ctx, g.client, []string{key}, g.body, g.body).Int()
	if err == nil && n != 1 {
		err = errSwap
	}
	return err
}

type musterStore struct{ *muster }

func (m musterStore) get(key string) error {
	_, err := m.b.Get(m.ctx, key)
	return err
}

func (m musterStore) set(key string) error { return m.apply(port.Change{Key: key, Value: m.body}) }

func (m musterStore) swap(key string) error {
	return m.apply(port.Change{Key: key, Value: m.body, If: port.Equals, Old: m.body})
}

func (m musterStore) apply(c port.Change) error {
	done, err := m.b.Apply(m.ctx, c)
	switch {
	case err != nil:
		return err
	case !done[0].Done:
		return errors.Join(errSwap, done[0].Err)
	default:
		return nil
	}
}

func (f *field) stores(work int, do func(store, string) error) []bench.Contender {
	open := func(s store, end func() error) bench.Contest { return &stored{store: s, do: do, close: end} }
	return []bench.Contender{
		{Name: "go-redis", Work: work / 2, Open: f.goRedis(func(g *goRedis) bench.Contest { return open(goRedisStore{g}, g.Close) })},
		{Name: "rueidis-simple", Work: work, Open: f.raw(false, func(r *raw) bench.Contest { return open(rawStore{r}, r.Close) })},
		{Name: "rueidis-tuned", Work: work, Open: f.raw(true, func(r *raw) bench.Contest { return open(rawStore{r}, r.Close) })},
		{Name: "muster", Work: work, Open: f.muster(full, func(m *muster) bench.Contest { return open(musterStore{m}, m.Close) })},
	}
}
