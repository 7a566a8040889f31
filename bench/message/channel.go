package main

import (
	"context"

	"github.com/musterhq/muster/bench"
)

// mail is a message with a channel of its own for the acknowledgement, as a program without a library sends it.
type mail struct {
	body []byte
	ack  chan struct{}
}

// channels is mail through a channel. Nothing is kept, copied, encoded or named.
type channels struct {
	work chan mail
	body []byte
	done chan struct{}
}

func openChannel(context.Context) (bench.Contest, error) {
	_, body := payload()
	c := &channels{work: make(chan mail, ahead), body: body, done: make(chan struct{})}
	go func() {
		defer close(c.done)
		for m := range c.work {
			close(m.ack)
		}
	}()
	return c, nil
}

// Move hears the acknowledgements in the order in which it sent, as many messages behind as every publisher may be ahead.
func (c *channels) Move(n int) error {
	ring := make([]chan struct{}, min(n, ahead)) // what is under way
	for i := range n + len(ring) {
		at := i % len(ring)
		if i >= len(ring) {
			<-ring[at]
		}
		if i < n {
			ring[at] = make(chan struct{})
			c.work <- mail{c.body, ring[at]}
		}
	}
	return nil
}

func (c *channels) Close() error {
	close(c.work)
	<-c.done
	return nil
}

// pair is a channel for messages and one for acknowledgements, both with room: the least that a message can cost that goes
// alone and is acknowledged.
type pair struct {
	work chan []byte
	acks chan int
	body []byte
	done chan struct{}
}

func openPair(context.Context) (bench.Contest, error) {
	_, body := payload()
	p := &pair{work: make(chan []byte, ahead), acks: make(chan int, ahead), body: body, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		for m := range p.work {
			p.acks <- len(m)
		}
	}()
	return p, nil
}

func (p *pair) Move(n int) error {
	open := 0
	for range n {
		if open == ahead {
			<-p.acks
			open--
		}
		p.work <- p.body
		open++
	}
	for range open {
		<-p.acks
	}
	return nil
}

func (p *pair) Close() error {
	close(p.work)
	<-p.done
	return nil
}
