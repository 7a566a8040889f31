package main

import (
	"bytes"
	"time"

	"github.com/musterhq/muster/bench"
)

// payloadSize is the bytes of a message, with every contender.
const payloadSize = 256

func payload() []byte { return bytes.Repeat([]byte("m"), payloadSize) }

// field is what the contenders have in common.
type field struct{ server *server }

// suite is one kind of work. Ratios are to the contenders named in against.
type suite struct {
	name       string
	what       string
	against    []string
	contenders []bench.Contender
}

var (
	full  = kind{}
	bare  = kind{bare: true}
	plain = kind{bare: true, plain: true}
)

func (f *field) suites() []suite {
	return []suite{
		{"publish1", "one caller publishes", []string{"rueidis-tuned", "rueidis-remembers"}, []bench.Contender{
			{Name: "go-redis", Work: 5_000, Open: f.goRedis(func(g *goRedis) bench.Contest { return &goRedisPublish{g, 1} })},
			{Name: "watermill", Work: 5_000, Open: f.mill(func(m *mill) bench.Contest { return &millPublish{m, 1} })},
			{Name: "asynq", Work: 5_000, Open: f.tasks(func(t *tasks) bench.Contest { return &tasksPublish{t, 1} })},
			{Name: "rueidis-tuned", Work: 10_000, Open: f.raw(true, func(r *raw) bench.Contest { return &rawPublish{r, 1} })},
			{Name: "rueidis-remembers", Work: 10_000, Open: f.raw(true, func(r *raw) bench.Contest { return &rawRemembers{raw: r, many: 1} })},
			{Name: "muster", Work: 10_000, Open: f.muster(full, func(m *muster) bench.Contest { return &musterPublish{m, 1} })},
			{Name: "muster-plain", Work: 10_000, Open: f.muster(plain, func(m *muster) bench.Contest { return &musterPublish{m, 1} })},
		}},
		{"publish64", "64 callers publish one message a call", []string{"rueidis-tuned", "rueidis-remembers"}, []bench.Contender{
			{Name: "go-redis", Work: 20_000, Open: f.goRedis(func(g *goRedis) bench.Contest { return &goRedisPublish{g, 64} })},
			{Name: "watermill", Work: 20_000, Open: f.mill(func(m *mill) bench.Contest { return &millPublish{m, 64} })},
			{Name: "asynq", Work: 10_000, Open: f.tasks(func(t *tasks) bench.Contest { return &tasksPublish{t, 64} })},
			{Name: "rueidis-tuned", Work: 100_000, Open: f.raw(true, func(r *raw) bench.Contest { return &rawPublish{r, 64} })},
			{Name: "rueidis-simple", Work: 50_000, Open: f.raw(false, func(r *raw) bench.Contest { return &rawPublish{r, 64} })},
			{Name: "rueidis-remembers", Work: 50_000, Open: f.raw(true, func(r *raw) bench.Contest { return &rawRemembers{raw: r, many: 64} })},
			{Name: "muster", Work: 50_000, Open: f.muster(full, func(m *muster) bench.Contest { return &musterPublish{m, 64} })},
			{Name: "muster-plain", Work: 50_000, Open: f.muster(plain, func(m *muster) bench.Contest { return &musterPublish{m, 64} })},
		}},
		{"backlog", "a backlog is worked off and acknowledged", []string{"rueidis-tuned", "watermill", "asynq"}, []bench.Contender{
			{Name: "rueidis-simple", Work: 10_000, Open: f.raw(false, func(r *raw) bench.Contest { return &rawBacklog{r} }, rawStream)},
			{Name: "go-redis", Work: 5_000, Open: f.goRedis(func(g *goRedis) bench.Contest { return &goRedisBacklog{g} }, rawStream)},
			{Name: "watermill", Work: 5_000, Open: f.mill(func(m *mill) bench.Contest { return &millBacklog{m} }, rawStream)},
			{Name: "asynq", Work: 3_000, Open: f.tasks(func(t *tasks) bench.Contest { return &tasksWork{t, false} })},
			{Name: "rueidis-tuned", Work: 100_000, Open: f.raw(true, func(r *raw) bench.Contest { return &rawBacklog{r} }, rawStream)},
			{Name: "muster", Work: 50_000, Open: f.muster(full, func(m *muster) bench.Contest { return &musterBacklog{m} }, musterTopic)},
			{Name: "muster-plain", Work: 50_000, Open: f.muster(plain, func(m *muster) bench.Contest { return &musterBacklog{m} }, musterTopic)},
		}},
		{"flow", "64 callers publish while one process consumes and acknowledges", []string{"rueidis-tuned", "watermill"}, []bench.Contender{
			{Name: "go-redis", Work: 5_000, Open: f.goRedis(func(g *goRedis) bench.Contest { return &goRedisFlow{g, 64} }, rawStream)},
			{Name: "watermill", Work: 5_000, Open: f.mill(func(m *mill) bench.Contest { return &millFlow{m, 64} }, rawStream)},
			{Name: "asynq", Work: 3_000, Open: f.tasks(func(t *tasks) bench.Contest { return &tasksWork{t, true} })},
			{Name: "rueidis-tuned", Work: 50_000, Open: f.raw(true, func(r *raw) bench.Contest { return &rawFlow{r, 64} }, rawStream)},
			{Name: "muster", Work: 50_000, Open: f.muster(full, func(m *muster) bench.Contest { return &musterFlow{m, 64} }, musterTopic)},
			{Name: "muster-plain", Work: 50_000, Open: f.muster(plain, func(m *muster) bench.Contest { return &musterFlow{m, 64} }, musterTopic)},
		}},
		{"workers", "64 workers of 1 ms", []string{"rueidis-tuned"}, f.workers(exactly)},
		{"workers-sleep", "64 workers that sleep for 1 ms", []string{"rueidis-tuned"}, f.workers(func() { time.Sleep(time.Millisecond) })},
		{"hop", "read, emit, acknowledge", []string{"rueidis-script", "rueidis-pipelined", "watermill"}, f.hops(1)},
		{"chain", "read, emit, acknowledge five times, in hops", []string{"rueidis-script", "rueidis-pipelined", "watermill"}, f.hops(5)},
		{"get", "64 callers get a value", []string{"rueidis-tuned"}, f.stores(100_000, store.get)},
		{"set", "64 callers set a value", []string{"rueidis-tuned"}, f.stores(100_000, store.set)},
		{"compare", "64 callers compare a value and set it", []string{"rueidis-tuned"}, f.stores(50_000, store.swap)},
		{"once-fresh", "16 callers run something once, each time something new", []string{"rueidis-tuned"}, f.onces(20_000, func(a asked) bench.Contest { return &onceFresh{asked: a} })},
		{"once-replay", "16 callers are answered with what was recorded", []string{"rueidis-tuned"}, f.onces(50_000, func(a asked) bench.Contest { return &onceReplay{asked: a} })},
		{"once-storm", "32 callers ask for the same at once, which takes 5 ms", []string{"rueidis-tuned"}, f.onces(100, func(a asked) bench.Contest { return &onceStorms{asked: a} })},
		{"lock", "one caller locks and unlocks", []string{"rueidis-tuned", "rueidis-simple", "redsync"}, f.locks(1, 5_000)},
		{"lock64", "64 callers lock and unlock, each a lock of its own", []string{"rueidis-tuned", "rueidis-simple", "redsync"}, f.locks(64, 20_000)},
	}
}

// workers are the contenders with 64 workers, each of which rests for 1 ms with each message.
func (f *field) workers(rest func()) []bench.Contender {
	return []bench.Contender{
		{Name: "rueidis-tuned", Work: 40_000, Open: f.raw(true, func(r *raw) bench.Contest { return &rawWorkers{r, rest} }, rawStream)},
		{Name: "muster", Work: 40_000, Open: f.muster(full, func(m *muster) bench.Contest { return &musterWorkers{m, rest} }, musterTopic)},
	}
}

func (f *field) hops(n int) []bench.Contender {
	from := make([]string, n)
	topics := make([]string, n)
	for i := range n {
		from[i], topics[i] = hopStream(i), hopTopic(i)
	}
	return []bench.Contender{
		{Name: "go-redis", Work: 5_000, Open: f.goRedis(func(g *goRedis) bench.Contest { return &goRedisHops{g, n} }, from...)},
		{Name: "watermill", Work: 5_000, Open: f.mill(func(m *mill) bench.Contest { return &millHops{m, n} }, from...)},
		{Name: "rueidis-script", Work: 50_000, Open: f.raw(true, func(r *raw) bench.Contest { return &rawHops{r, n, true} }, from...)},
		{Name: "rueidis-pipelined", Work: 50_000, Open: f.raw(true, func(r *raw) bench.Contest { return &rawHops{r, n, false} }, from...)},
		{Name: "muster", Work: 50_000, Open: f.muster(full, func(m *muster) bench.Contest { return &musterHops{m, n} }, topics...)},
		{Name: "muster-bare", Work: 50_000, Open: f.muster(bare, func(m *muster) bench.Contest { return &musterHops{m, n} }, topics...)},
	}
}
