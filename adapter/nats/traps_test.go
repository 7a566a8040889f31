//go:build unix

package nats_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	client "github.com/nats-io/nats.go"

	"github.com/musterhq/muster/adapter/nats"
	"github.com/musterhq/muster/port"
)

// A consumer of JetStream hands out nothing more when 1,000 of its messages are not acknowledged, whoever has them.
func TestAConsumerThatSettlesNothingStallsNobodyElse(t *testing.T) {
	const (
		held = 5_000
		more = 100
	)
	s := newProcess(t)
	hoarder, other := open(t, nats.Config{URL: s.url()}), open(t, nats.Config{URL: s.url()})
	ctx := t.Context()
	g := port.Group{Topic: "orders", Name: "workers", Loan: time.Hour}
	if err := hoarder.Join(ctx, g); err != nil {
		t.Fatal(err)
	}
	publish := func(from, to int) {
		t.Helper()
		for n := from; n < to; n += 100 {
			var b port.Batch
			for i := n; i < n+100; i++ {
				b.Messages = append(b.Messages, port.Message{Topic: g.Topic, ID: fmt.Sprint(i)})
			}
			if err := hoarder.Write(ctx, b); err != nil {
				t.Fatal(err)
			}
		}
	}
	fetch := func(b *nats.Backend, consumer string, n int) (list []port.Delivery) {
		t.Helper()
		mine := g
		mine.Consumer = consumer
		for len(list) < n {
			some, err := b.Fetch(ctx, mine, n-len(list))
			if err != nil {
				t.Fatalf("fetch by %s after %d of %d: %v", consumer, len(list), n, err)
			}
			list = append(list, some...)
		}
		return list
	}
	settle := func(b *nats.Backend, consumer string, list []port.Delivery) {
		t.Helper()
		mine := g
		mine.Consumer = consumer
		for part := range slices.Chunk(list, 500) {
			var all []port.Settlement
			for _, d := range part {
				all = append(all, port.Settlement{Receipt: d.Receipt})
			}
			if err := errors.Join(b.Settle(ctx, mine, all...)...); err != nil {
				t.Fatalf("settlement by %s: %v", consumer, err)
			}
		}
	}
	publish(0, held)
	hoard := fetch(hoarder, "hoarder", held)
	publish(held, held+more)
	for i, d := range fetch(other, "other", more) {
		if want := fmt.Sprint(held + i); d.Message.ID != want {
			t.Errorf("the other got message %s, want %s", d.Message.ID, want)
		}
		settle(other, "other", []port.Delivery{d})
	}
	for info, err := range other.Inspect(ctx, g.Topic) {
		if err != nil {
			t.Fatal(err)
		}
		if st := info.Groups[0]; st.Loaned != held || st.Lag != 0 {
			t.Errorf("the group has %d messages on loan and %d to come, want %d and 0", st.Loaned, st.Lag, held)
		}
	}
	settle(hoarder, "hoarder", hoard)
	for info, err := range other.Inspect(ctx, g.Topic) {
		if err != nil {
			t.Fatal(err)
		}
		if st := info.Groups[0]; st.Loaned != 0 {
			t.Errorf("after its settlements %d messages are still on loan", st.Loaned)
		}
	}
}

