package nats

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	client "github.com/nats-io/nats.go"
)

// replicas answer for a stream with a cell and a log, the first times as one does that has not heard of the last write yet.
type replicas struct {
	t      *testing.T
	b      *Backend
	conn   *client.Conn
	behind int // so many questions are answered so
	silent int // and so many not at all
}

// newReplicas plays a stream that has come to sequence 8; its cell "key" and its log "orders" were written at 3 and at 6.
func newReplicas(t *testing.T, timeout time.Duration) *replicas {
	t.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, NoLog: true, NoSigs: true})
	if err != nil {
		t.Fatal(err)
	}
	go s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the server is not ready")
	}
	r := &replicas{t: t}
	conns := make([]*client.Conn, 2)
	for i := range conns {
		if conns[i], err = client.Connect(s.ClientURL()); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(conns[i].Close)
	}
	r.conn = conns[1]
	r.b = newBackend(t.Context(), Config{Conn: conns[0], Timeout: timeout})
	r.b.copies, r.b.cluster = 3, "c"
	if r.b.desk, err = newDesk(r.b); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.b.Close(); err != nil {
			t.Error(err)
		}
	})
	r.serve(r.b.space.newest(), func(m *client.Msg) { r.say(m, nil, []byte(`{"stream":"s","seq":7}`)) })
	r.serve("$JS.API.DIRECT.GET."+r.b.space.stream, r.answer)
	return r
}

func (r *replicas) serve(subject string, answer func(*client.Msg)) {
	r.t.Helper()
	_, err := r.conn.Subscribe(subject, answer)
	if err == nil {
		err = r.conn.Flush()
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *replicas) say(m *client.Msg, h client.Header, data []byte) {
	if err := m.RespondMsg(&client.Msg{Header: h, Data: data}); err != nil {
		r.t.Error(err)
	}
}

func (r *replicas) answer(m *client.Msg) {
	if r.silent > 0 {
		r.silent--
		return
	}
	var q directGet
	if err := json.Unmarshal(m.Data, &q); err != nil {
		r.t.Error(err)
		return
	}
	last, upTo := uint64(6), uint64(8)
	if r.behind > 0 {
		r.behind--
		last, upTo = 3, 5
	}
	for _, seq := range []uint64{3, 6} {
		for _, subject := range append(q.Multi, q.Next) {
			if subject != r.b.space.key("key") && subject != r.b.space.log("orders") {
				continue
			}
			if q.Next == "" && seq != last || seq > last || seq < q.Seq {
				continue // of a cell there is the last alone
			}
			h := client.Header{}
			h.Set(headSequence, fmt.Sprint(seq))
			h.Set(headSubject, subject)
			h.Set(headTime, time.Unix(int64(seq), 0).UTC().Format(time.RFC3339Nano))
			r.say(m, h, (&chunk{kind: entriesChunk}).encode())
		}
	}
	h := client.Header{"Status": {"204"}, headPending: {"0"}}
	if q.Multi != nil {
		h.Set(headUpTo, fmt.Sprint(upTo))
	}
	r.say(m, h, nil)
}

func TestAReplicaThatIsBehindIsAskedAgain(t *testing.T) {
	r := newReplicas(t, 30*time.Second)
	ctx := t.Context()
	key := r.b.space.key("key")
	for behind := range 4 {
		r.behind = behind
		found, err := r.b.cells(ctx, []string{key})
		if err != nil || found[key] == nil || found[key].seq != 6 {
			t.Errorf("cell after %d answers of the past: %v, %v; want that of sequence 6", behind, found[key], err)
		}
		v, err := r.b.look(ctx)
		if err != nil {
			t.Fatal(err)
		}
		r.behind = behind
		list, _, err := v.chunks(ctx, "orders", directGet{Seq: 1})
		if err != nil || len(list) != 2 || list[1].seq != 6 {
			t.Errorf("log after %d answers of the past: %d chunks, %v; want those of sequences 3 and 6", behind, len(list), err)
		}
		r.behind = behind
		if c, err := v.chunkAt(ctx, "orders", 6); err != nil || c == nil {
			t.Errorf("chunk after %d answers of the past: %v, %v; want that of sequence 6", behind, c, err)
		}
		r.behind = behind
		if c, err := v.chunkAt(ctx, "orders", 5); err != nil || c != nil {
			t.Errorf("chunk that is not there, after %d answers of the past: %v, %v", behind, c, err)
		}
	}
}

func TestAReplicaThatIsSilentCostsNoCall(t *testing.T) {
	r := newReplicas(t, 30*time.Second)
	key := r.b.space.key("key")
	r.silent = 2
	found, err := r.b.cells(t.Context(), []string{key})
	if err != nil || found[key] == nil {
		t.Errorf("cell after two questions that nobody answered: %v, %v", found[key], err)
	}
}

func TestReplicasThatStayBehindAreUnavailableAfterTheTimeout(t *testing.T) {
	r := newReplicas(t, 100*time.Millisecond)
	r.behind = 1 << 30
	if _, err := r.b.cells(t.Context(), []string{r.b.space.key("key")}); !errors.Is(err, errBehind) && !errors.Is(err, errSilent) {
		t.Errorf("cell of replicas that stay behind: %v", err)
	}
}
