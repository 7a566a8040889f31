package nats

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	client "github.com/nats-io/nats.go"
)

// Headers of records and of answers.
const (
	headSequence = "Nats-Sequence"
	headSubject  = "Nats-Subject"
	headTime     = "Nats-Time-Stamp"
	headPending  = "Nats-Num-Pending"
	headUpTo     = "Nats-UpTo-Sequence"
	headTTL      = "Nats-TTL"
	headGone     = "KV-Operation" // DEL: the cell is empty
	headEnd      = "Muster-Ends"  // of a key: when it ends, by the server's time in Unix milliseconds
)

// record is one message of the stream.
type record struct {
	subject string
	seq     uint64
	at      time.Time
	gone    bool
	end     int64 // server's time in milliseconds, 0: none
	data    []byte
}

func recordOf(m *client.Msg) (*record, error) {
	seq, err := strconv.ParseUint(m.Header.Get(headSequence), 10, 64)
	if err != nil {
		return nil, fmt.Errorf("answer without a sequence: %w", err)
	}
	at, err := time.Parse(time.RFC3339Nano, m.Header.Get(headTime))
	if err != nil {
		return nil, fmt.Errorf("answer without a time: %w", err)
	}
	r := &record{subject: m.Header.Get(headSubject), seq: seq, at: at, data: m.Data}
	switch m.Header.Get(headGone) {
	case "DEL", "PURGE":
		r.gone = true
	}
	if end := m.Header.Get(headEnd); end != "" {
		if r.end, err = strconv.ParseInt(end, 10, 64); err != nil {
			return nil, fmt.Errorf("%w: %w", errBroken, err)
		}
	} else if ttl := m.Header.Get(headTTL); ttl != "" {
		if s, err := strconv.ParseInt(ttl, 10, 64); err == nil && s > 0 {
			r.end = millis(at.Add(time.Duration(s) * time.Second))
		} else if d, err := time.ParseDuration(ttl); err == nil {
			r.end = millis(at.Add(d))
		}
	}
	return r, nil
}

// directGet is the question of a direct get.
type directGet struct {
	Seq   uint64     `json:"seq,omitempty"`
	Next  string     `json:"next_by_subj,omitempty"`
	Last  string     `json:"last_by_subj,omitempty"`
	Multi []string   `json:"multi_last,omitempty"`
	Batch int        `json:"batch,omitempty"`
	Bytes int        `json:"max_bytes,omitempty"`
	From  *time.Time `json:"start_time,omitempty"`
}

// answer is the records that a direct get has brought.
type answer struct {
	list []*record
	more bool   // there were more than were sent
	upTo uint64 // of a question for last records: the sequence that the stream had come to; 0: there is none of them
}

// ask asks for records, and may be answered by any of the stream's replicas: see view. Which one it is the servers choose by chance. One that
// stands still is chosen, too, until they miss it: so what is not answered soon is asked again, with more time.
func (b *Backend) ask(ctx context.Context, q directGet) (answer, error) {
	if b.copies < 2 {
		return b.askOnce(ctx, q)
	}
	end := time.Now().Add(b.conf.timeout())
	for soon := 200 * time.Millisecond; ; soon *= 2 {
		left := time.Until(end)
		within, cancel := context.WithTimeoutCause(ctx, min(soon, left), errSilent)
		a, err := b.askOnce(within, q)
		cancel()
		if left <= soon || !errors.Is(err, errSilent) || ctx.Err() != nil {
			return a, err
		}
	}
}

func (b *Backend) askOnce(ctx context.Context, q directGet) (a answer, err error) {
	text, err := json.Marshal(q)
	if err != nil {
		return answer{}, err
	}
	many := q.Batch > 0 || q.Multi != nil
	answers, err := b.desk.ask(ctx, &client.Msg{Subject: "$JS.API.DIRECT.GET." + b.space.stream, Data: text}, many)
	if err != nil {
		return answer{}, err
	}
	for _, m := range answers {
		switch status := m.Header.Get("Status"); status {
		case "":
			r, err := recordOf(m)
			if err != nil {
				return answer{}, err
			}
			b.clock.pass(r.at)
			a.list = append(a.list, r)
		case "204":
			pending, err := strconv.ParseUint(m.Header.Get(headPending), 10, 64)
			a.more = err == nil && pending > 0
			if up := m.Header.Get(headUpTo); up != "" {
				if a.upTo, err = strconv.ParseUint(up, 10, 64); err != nil {
					return answer{}, fmt.Errorf("answer up to no sequence: %w", err)
				}
			}
		case "404":
		case "503":
			return answer{}, errNoStream
		default:
			return answer{}, fmt.Errorf("direct get: status %s %s", status, m.Header.Get("Description"))
		}
	}
	return a, nil
}

const (
	multiSubjects = 256
	readChunks    = 1000
	readBytes     = 1 << 20
)

// cells reads in a view of its own.
func (b *Backend) cells(ctx context.Context, subjects []string) (map[string]*record, error) {
	v, err := b.look(ctx)
	if err != nil {
		return nil, err
	}
	return v.cells(ctx, subjects)
}

// cells reads the last record of each subject; one that has none is left out.
func (v *view) cells(ctx context.Context, subjects []string) (map[string]*record, error) {
	found := make(map[string]*record, len(subjects))
	for len(subjects) > 0 {
		part := subjects[:min(len(subjects), multiSubjects)]
		a, err := v.last(ctx, part)
		if err != nil {
			return nil, err
		}
		for _, r := range a.list {
			found[r.subject] = r
		}
		if !a.more {
			subjects = subjects[len(part):]
			continue
		}
		if len(a.list) == 0 {
			return nil, fmt.Errorf("direct get: the server sends nothing of %d records", len(part))
		}
		var rest []string // so large that they come in several portions
		for _, s := range subjects {
			if found[s] == nil {
				rest = append(rest, s)
			}
		}
		subjects = rest
	}
	return found, nil
}