// All loans of a group are in one record, which is as large as a message may be at most.
func TestAGroupWithAsManyLoansAsItsRecordHoldsSaysSoAndGoesOn(t *testing.T) {
	const batch = 400
	s := newProcess(t)
	b := open(t, nats.Config{URL: s.url()})
	ctx := t.Context()
	g := port.Group{Topic: "orders", Name: "workers", Consumer: strings.Repeat("c", 128), Loan: time.Hour}
	if err := b.Join(ctx, g); err != nil {
		t.Fatal(err)
	}
	published := 0
	publish := func() {
		t.Helper()
		var step port.Batch
		for range batch {
			step.Messages = append(step.Messages, port.Message{Topic: g.Topic, ID: fmt.Sprint(published)})
			published++
		}
		if err := b.Write(ctx, step); err != nil {
			t.Fatal(err)
		}
	}
	var held []port.Delivery
	var full error
	for full == nil {
		publish()
		list, err := b.Fetch(ctx, g, batch)
		held, full = append(held, list...), err
	}
	t.Logf("full with %d messages on loan", len(held))
	if !errors.Is(full, port.ErrUnavailable) || !strings.Contains(full.Error(), fmt.Sprintf(`group "workers" of topic "orders" has %d messages on loan`, len(held))) {
		t.Fatalf("fetch with %d messages on loan: %v, want ErrUnavailable and why", len(held), full)
	}
	// Every verdict has room, also the one with the longest reason and a delay that keeps the message in the record.
	returned := held[:batch]
	for _, d := range returned {
		err := b.Settle(ctx, g, port.Settlement{Receipt: d.Receipt, Verdict: port.Return, After: time.Hour, Reason: strings.Repeat("r", port.MaxReason)})[0]
		if err != nil {
			t.Fatalf("return by a full group: %v", err)
		}
	}
	for part := range slices.Chunk(held[batch:], batch) {
		var all []port.Settlement
		for _, d := range part {
			all = append(all, port.Settlement{Receipt: d.Receipt})
		}
		if err := errors.Join(b.Settle(ctx, g, all...)...); err != nil {
			t.Fatalf("settlement by a full group: %v", err)
		}
	}
	for rest := published - len(held); rest > 0; {
		list, err := b.Fetch(ctx, g, rest)
		if err != nil {
			t.Fatalf("fetch when there is room again: %v", err)
		}
		rest -= len(list)
	}
}

// A direct get may be answered from what was there before a write that was acknowledged.
func TestNoReadIsOlderThanWhatWasAcknowledgedBeforeIt(t *testing.T) {
	const writes = 200
	s := newProcess(t)
	writer := open(t, nats.Config{URL: s.url()})
	var acknowledged atomic.Int64
	var reading sync.WaitGroup
	ctx, done := context.WithCancel(t.Context())
	number := func(text string) int64 {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			t.Error(err)
		}
		return n
	}
	var read atomic.Int64
	for range 2 {
		reader := open(t, nats.Config{URL: s.url()})
		reading.Go(func() {
			for ctx.Err() == nil {
				least := acknowledged.Load()
				vs, err := reader.Get(t.Context(), "orders/count")
				if err != nil {
					t.Error(err)
					return
				}
				if got := number("0" + string(vs[0].Bytes)); got < least {
					t.Errorf("read %d after %d was acknowledged", got, least)
				}
				read.Add(1)
			}
		})
		reading.Go(func() {
			after, seen := port.Earliest, int64(0)
			for ctx.Err() == nil {
				least := acknowledged.Load()
				for {
					list, err := reader.Read(t.Context(), port.Range{Topic: "orders", After: after, Max: 100})
					if err != nil {
						t.Error(err)
						return
					}
					if len(list) == 0 {
						break
					}
					after, seen = list[len(list)-1].Offset, number(list[len(list)-1].Message.ID)
				}
				if seen < least {
					t.Errorf("the log ends at message %d after %d was acknowledged", seen, least)
				}
			}
		})
	}
	for n := int64(1); n <= writes; n++ {
		text := fmt.Sprint(n)
		step := port.Batch{Messages: []port.Message{{Topic: "orders", ID: text}}, Changes: []port.Change{{Key: "orders/count", Value: []byte(text)}}}
		if err := writer.Write(t.Context(), step); err != nil {
			t.Fatal(err)
		}
		acknowledged.Store(n)
	}
	done()
	reading.Wait()
	t.Logf("%d reads of a key beside %d writes", read.Load(), writes)
}

// bucket is a namespace with a connection that looks at its records past the adapter.
type bucket struct {
	t    *testing.T
	b    *nats.Backend
	conn *client.Conn
}

