package redis_test

import (
	"bufio"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/musterhq/muster/adapter/redis"
	"github.com/musterhq/muster/internal/testserver"
	"github.com/musterhq/muster/port"
)

// BenchmarkMemory tells how many bytes of the server one message takes in each of its states, by the difference of used_memory
// over 20,000 messages with bodies of 256 bytes and IDs of 36:
//
//	go test -run '^$' -bench Memory -benchtime 1x ./adapter/redis
func BenchmarkMemory(b *testing.B) {
	for b.Loop() {
		c := newCost(b)
		c.report("written-alone", func() { c.writeParts("alone", time.Time{}, 1) })
		c.report("written-with-others", func() { c.write("orders", time.Time{}) })
		c.report("loan", c.fetch)
		c.report("waiting-for-a-loan", func() { c.settle(port.Return, time.Hour) })
		c.report("delayed", func() { c.write("later", time.Now().Add(time.Hour)) })
		c.report("known-to-topic", func() {
			c.must(c.q.Declare(b.Context(), port.Topic{Name: "known", Window: time.Hour}))
			c.write("known", time.Time{})
		})
		c.g = port.Group{Topic: "known", Name: "g", Consumer: c.g.Consumer, Loan: time.Hour, Remember: time.Hour}
		c.must(c.q.Join(b.Context(), c.g))
		c.fetch()
		c.report("remembered-for-a-loan", func() { c.settle(port.Ack, 0) })
	}
}

const (
	costs = 20_000 // messages
	part  = 400    // in one step
)

// cost measures a server's memory.
type cost struct {
	b     *testing.B
	q     *redis.Backend
	g     port.Group
	loans []port.Delivery
	conn  net.Conn
	in    *bufio.Reader
}

func newCost(b *testing.B) *cost {
	s := testserver.Redis(b, testserver.RedisConfig{Appendfsync: "off"})
	c := &cost{b: b, g: port.Group{Topic: "orders", Name: "g", Consumer: "host-123456-0123456789abcdef", Loan: time.Hour}}
	var err error
	c.q, err = redis.Open(b.Context(), redis.Config{URL: s.URL()})
	c.must(err)
	b.Cleanup(func() { c.must(c.q.Close()) })
	c.conn, err = new(net.Dialer).DialContext(b.Context(), "tcp", s.Addr())
	c.must(err)
	b.Cleanup(func() { _ = c.conn.Close() }) // the server may have closed it before
	c.in = bufio.NewReader(c.conn)
	for _, topic := range []string{"alone", "orders", "later"} {
		c.must(c.q.Declare(b.Context(), port.Topic{Name: topic, Window: -1}))
	}
	c.must(c.q.Join(b.Context(), c.g))
	return c
}

func (c *cost) must(err error) {
	c.b.Helper()
	if err != nil {
		c.b.Fatal(err)
	}
}

// used is the server's used_memory.
func (c *cost) used() int64 {
	c.b.Helper()
	_, err := c.conn.Write([]byte("INFO memory\r\n"))
	c.must(err)
	for {
		line, err := c.in.ReadString('\n')
		c.must(err)
		if text, ok := strings.CutPrefix(strings.TrimSpace(line), "used_memory:"); ok {
			n, err := strconv.ParseInt(text, 10, 64)
			c.must(err)
			return n
		}
	}
}

func (c *cost) report(what string, do func()) {
	c.b.Helper()
	before := c.used()
	do()
	c.b.ReportMetric(float64(c.used()-before)/costs, "B/"+what)
}

func (c *cost) write(topic string, at time.Time) { c.writeParts(topic, at, part) }

func (c *cost) writeParts(topic string, at time.Time, part int) {
	c.b.Helper()
	for i := 0; i < costs; i += part {
		var step port.Batch
		for k := range part {
			id := "0198c0de-0000-7000-8000-" + strconv.Itoa(100_000_000_000+i+k)
			step.Messages = append(step.Messages, port.Message{Topic: topic, ID: id, Body: make([]byte, 256), At: at})
		}
		c.must(c.q.Write(c.b.Context(), step))
	}
}

func (c *cost) fetch() {
	c.b.Helper()
	for c.loans = c.loans[:0]; len(c.loans) < costs; {
		list, err := c.q.Fetch(c.b.Context(), c.g, 500)
		c.must(err)
		c.loans = append(c.loans, list...)
	}
}

func (c *cost) settle(v port.Verdict, after time.Duration) {
	c.b.Helper()
	all := make([]port.Settlement, len(c.loans))
	for i, d := range c.loans {
		all[i] = port.Settlement{Receipt: d.Receipt, Verdict: v, After: after}
		if v == port.Return {
			all[i].Reason = "payment refused"
		}
	}
	for _, err := range c.q.Settle(c.b.Context(), c.g, all...) {
		c.must(err)
	}
}
