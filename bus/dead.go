package bus

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/musterhq/muster/envelope"
	"github.com/musterhq/muster/port"
)

// DeadLetter is a message that a group could not handle, and why.
type DeadLetter struct {
	ID       string      // of the message at the port: the envelope's, or <id>~<offset> after a redrive
	Offset   port.Offset // in the dead-letter topic; set when listed
	Key      string
	Tenant   string
	Topic    string
	Group    string
	Worker   string // who gave up
	Reason   string
	Stack    string // of a panic; default none
	Attempts int    // failures, the last one included
	Crashes  int    // workers that died while they handled it
	First    time.Time
	Last     time.Time
	Body     []byte // of the message, as it came
}

// DeadTopic is the topic of a group's dead letters. It is an ordinary topic, without a limit by age unless it is declared with
// one (other than port.DefaultMaxAge, which is what a topic has that nobody declared), and without a window: every burial counts.
func DeadTopic(topic, group string) Topic[DeadLetter] {
	return Topic[DeadLetter]{
		Name:  topic + "." + group + port.DeadSuffix,
		Codec: deadCodec{},
		Keep:  port.Topic{MaxAge: -1, Window: -1},
	}
}

// deadHead is a dead letter on the wire without its body.
type deadHead struct {
	ID       string    `json:"id"`
	Key      string    `json:"key,omitempty"`
	Tenant   string    `json:"tenantId,omitempty"`
	Topic    string    `json:"topic"`
	Group    string    `json:"group"`
	Worker   string    `json:"worker"`
	Reason   string    `json:"reason"`
	Stack    string    `json:"stack,omitempty"`
	Attempts int       `json:"attempts"`
	Crashes  int       `json:"crashes"`
	First    time.Time `json:"first"`
	Last     time.Time `json:"last"`
}

// deadCodec writes the body as it came: as JSON where it is JSON that people can read, and in base64 where it is not.
type deadCodec struct{}

func (deadCodec) ContentType() string { return envelope.ContentTypeJSON }

func (deadCodec) Append(dst []byte, d DeadLetter) ([]byte, error) {
	head, err := json.Marshal(deadHead{
		ID: toValid(d.ID), Key: toValid(d.Key), Tenant: d.Tenant, Topic: d.Topic, Group: d.Group, Worker: d.Worker,
		Reason: d.Reason, Stack: d.Stack, Attempts: d.Attempts, Crashes: d.Crashes, First: d.First, Last: d.Last,
	})
	if err != nil {
		return dst, err
	}
	dst = append(dst, head[:len(head)-1]...)
	if readable(d.Body) {
		dst = append(dst, `,"body":`...)
		dst = append(dst, d.Body...)
		return append(dst, '}'), nil
	}
	b64, err := json.Marshal(d.Body)
	if err != nil {
		return dst, err
	}
	dst = append(dst, `,"bodyBase64":`...)
	dst = append(dst, b64...)
	return append(dst, '}'), nil
}

// readable reports whether body can stand in a letter, which stands in an envelope, and come out of it byte for byte.
func readable(body []byte) bool {
	const deepest = 1000 // far below where JSON readers end, which is no place for a letter to be lost
	return json.Valid(body) && utf8.Valid(body) && len(bytes.TrimSpace(body)) == len(body) && depth(body) <= deepest
}

// depth is how deep the arrays and objects of valid JSON nest.
func depth(value []byte) int {
	deepest, now, quoted := 0, 0, false
	for i := 0; i < len(value); i++ {
		switch c := value[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '[' || c == '{':
			now++
			deepest = max(deepest, now)
		case c == ']' || c == '}':
			now--
		}
	}
	return deepest
}

func (deadCodec) Decode(src []byte, d *DeadLetter) error {
	var w struct {
		deadHead
		Body       json.RawMessage `json:"body"`
		BodyBase64 []byte          `json:"bodyBase64"`
	}
	if err := json.Unmarshal(src, &w); err != nil {
		return err
	}
	h := w.deadHead
	*d = DeadLetter{
		ID: h.ID, Key: h.Key, Tenant: h.Tenant, Topic: h.Topic, Group: h.Group, Worker: h.Worker, Reason: h.Reason, Stack: h.Stack,
		Attempts: h.Attempts, Crashes: h.Crashes, First: h.First, Last: h.Last, Body: w.BodyBase64,
	}
	if w.Body != nil {
		d.Body = w.Body
	}
	return nil
}

// bury makes the settlement that acknowledges the message and keeps it as a dead letter, in one step.
func (c *consumer) bury(it *item, cause error) {
	letter := c.letter(it, cause)
	c.g.Log.WarnContext(c.handling, "message is dead, it waits in the dead letters",
		"topic", c.pg.Topic, "group", c.pg.Name, "id", it.d.Message.ID, "corrId", it.about().CorrID,
		"attempts", letter.Attempts, "crashes", letter.Crashes, "reason", letter.Reason)
	c.settleDead(it, letter)
}

func (c *consumer) letter(it *item, cause error) DeadLetter {
	d := DeadLetter{
		ID: it.d.Message.ID, Key: it.d.Message.Key, Tenant: it.about().Tenant, Topic: c.pg.Topic, Group: c.pg.Name, Worker: c.g.Worker,
		Reason: reason(cause), Attempts: it.d.Attempt, Crashes: it.d.Crashes,
		First: it.d.FirstAt.UTC(), Last: time.Now().UTC(), Body: it.d.Message.Body,
	}
	if it.ran { // it was handled, and that failed
		d.Attempts++
	}
	if p, ok := errors.AsType[*panicError](cause); ok {
		d.Stack = toValid(p.stack)
	}
	return d
}

// settleDead is the burial as a settlement. When not even that can be encoded, the message stays in the queue.
func (c *consumer) settleDead(it *item, letter DeadLetter) {
	topic := DeadTopic(c.pg.Topic, c.pg.Name)
	out := Out[DeadLetter]{Payload: letter}
	meta, in := topic.meta(&out), it.about()
	meta.ID = envelope.DeriveID(c.pg.Topic, it.d.Message.ID, c.pg.Name, string(it.d.Receipt))
	meta.At, meta.CorrID, meta.CauseID, meta.Tenant = letter.Last, in.CorrID, in.ID, in.Tenant
	if meta.CorrID == "" {
		meta.CorrID = meta.ID
	}
	msg, err := topic.message(&meta, &out)
	if err != nil {
		c.keepBack(it, err)
		return
	}
	msg.Key = letter.Key
	it.handled = false
	it.settle(port.Settlement{Then: port.Batch{Messages: []port.Message{msg}}})
}

// shrink makes a burial smaller that the backend refused, and keeps the message back when it is as small as it gets.
func (c *consumer) shrink(it *item, err error) {
	it.buried++
	if it.buried > 1 {
		c.keepBack(it, err)
		return
	}
	cause := it.err
	if cause == nil {
		cause = err
	}
	letter := c.letter(it, cause)
	letter.Reason, letter.Stack = clip(letter.Reason, 200), ""
	c.settleDead(it, letter)
}

// keepBack returns a message that cannot be buried, to come again in a while: lost it must not be.
func (c *consumer) keepBack(it *item, err error) {
	c.g.Log.ErrorContext(c.handling, "message cannot be buried, it stays in the queue",
		"topic", c.pg.Topic, "group", c.pg.Name, "id", it.d.Message.ID, "error", err)
	it.handled = false
	it.settle(port.Settlement{Verdict: port.Release, After: max(c.g.Loan, 30*time.Second)})
}

func toValid(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }
