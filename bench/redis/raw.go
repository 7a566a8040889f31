package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/musterhq/muster/bench"
)

const (
	rawStream = "bench:{in}"
	rawGroup  = "bench"
)

// raw is what a good programmer writes by hand with rueidis, without a library: streams and groups, one field for the body, no
// numbers of tries, no dead letters, no memory of what was done.
type raw struct {
	ctx    context.Context
	client rueidis.Client
	body   string
	tuned  bool
}

// rawTuned is with all that was found to help: one connection, writes gathered for 20 us.
func rawOptions(addr string, tuned bool) rueidis.ClientOption {
	o := rueidis.ClientOption{InitAddress: []string{addr}, ForceSingleClient: true, DisableCache: true}
	if tuned {
		o.MaxFlushDelay = 20 * time.Microsecond
	}
	return o
}

func openRaw(ctx context.Context, s *server, tuned bool) (*raw, error) {
	if err := s.clear(ctx); err != nil {
		return nil, err
	}
	c, err := rueidis.NewClient(rawOptions(s.addr, tuned))
	if err != nil {
		return nil, err
	}
	return &raw{ctx: ctx, client: c, body: rueidis.BinaryString(payload()), tuned: tuned}, nil
}

func (r *raw) Close() error {
	r.client.Close()
	return nil
}

func (r *raw) publish(stream string) error {
	return r.client.Do(r.ctx, r.client.B().Xadd().Key(stream).Id("*").FieldValue().FieldValue("m", r.body).Build()).Error()
}

// remembering is the least that recognises a message which is published again within two minutes: its ID is a key of its own, which is
// set and the message appended in one script.
var remembering = rueidis.NewLuaScript(`
if not redis.call('SET', KEYS[2], '', 'NX', 'PX', 120000) then return 0 end
redis.call('XADD', KEYS[1], '*', 'i', ARGV[1], 'm', ARGV[2])
return 1`)

// publishOnce publishes a message with an ID that is as long as a UUID.
func (r *raw) publishOnce(stream string, id uint64) error {
	name := fmt.Sprintf("0198c0de-0000-7000-8000-%012d", id)
	done, err := remembering.Exec(r.ctx, r.client, []string{stream, stream + ":" + name}, []string{name, r.body}).AsInt64()
	if err == nil && done == 0 {
		err = errors.New("a new ID is known")
	}
	return err
}

// fill appends n messages in pipelines of 500.
func (r *raw) fill(stream string, n int) error {
	for n > 0 {
		some := min(n, 500)
		cmds := make([]rueidis.Completed, some)
		for i := range cmds {
			cmds[i] = r.client.B().Xadd().Key(stream).Id("*").FieldValue().FieldValue("m", r.body).Build()
		}
		for _, res := range r.client.DoMulti(r.ctx, cmds...) {
			if res.Error() != nil {
				return res.Error()
			}
		}
		n -= some
	}
	return nil
}

func (r *raw) join(stream string) error {
	return r.client.Do(r.ctx, r.client.B().XgroupCreate().Key(stream).Group(rawGroup).Id("0").Mkstream().Build()).Error()
}

// read fetches up to count entries; it waits for the first.
func (r *raw) read(ctx context.Context, stream string, count int64) ([]rueidis.XRangeEntry, error) {
	cmd := r.client.B().Xreadgroup().Group(rawGroup, "one").Count(count).Block(1000).Streams().Key(stream).Id(">").Build()
	m, err := r.client.Do(ctx, cmd).AsXRead()
	if rueidis.IsRedisNil(err) {
		return nil, nil
	}
	return m[stream], err
}

func (r *raw) ack(ids ...string) error {
	return r.client.Do(r.ctx, r.client.B().Xack().Key(rawStream).Group(rawGroup).Id(ids...).Build()).Error()
}

func ids(entries []rueidis.XRangeEntry) []string {
	out := make([]string, len(entries))
	for i := range entries {
		out[i] = entries[i].ID
	}
	return out
}

// loop works off n messages. Tuned reads ahead while done, which ends with the acknowledgement, runs for the batch before.
func (r *raw) loop(stream string, n int, done func([]rueidis.XRangeEntry) error) error {
	if !r.tuned {
		for n > 0 {
			entries, err := r.read(r.ctx, stream, 10)
			if err != nil {
				return err
			}
			for i := range entries {
				if err := done(entries[i : i+1]); err != nil {
					return err
				}
			}
			n -= len(entries)
		}
		return nil
	}
	ctx, stop := context.WithCancelCause(r.ctx)
	defer stop(nil)
	batches := make(chan []rueidis.XRangeEntry, 2)
	var work sync.WaitGroup
	work.Go(func() {
		for b := range batches {
			if err := done(b); err != nil {
				stop(err)
				return
			}
		}
	})
	var err error
	for n > 0 && err == nil {
		var entries []rueidis.XRangeEntry
		if entries, err = r.read(ctx, stream, 500); len(entries) > 0 {
			select {
			case batches <- entries:
			case <-ctx.Done():
			}
		}
		n -= len(entries)
	}
	close(batches)
	work.Wait()
	return errors.Join(err, context.Cause(ctx))
}