// chunks reads the log from seq on, a portion of it.
func (v *view) chunks(ctx context.Context, topic string, q directGet) (list []*chunk, more bool, err error) {
	q.Next, q.Bytes = v.b.space.log(topic), readBytes
	if q.Batch == 0 {
		q.Batch = readChunks
	}
	a, err := v.walk(ctx, q)
	if err != nil {
		return nil, false, err
	}
	for _, r := range a.list {
		c, err := decodeChunk(r)
		if err != nil {
			return nil, false, fmt.Errorf("log of topic %q: %w", topic, err)
		}
		list = append(list, c)
	}
	return list, a.more, nil
}

// lastChunk is the end of the log, or nil.
func (v *view) lastChunk(ctx context.Context, topic string) (*chunk, error) {
	found, err := v.cells(ctx, []string{v.b.space.log(topic)})
	if err != nil {
		return nil, err
	}
	r := found[v.b.space.log(topic)]
	if r == nil {
		return nil, nil
	}
	return decodeChunk(r)
}

// chunkAt is the chunk of the topic at just that sequence, or nil.
func (v *view) chunkAt(ctx context.Context, topic string, seq uint64) (*chunk, error) {
	q := directGet{Seq: seq}
	if v.b.copies > 1 { // the next one tells that there is none at that sequence, where a replica without it may only be behind
		q = directGet{Seq: seq, Next: v.b.space.log(topic), Batch: 1, Bytes: readBytes}
	}
	a, err := v.walk(ctx, q)
	if err != nil || len(a.list) == 0 || a.list[0].subject != v.b.space.log(topic) || a.list[0].seq != seq {
		return nil, err
	}
	return decodeChunk(a.list[0])
}

// api asks the JetStream API and fills answer, which tells an error as the API does.
func (b *Backend) api(ctx context.Context, subject string, question, answer any) error {
	var text []byte
	if question != nil {
		var err error
		if text, err = json.Marshal(question); err != nil {
			return err
		}
	}
	answers, err := b.desk.ask(ctx, &client.Msg{Subject: "$JS.API." + subject, Data: text}, false)
	if err != nil {
		return err
	}
	if answers[0].Header.Get("Status") == "503" {
		return errNoStream
	}
	var failed struct {
		Error *apiError `json:"error"`
	}
	if err := json.Unmarshal(answers[0].Data, &failed); err != nil {
		return fmt.Errorf("%s: %w", subject, err)
	}
	if failed.Error != nil {
		return failed.Error
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(answers[0].Data, answer)
}

// apiError is what the server says of a refusal.
type apiError struct {
	Code        int    `json:"code"`
	ErrCode     int    `json:"err_code"`
	Description string `json:"description"`
}

func (e *apiError) Error() string { return fmt.Sprintf("%s (error %d)", e.Description, e.ErrCode) }

// streamInfo is what the server tells of the stream.
type streamInfo struct {
	Time   time.Time `json:"ts"`
	Config struct {
		Storage  string   `json:"storage"`
		Replicas int      `json:"num_replicas"`
		Direct   bool     `json:"allow_direct"`
		Atomic   bool     `json:"allow_atomic"`
		TTL      bool     `json:"allow_msg_ttl"`
		Rollup   bool     `json:"allow_rollup_hdrs"`
		MaxBytes int64    `json:"max_bytes"`
		Subjects []string `json:"subjects"`
	} `json:"config"`
	State struct {
		Bytes    uint64            `json:"bytes"`
		LastSeq  uint64            `json:"last_seq"`
		Subjects map[string]uint64 `json:"subjects"`
	} `json:"state"`
	Cluster struct {
		Leader string `json:"leader"`
	} `json:"cluster"`
	Total int `json:"total"`
}

// subjects lists those that match, in portions, until yield says no.
func (b *Backend) subjects(ctx context.Context, filter string, yield func(subject string) bool) error {
	v, err := b.look(ctx)
	if err != nil {
		return err
	}
	w := lagging{b: b}
	for seen := 0; ; {
		var info streamInfo
		question := map[string]any{"subjects_filter": filter, "offset": seen}
		if err := b.api(ctx, "STREAM.INFO."+b.space.stream, question, &info); err != nil {
			return err
		}
		if info.State.LastSeq < v.floor.Load() {
			if err := w.wait(ctx); err != nil {
				return err
			}
			continue
		}
		for s := range info.State.Subjects {
			if !yield(s) {
				return nil
			}
		}
		seen += len(info.State.Subjects)
		if len(info.State.Subjects) == 0 || seen >= info.Total {
			return nil
		}
	}
}

// purge deletes the records of a subject; with seq alone those before it. The server that leads the stream of a cluster may not know yet
// that it was made, or may just be elected.
func (b *Backend) purge(ctx context.Context, filter string, seq uint64) error {
	question := map[string]any{"filter": filter}
	if seq > 0 {
		question["seq"] = seq
	}
	for start := time.Now(); ; {
		err := b.api(ctx, "STREAM.PURGE."+b.space.stream, question, nil)
		e, refused := errors.AsType[*apiError](err)
		if b.cluster == "" || !passing(err) && (!refused || e.ErrCode != codeStreamNotFound) || time.Since(start) > b.patient() {
			return err
		}
		if err := b.rest(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}