func newBucket(t *testing.T) *bucket {
	t.Helper()
	s := newProcess(t)
	conn, err := client.Connect(s.url())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	return &bucket{t: t, b: open(t, nats.Config{URL: s.url()}), conn: conn}
}

// stored reports whether the server has a record of a key, be it a value or the mark that it was deleted.
func (k *bucket) stored(key string) bool {
	k.t.Helper()
	m, err := k.conn.Request("$JS.API.DIRECT.GET.muster_muster", fmt.Appendf(nil, `{"last_by_subj":"muster.muster.s.k.%s"}`, key), 5*time.Second)
	if err != nil {
		k.t.Fatal(err)
	}
	return m.Header.Get("Status") != "404"
}

// cleared waits until the server itself has taken away every record of a key.
func (k *bucket) cleared(key string) {
	k.t.Helper()
	eventually(k.t, "the server takes the record of "+key+" away", func() error {
		if k.stored(key) {
			return errors.New("it is there")
		}
		return nil
	})
}

// apply makes a change that must be done.
func (k *bucket) apply(c port.Change) {
	k.t.Helper()
	a, err := k.b.Apply(k.t.Context(), c)
	if err != nil || !a[0].Done {
		k.t.Fatalf("%+v: %+v, %v", c, a, err)
	}
}

// value is what a key holds, with its time to live.
func (k *bucket) value(key string) port.Value {
	k.t.Helper()
	vs, err := k.b.GetTTL(k.t.Context(), key)
	if err != nil {
		k.t.Fatal(err)
	}
	return vs[0]
}

// over waits until a key's time is over.
func (k *bucket) over(key string) {
	k.t.Helper()
	eventually(k.t, key+" ends", func() error {
		if v := k.value(key); v.Found {
			return fmt.Errorf("it has %v left", v.TTL)
		}
		return nil
	})
}

// A key that was deleted leaves a mark that the server takes away later, with a time to live of its own; so does one whose time is
// over. Neither may refuse, or take away, what is created after it.
func TestAKeyIsCreatedAgainAfterItWasDeletedAndAfterItsTime(t *testing.T) {
	k := newBucket(t)
	const brief = 20 * time.Millisecond // far shorter than the second that a server keeps a record at least
	create := func(key, value string, ttl time.Duration) {
		t.Helper()
		k.apply(port.Change{Key: key, Value: []byte(value), If: port.Absent, TTL: ttl})
		a, err := k.b.Apply(t.Context(), port.Change{Key: key, Value: []byte("other"), If: port.Absent})
		if err != nil || a[0].Done && ttl == 0 {
			t.Fatalf("%s was created twice: %+v, %v", key, a, err)
		}
	}
	for round := range 3 {
		create("deleted", fmt.Sprint(round), 0)
		k.apply(port.Change{Key: "deleted", Delete: true})
		if !k.stored("deleted") {
			t.Fatal("no mark is left of a deleted key: this test shows nothing")
		}
		k.apply(port.Change{Key: "ended", Value: []byte("1"), If: port.Absent, TTL: brief})
		k.over("ended")
	}
	if !k.stored("ended") {
		t.Fatal("no record is left of a key whose time is over: this test shows nothing")
	}
	// What comes now is to stay, whatever the server still takes away of what was there.
	create("deleted", "last", 0)
	create("ended", "last", 0)
	k.apply(port.Change{Key: "ended-timed", Value: []byte("1"), If: port.Absent, TTL: brief})
	k.over("ended-timed")
	k.apply(port.Change{Key: "ended-timed", Value: []byte("last"), If: port.Absent, TTL: time.Hour})
	// Of these the server takes away what it would take away of the others.
	k.apply(port.Change{Key: "witness", Value: []byte("1"), TTL: time.Second})
	k.apply(port.Change{Key: "witness-deleted", Value: []byte("1")})
	k.apply(port.Change{Key: "witness-deleted", Delete: true})
	k.cleared("witness")
	k.cleared("witness-deleted")
	for _, key := range []string{"deleted", "ended", "ended-timed"} {
		if v := k.value(key); string(v.Bytes) != "last" || (key == "ended-timed") != (v.TTL > 0) {
			t.Errorf("%s, created anew, is %q with %v left", key, v.Bytes, v.TTL)
		}
	}
	// And where the server has taken all away.
	create("witness", "last", 0)
	create("witness-deleted", "last", 0)
}

