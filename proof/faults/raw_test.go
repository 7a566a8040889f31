//go:build unix

package faults_test

import (
	"context"
	"encoding/json"
	"strconv"
	"time"

	"github.com/musterhq/muster/envelope"
	"github.com/musterhq/muster/port"
)

// raw obeys: fetch takes one message on loan; extend and settle do that with it, and tell what came of it. It does not look at
// any clock: the worst zombie that there can be.
func (w *worker) raw(ctx context.Context) error {
	g := port.Group{
		Topic: inTopic, Name: group, Consumer: "raw-" + envelope.NewID(), Loan: w.job.Loan, Remember: w.job.Remember,
	}
	var d port.Delivery
	var o order
	for {
		select {
		case <-ctx.Done():
			return nil
		case command := <-w.told:
			var err error
			e := event{What: command}
			switch command {
			case "fetch":
				var ds []port.Delivery
				if ds, err = w.b.Fetch(ctx, g, 1); err == nil {
					d = ds[0]
					o, err = orderOf(d.Message.Body)
					e.Attempt, e.Crashes, e.Lost = d.Attempt, d.Crashes, d.Lost
				}
			case "extend":
				err = w.b.Extend(ctx, g, port.Hold{Receipt: d.Receipt})[0]
			case "settle":
				var b port.Batch
				if b, err = effects(o); err == nil {
					err = w.b.Settle(ctx, g, port.Settlement{Receipt: d.Receipt, Then: b})[0]
				}
			case "release":
				err = w.b.Settle(ctx, g, port.Settlement{Receipt: d.Receipt, Verdict: port.Release})[0]
			}
			e.N, e.Text = o.N, name(err)
			w.say(e)
		}
	}
}

// effects is the step of an order as handle makes it, but without a look at what is there: nothing but the store keeps it from
// being applied twice.
func effects(o order) (port.Batch, error) {
	payload, err := json.Marshal(bill{o.N})
	if err != nil {
		return port.Batch{}, err
	}
	id := envelope.NewID()
	body, err := envelope.Append(nil, envelope.Meta{ID: id, Type: outTopic, CorrID: id, At: time.Now()}, payload)
	if err != nil {
		return port.Batch{}, err
	}
	return port.Batch{
		Messages: []port.Message{{Topic: outTopic, ID: id, Body: body}},
		Changes:  []port.Change{{Key: counts.Prefix + strconv.Itoa(o.N), Value: []byte("1")}},
	}, nil
}

func orderOf(body []byte) (order, error) {
	var o order
	err := decode(body, &o)
	return o, err
}

// decode reads the payload in an envelope.
func decode(body []byte, into any) error {
	_, payload, err := envelope.Parse(body)
	if err != nil {
		return err
	}
	return json.Unmarshal(payload, into)
}
