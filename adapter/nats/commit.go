package nats

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	client "github.com/nats-io/nats.go"
)

// out is one record to be written.
type out struct {
	subject string
	write
	expect int64 // the sequence that the subject's last record must have; -1: any
	append bool  // keeps what is there
	chunk  *chunk
}

// ahead is a record that says nothing new, and is written whatever becomes of the step after it. Done is told its sequence.
type ahead struct {
	out
	done func(seq uint64)
}

// maxRecords is how many records one atomic batch may have.
const maxRecords = 1000

// ackOf is the server's answer to a write.
type ackOf struct {
	Seq   uint64    `json:"seq"`
	Count int       `json:"count"`
	Error *apiError `json:"error"`
}

// commit writes what the step decided: all of it, or nothing where a cell has moved.
func (b *Backend) commit(ctx context.Context, t *tx) error {
	list, err := t.records()
	if err != nil || len(list) == 0 {
		return err
	}
	if len(list) > maxRecords {
		return fmt.Errorf("a step of %d records is larger than the %d of an atomic batch: %w", len(list), maxRecords, errNotSent)
	}
	t.list = list
	if b.turns.yield(ctx, t.run, list) {
		return errYielded
	}
	seq, err := b.send(ctx, t.ahead, list)
	if err != nil {
		return err
	}
	early, _ := b.clock.now()
	for i := range list {
		o := &list[i]
		at := seq - uint64(len(list)-1-i)
		if o.append {
			o.chunk.seq = at
			continue
		}
		c := &cell{rev: at, found: !o.gone, end: o.end, at: early, data: o.data}
		if !o.gone {
			c.group = t.groups[o.subject]
		}
		t.run.cells[o.subject] = c
	}
	for _, a := range t.logs {
		if a.touched {
			a.advance(early)
			b.note(a.topic)
		}
	}
	for h := range t.hints {
		if err := b.conn.Publish(h, nil); err != nil {
			break // nobody is woken: who waits looks again by itself
		}
	}
	for _, fn := range t.after {
		fn()
	}
	return nil
}

// note has the topic looked after within a second.
func (b *Backend) note(topic string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.written[topic] = true
}

// records are what the step writes, logs first.
func (t *tx) records() ([]out, error) {
	if err := t.finish(); err != nil {
		return nil, err
	}
	var list []out
	for _, a := range t.logs {
		if !a.touched {
			continue
		}
		subject := t.b.space.log(a.topic)
		for i, c := range a.chunks {
			o := out{subject: subject, append: true, expect: -1, chunk: c, write: write{data: c.encode()}}
			if i == 0 {
				o.expect = int64(a.head)
			}
			list = append(list, o)
		}
		t.hints[t.b.space.hint(a.topic)] = true
	}
	list = append(list, t.chunks...)
	for _, s := range t.order {
		w := t.writes[s]
		o := out{subject: s, write: w, expect: -1}
		if !w.blind {
			c := t.run.cells[s]
			if c == nil {
				return nil, fmt.Errorf("cell %s is written and was not read: %w", s, errNotSent)
			}
			o.expect = int64(c.rev)
		}
		list = append(list, o)
	}
	return list, nil
}

func (o *out) message() *client.Msg {
	m := &client.Msg{Subject: o.subject, Data: o.data, Header: client.Header{}}
	if !o.append {
		m.Header["Nats-Rollup"] = []string{"sub"}
	}
	if o.expect >= 0 {
		m.Header["Nats-Expected-Last-Subject-Sequence"] = []string{strconv.FormatInt(o.expect, 10)}
	}
	if o.gone {
		m.Header[headGone] = []string{"DEL"}
	}
	if o.end > 0 && o.end != never {
		m.Header[headEnd] = []string{strconv.FormatInt(o.end, 10)}
	}
	if o.ttl > 0 {
		// The server counts whole seconds and drops fractions.
		m.Header[headTTL] = []string{strconv.FormatInt(int64((o.ttl+time.Second-1)/time.Second), 10)}
	}
	return m
}

// send writes the records and tells the sequence of the last. What goes ahead of them is on its way before.
func (b *Backend) send(ctx context.Context, before []ahead, list []out) (uint64, error) {
	asked := make([]*question, len(before))
	for i := range before {
		var err error
		if asked[i], err = b.desk.put(ctx, nil, before[i].message(), false); err != nil {
			return 0, err
		}
		defer asked[i].drop()
	}
	last, err := b.sendAll(ctx, list)
	if _, refused := errors.AsType[*apiError](err); err != nil && !refused {
		return 0, err // there is no answer, and to what went ahead there may be none, too
	}
	for i, q := range asked {
		answers, failed := q.wait(ctx)
		if failed != nil {
			break // it is written again by the next step
		}
		if seq, failed := sequenceOf(answers[0]); failed == nil {
			before[i].done(seq)
		}
	}
	return last, err
}

// sendAll writes the records as one, and tells the sequence of the last.
func (b *Backend) sendAll(ctx context.Context, list []out) (uint64, error) {
	msgs := make([]*client.Msg, len(list))
	for i := range list {
		msgs[i] = list[i].message()
	}
	last := len(msgs) - 1
	if last > 0 {
		id := []string{b.process + number(b.batches.Add(1))}
		for i, m := range msgs {
			m.Header["Nats-Batch-Id"] = id
			m.Header["Nats-Batch-Sequence"] = []string{strconv.Itoa(i + 1)}
		}
		msgs[last].Header["Nats-Batch-Commit"] = []string{"1"}
	}
	answers, err := b.desk.askAfter(ctx, msgs[:last], msgs[last], false)
	if err != nil {
		return 0, err
	}
	return sequenceOf(answers[0])
}

// sequenceOf is what the server answers to a write: the sequence of its last record, or why it was refused.
func sequenceOf(m *client.Msg) (uint64, error) {
	if m.Header.Get("Status") == "503" {
		return 0, errNoStream
	}
	// It is as short as this, unless something is wrong: {"stream":"muster_orders","seq":7}. Decoding it costs more than all the rest.
	if _, text, ok := bytes.Cut(m.Data, []byte(`"seq":`)); ok && !bytes.Contains(m.Data, []byte(`"error":`)) {
		n := len(text) - len(bytes.TrimLeft(text, "0123456789"))
		if seq, err := strconv.ParseUint(string(text[:n]), 10, 64); err == nil {
			return seq, nil
		}
	}
	var ack ackOf
	if err := json.Unmarshal(m.Data, &ack); err != nil {
		return 0, fmt.Errorf("answer to a write: %w", err)
	}
	if ack.Error != nil {
		return 0, ack.Error
	}
	return ack.Seq, nil
}