// The client's own Update writes a record without a time to live, and the key stays for ever.
func TestACompareAndSetKeepsTheTimeToLiveInTheServerToo(t *testing.T) {
	k := newBucket(t)
	const ttl = 1500 * time.Millisecond
	changes := map[string]func(key string) error{
		"applied": func(key string) error {
			k.apply(port.Change{Key: key, Value: []byte("2"), If: port.Equals, Old: []byte("1"), TTL: port.KeepTTL})
			return nil
		},
		"applied-always": func(key string) error {
			k.apply(port.Change{Key: key, Value: []byte("2"), TTL: port.KeepTTL})
			return nil
		},
		"set-anew": func(key string) error {
			k.apply(port.Change{Key: key, Value: []byte("2"), If: port.Equals, Old: []byte("1"), TTL: ttl})
			return nil
		},
		"in-a-step": func(key string) error {
			return k.b.Write(t.Context(), port.Batch{
				Messages: []port.Message{{Topic: "orders", ID: "1"}},
				Changes:  []port.Change{{Key: key, Value: []byte("2"), If: port.Equals, Old: []byte("1"), TTL: port.KeepTTL}},
			})
		},
		"added": func(key string) error {
			_, err := k.b.Add(t.Context(), key, 1, 0)
			return err
		},
	}
	for key, change := range changes {
		k.apply(port.Change{Key: key, Value: []byte("1"), TTL: ttl})
		if err := change(key); err != nil {
			t.Fatalf("%s: %v", key, err)
		}
		if v := k.value(key); string(v.Bytes) != "2" || v.TTL <= 0 || v.TTL > ttl {
			t.Errorf("%s is %q with %v left, want 2 and up to %v", key, v.Bytes, v.TTL, ttl)
		}
	}
	k.apply(port.Change{Key: "endless", Value: []byte("1"), TTL: ttl})
	k.apply(port.Change{Key: "endless", Value: []byte("2"), If: port.Equals, Old: []byte("1")})
	for key := range changes {
		k.over(key)
		k.cleared(key)
	}
	if v := k.value("endless"); !v.Found || v.TTL != 0 {
		t.Errorf("a key whose time was ended has %v left, found %v", v.TTL, v.Found)
	}
}

// A server older than 2.11 takes a record with a time to live and keeps it for ever; one that is newer does so in a stream that was not
// made for it.
func TestAStreamThatWasMadeOtherwiseIsRefused(t *testing.T) {
	s := newProcess(t)
	conn, err := client.Connect(s.url())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for i, lack := range []string{"allow_msg_ttl", "allow_direct", "allow_atomic", "allow_rollup_hdrs", "subjects"} {
		name := fmt.Sprintf("other%d", i)
		config := map[string]any{
			"name": "muster_" + name, "subjects": []string{"muster." + name + ".s.>"}, "storage": "file", "retention": "limits",
			"allow_direct": true, "allow_rollup_hdrs": true, "allow_atomic": true, "allow_msg_ttl": true,
		}
		if config[lack] = false; lack == "subjects" {
			config[lack] = []string{"muster." + name + ".s.k.>"}
		}
		question, err := json.Marshal(config)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := conn.Request("$JS.API.STREAM.CREATE.muster_"+name, question, 5*time.Second)
		if err != nil || strings.Contains(string(answer.Data), `"error"`) {
			t.Fatalf("a stream without %s: %s, %v", lack, answer.Data, err)
		}
		b, err := nats.Open(t.Context(), nats.Config{URL: s.url(), Namespace: name})
		if !errors.Is(err, port.ErrUnsupported) || !strings.Contains(err.Error(), "muster_"+name) {
			t.Errorf("open of a stream without %s: %v, want ErrUnsupported and its name", lack, err)
		}
		if err == nil {
			if err := b.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

// hoardEnv has the directory that this test binary writes to as a process with an embedded server, until it is killed.
const hoardEnv = "MUSTER_TEST_NATS_EMBEDDED"

// A server of one's own syncs every two minutes unless it is told otherwise: what it promises is no more than that.
func TestAServerOfOnesOwnPromisesNoMoreThanItSyncs(t *testing.T) {
	s := newProcess(t)
	if got := open(t, nats.Config{URL: s.url()}).Caps().Durable; got != port.DurableProcess {
		t.Errorf("Durable of a server that syncs every two minutes is %v, want DurableProcess", got)
	}
}

// The process that has the embedded server is killed while it writes: what it was told is written is there, each step whole.
func TestAnEmbeddedServerThatIsKilledLosesNothingThatWasAcknowledged(t *testing.T) {
	if dir := os.Getenv(hoardEnv); dir != "" {
		hoard(t, dir)
		return
	}
	dir := filepath.Join(t.TempDir(), "data")
	acknowledged := map[string]bool{}
	for life := range 3 {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.timeout=2m")
		cmd.Env = append(os.Environ(), hoardEnv+"="+dir)
		cmd.Stderr = os.Stderr
		told, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		before := len(acknowledged)
		for lines := bufio.NewScanner(told); lines.Scan(); {
			id, ok := strings.CutPrefix(lines.Text(), "written ")
			if !ok {
				continue
			}
			// Later lines are what was told between here and its death: the pipe has them still.
			if acknowledged[id] = true; len(acknowledged) == before+300+100*life {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		_ = cmd.Wait() // killed, as it should be
		if len(acknowledged) < before+300 {
			t.Fatalf("life %d has told of %d writes", life, len(acknowledged)-before)
		}
	}
	b := embedded(t, nats.EmbeddedConfig{Dir: dir})
	there := map[string]int{}
	for after := port.Earliest; ; {
		list, err := b.Read(t.Context(), port.Range{Topic: "orders", After: after, Max: 500})
		if err != nil {
			t.Fatal(err)
		}
		if len(list) == 0 {
			break
		}
		for _, e := range list {
			there[e.Message.ID]++
		}
		after = list[len(list)-1].Offset
	}
	keys := map[string]bool{}
	for key, err := range b.Keys(t.Context(), "orders/*") {
		if err != nil {
			t.Fatal(err)
		}
		keys[strings.TrimPrefix(key, "orders/")] = true
	}
	for id := range acknowledged {
		if there[id] == 0 {
			t.Errorf("step %s was acknowledged and is gone", id)
		}
	}
	for id, n := range there {
		if n != 1 || !keys[id] {
			t.Errorf("step %s has %d messages, and its key is there: %v", id, n, keys[id])
		}
	}
	if len(keys) != len(there) {
		t.Errorf("%d keys and %d messages of the same steps", len(keys), len(there))
	}
	t.Logf("%d steps acknowledged in 3 lives, %d there", len(acknowledged), len(there))
}

// hoard writes as fast as it can with several callers, and tells of each write when it is acknowledged.
func hoard(t *testing.T, dir string) {
	b, err := nats.Embedded(t.Context(), nats.EmbeddedConfig{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var writing sync.WaitGroup
	for w := range 8 {
		writing.Go(func() {
			for n := 0; ; n++ {
				id := fmt.Sprintf("%d.%d.%d", os.Getpid(), w, n)
				err := b.Write(t.Context(), port.Batch{
					ID: id, Messages: []port.Message{{Topic: "orders", ID: id}}, Changes: []port.Change{{Key: "orders/" + id, Value: []byte("1")}},
				})
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				_, err = fmt.Printf("\nwritten %s\n", id)
				mu.Unlock()
				if err != nil {
					os.Exit(3)
				}
			}
		})
	}
	writing.Wait()
}
