package main

import (
	"bytes"
	"sync/atomic"

	"github.com/musterhq/muster/bench"
	"github.com/musterhq/muster/envelope"
)

const (
	payloadSize  = 256  // bytes
	publishBatch = 100  // messages in one call of a publisher that has batches
	handleBatch  = 256  // messages in one call of a handler that takes batches, at most
	ahead        = 4096 // messages that a publisher is ahead of the handler at most, with every contender
)

// The two that the others are compared with.
const (
	gochannel = "watermill-gochannel"
	channel   = "channel-and-ack"
)

// contenders is the field. Bytes-batches runs twice: what the two differ by is what the machine adds to every figure.
func contenders() []bench.Contender {
	return []bench.Contender{
		{Name: gochannel, Work: 20_000, Open: openGoChannel(gochannelConfig{OutputChannelBuffer: ahead})},
		{Name: gochannel + "-unbuffered", Work: 20_000, Open: openGoChannel(gochannelConfig{})},
		{Name: gochannel + "-blocking", Work: 20_000, Open: openGoChannel(gochannelConfig{OutputChannelBuffer: ahead, BlockPublishUntilSubscriberAck: true})},
		{Name: channel, Work: 200_000, Open: openChannel},
		{Name: "channel-pair", Work: 1_000_000, Open: openPair},
		{Name: "bytes-batches", Work: 200_000, Open: openBytes(inBatches, plain)},
		{Name: "bytes-batches-again", Work: 200_000, Open: openBytes(inBatches, plain)},
		{Name: "bytes-batches-deduplicated", Work: 200_000, Open: openBytes(inBatches, deduplicated)},
		{Name: "bytes-one-by-one", Work: 100_000, Open: openBytes(oneByOne, plain)},
		{Name: "json-batches", Work: 100_000, Open: openJSON(inBatches)},
		{Name: "json-one-by-one", Work: 50_000, Open: openJSON(oneByOne)},
	}
}

// payload is 256 bytes as JSON, which is what the contenders with bytes carry, too.
func payload() (order, []byte) {
	o := order{ID: "order-000017", Customer: "customer-42", Cents: 129_900, Lines: []string{"sku-1 x 2", "sku-7 x 1", "sku-9 x 12"}}
	wire, err := envelope.JSON[order]{}.Append(nil, o)
	if err != nil {
		panic(err) // a struct of strings and numbers can be encoded
	}
	o.Note = string(bytes.Repeat([]byte("n"), payloadSize-len(wire)))
	wire, err = envelope.JSON[order]{}.Append(nil, o)
	if err != nil {
		panic(err)
	}
	return o, wire
}

type order struct {
	ID       string   `json:"id"`
	Customer string   `json:"customer"`
	Cents    int64    `json:"cents"`
	Lines    []string `json:"lines"`
	Note     string   `json:"note"`
}

// credit keeps a publisher at most [ahead] messages before the handler, and tells when all that was published is handled. One
// goroutine publishes.
type credit struct {
	sent    int64
	handled atomic.Int64
	goal    atomic.Int64 // the handler rings when it has handled as many
	bell    chan struct{}
}

func newCredit() *credit { return &credit{bell: make(chan struct{}, 1)} }

// take waits until n more may be published: when there is no room for them, until half of it is free, so that publisher and handler
// do not wake each other for every call.
func (c *credit) take(n int) {
	if c.sent+int64(n)-c.handled.Load() > ahead {
		c.wait(c.sent + int64(n) - ahead/2)
	}
	c.sent += int64(n)
}

// wait waits until as many are handled.
func (c *credit) wait(goal int64) {
	for c.handled.Load() < goal {
		c.goal.Store(goal)
		if c.handled.Load() >= goal {
			return
		}
		<-c.bell
	}
}

// all waits until everything that was published is handled.
func (c *credit) all() { c.wait(c.sent) }

// done tells that n more are handled.
func (c *credit) done(n int) {
	before := c.handled.Add(int64(n)) - int64(n)
	if goal := c.goal.Load(); before < goal && goal <= before+int64(n) {
		select {
		case c.bell <- struct{}{}:
		default:
		}
	}
}