// callers runs fn n times from so many goroutines.
func callers(n, many int, fn func() error) error {
	var left atomic.Int64
	left.Store(int64(n))
	errs := make([]error, many)
	var work sync.WaitGroup
	for i := range many {
		work.Go(func() {
			for left.Add(-1) >= 0 && errs[i] == nil {
				errs[i] = fn()
			}
		})
	}
	work.Wait()
	return errors.Join(errs...)
}

// rawPublish publishes from many callers.
type rawPublish struct {
	*raw
	many int
}

func (r *rawPublish) Move(n int) error {
	return callers(n, r.many, func() error { return r.publish(rawStream) })
}

// rawRemembers publishes from many callers messages that would be recognised.
type rawRemembers struct {
	*raw
	many int
	last atomic.Uint64
}

func (r *rawRemembers) Move(n int) error {
	return callers(n, r.many, func() error { return r.publishOnce(rawStream, r.last.Add(1)) })
}

// rawBacklog works off what was there before.
type rawBacklog struct{ *raw }

func (r *rawBacklog) Prepare(n int) error { return r.fill(rawStream, n) }

func (r *rawBacklog) Move(n int) error {
	return r.loop(rawStream, n, func(es []rueidis.XRangeEntry) error { return r.ack(ids(es)...) })
}

// rawFlow publishes and consumes at once.
type rawFlow struct {
	*raw
	many int
}

func (r *rawFlow) Move(n int) error {
	done := make(chan error, 1)
	go func() {
		done <- r.loop(rawStream, n, func(es []rueidis.XRangeEntry) error { return r.ack(ids(es)...) })
	}()
	err := callers(n, r.many, func() error { return r.publish(rawStream) })
	return errors.Join(err, <-done)
}

// rawWorkers has 64 workers of 1 ms, and acknowledges what gathers meanwhile.
type rawWorkers struct {
	*raw
	rest func()
}

func (r *rawWorkers) Prepare(n int) error { return r.fill(rawStream, n) }

func (r *rawWorkers) Move(n int) error {
	work, acks := make(chan string, 128), make(chan string, 1024)
	var workers sync.WaitGroup
	for range 64 {
		workers.Go(func() {
			for id := range work {
				r.rest()
				acks <- id
			}
		})
	}
	acked := make(chan error, 1)
	go func() {
		var err error
		for id := range acks {
			list := []string{id}
			for more := true; more && len(list) < 500; {
				select {
				case next, ok := <-acks:
					if more = ok; ok {
						list = append(list, next)
					}
				default:
					more = false
				}
			}
			err = errors.Join(err, r.ack(list...))
		}
		acked <- err
	}()
	var err error
	for n > 0 && err == nil {
		var entries []rueidis.XRangeEntry
		entries, err = r.read(r.ctx, rawStream, 64)
		for i := range entries {
			work <- entries[i].ID
		}
		n -= len(entries)
	}
	close(work)
	workers.Wait()
	close(acks)
	return errors.Join(err, <-acked)
}

// rawHops passes messages from stream to stream. Script has each batch's outputs and acknowledgement in one script, else they are
// pipelined, which is not one step.
type rawHops struct {
	*raw
	hops   int
	script bool
}

func hopStream(i int) string { return "bench:{in}:" + strconv.Itoa(i) }

var hopScript = rueidis.NewLuaScript(`
for i = 2, #ARGV, 2 do redis.call('XADD', KEYS[2], '*', 'm', ARGV[i + 1]) end
local ids = {}
for i = 2, #ARGV, 2 do ids[#ids + 1] = ARGV[i] end
return redis.call('XACK', KEYS[1], ARGV[1], unpack(ids))`)

func (r *rawHops) Prepare(n int) error {
	return r.fill(hopStream(0), n)
}

func (r *rawHops) Move(n int) error {
	n /= r.hops
	errs := make([]error, r.hops)
	var work sync.WaitGroup
	for i := range r.hops {
		work.Go(func() {
			from, to := hopStream(i), hopStream(i+1)
			errs[i] = r.loop(from, n, func(es []rueidis.XRangeEntry) error { return r.pass(from, to, es) })
		})
	}
	work.Wait()
	return errors.Join(errs...)
}

func (r *rawHops) pass(from, to string, es []rueidis.XRangeEntry) error {
	if r.script {
		args := make([]string, 1, 1+2*len(es))
		args[0] = rawGroup
		for i := range es {
			args = append(args, es[i].ID, es[i].FieldValues["m"])
		}
		return hopScript.Exec(r.ctx, r.client, []string{from, to}, args).Error()
	}
	cmds := make([]rueidis.Completed, len(es), len(es)+1)
	for i := range es {
		cmds[i] = r.client.B().Xadd().Key(to).Id("*").FieldValue().FieldValue("m", es[i].FieldValues["m"]).Build()
	}
	cmds = append(cmds, r.client.B().Xack().Key(from).Group(rawGroup).Id(ids(es)...).Build())
	for _, res := range r.client.DoMulti(r.ctx, cmds...) {
		if res.Error() != nil {
			return res.Error()
		}
	}
	return nil
}

func (f *field) raw(tuned bool, wrap func(*raw) bench.Contest, streams ...string) func(context.Context) (bench.Contest, error) {
	return func(ctx context.Context) (bench.Contest, error) {
		r, err := openRaw(ctx, f.server, tuned)
		if err != nil {
			return nil, err
		}
		for _, s := range streams {
			if err := r.join(s); err != nil {
				r.client.Close()
				return nil, err
			}
		}
		return wrap(r), nil
	}
}
