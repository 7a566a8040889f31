package redis

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/musterhq/muster/internal/testserver"
	"github.com/musterhq/muster/port"
)

// namesake is a backend in a namespace of its own on a server.
func namesake(t *testing.T, s *testserver.Server, name string) *Backend {
	t.Helper()
	return opened(t, Config{URL: s.URL(), Namespace: name})
}

// keeping is what a server has under a namespace, but for the times: a line for each key.
func keeping(t *testing.T, b *Backend) []string {
	t.Helper()
	var lines []string
	keys, err := b.client.Do(t.Context(), b.client.B().Keys().Pattern(b.space.prefix+"*").Build()).AsStrSlice()
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range keys {
		name := strings.TrimPrefix(key, b.space.prefix)
		if strings.HasPrefix(name, "janitor:") {
			continue
		}
		lines = append(lines, name+" "+b.held(t, key))
	}
	slices.Sort(lines)
	return lines
}

// direct asks the server past the backend.
func direct(t *testing.T, b *Backend, command ...string) rueidis.RedisMessage {
	t.Helper()
	m, err := b.client.Do(t.Context(), b.client.B().Arbitrary(command...).Build()).ToMessage()
	if err != nil {
		t.Fatalf("%v: %v", command, err)
	}
	return m
}

// said is an answer that is one text.
func said(t *testing.T, b *Backend, command ...string) string {
	t.Helper()
	m := direct(t, b, command...)
	text, err := m.ToString()
	if err != nil {
		t.Fatalf("%v: %v", command, err)
	}
	return text
}

// held is what one key holds.
func (b *Backend) held(t *testing.T, key string) string {
	t.Helper()
	switch said(t, b, "TYPE", key) {
	case "stream":
		m := direct(t, b, "XRANGE", key, "-", "+")
		list, err := m.AsXRange()
		if err != nil {
			t.Fatal(err)
		}
		out := ""
		for _, e := range list {
			for pair := range slices.Chunk(loose(e.ID, e.FieldValues["m"]), 2) {
				_, n, _ := strings.Cut(pair[0].(string), "-")
				out += fmt.Sprintf("%s %q ", n, pair[1])
			}
		}
		return out
	case "hash":
		m := direct(t, b, "HGETALL", key)
		h, err := m.AsStrMap()
		if err != nil {
			t.Fatal(err)
		}
		if h["plain"] != "" {
			if want := strings.Join([]string{h["ms"], h["n"], h["bytes"], h["max"], h["window"], max(h["due"], "0")}, " "); !strings.HasPrefix(h["plain"], want+" ") {
				t.Errorf("the record of %s is %q, and its fields are %q", key, h["plain"], want)
			}
		}
		for _, time := range []string{"plain", "ms", "era"} {
			delete(h, time)
		}
		out := ""
		for _, f := range slices.Sorted(maps.Keys(h)) {
			out += fmt.Sprintf("%s=%q ", f, h[f])
		}
		return out
	case "set":
		m := direct(t, b, "SMEMBERS", key)
		list, err := m.AsStrSlice()
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(list)
		for i := range list {
			list[i] = strings.TrimPrefix(list[i], b.space.prefix)
		}
		return fmt.Sprintf("%q %s", list, b.ends(t, key))
	case "zset":
		m := direct(t, b, "ZRANGE", key, "0", "-1")
		list, err := m.AsStrSlice()
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("%q", list)
	}
	return said(t, b, "GET", key)
}

// ends tells when a set of IDs ends, in widths of the default window from now.
func (b *Backend) ends(t *testing.T, key string) string {
	t.Helper()
	m := direct(t, b, "PTTL", key)
	left, err := m.AsInt64()
	if err != nil {
		t.Fatal(err)
	}
	if left < 0 {
		return "never"
	}
	return fmt.Sprintf("in widths of %d", (left+serverTime(t, b)+500)/1000*1000/port.Millis(port.DefaultWindow)-serverTime(t, b)/port.Millis(port.DefaultWindow))
}

func serverTime(t *testing.T, b *Backend) int64 {
	t.Helper()
	m := direct(t, b, "TIME")
	list, err := m.AsStrSlice()
	if err != nil {
		t.Fatal(err)
	}
	s, err1 := strconv.ParseInt(list[0], 10, 64)
	us, err2 := strconv.ParseInt(list[1], 10, 64)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	return s*1000 + us/1000
}

func TestTheShortScriptLeavesWhatTheLongOneDoes(t *testing.T) {
	s := testserver.Redis(t, testserver.RedisConfig{})
	short, long := namesake(t, s, "short"), namesake(t, s, "long")
	long.scripts.append = script{lua: rueidis.NewLuaScript("return 0")}
	message := func(topic, id, body string) port.Message {
		return port.Message{Topic: topic, ID: id, Body: []byte(body)}
	}
	steps := 0
	write := func(ms ...port.Message) func(*Backend) error {
		steps++
		b := port.Batch{ID: "step " + strconv.Itoa(steps), Messages: ms}
		return func(q *Backend) error { return q.Write(t.Context(), b) }
	}
	declare := func(topic port.Topic) func(*Backend) error {
		return func(q *Backend) error { return q.Declare(t.Context(), topic) }
	}
	for _, c := range []struct {
		what string
		do   func(*Backend) error
		want error
	}{
		{"a topic is made", write(message("orders", "1", "first")), nil},
		{"one message", write(message("orders", "2", "second")), nil},
		{"one more, by the record", write(message("orders", "3", "third")), nil},
		{"several", write(message("orders", "4", ""), message("orders", "5", "5"), message("orders", "6", "6")), nil},
		{"a larger one than all before", write(message("orders", "7", strings.Repeat("x", 5000))), nil},
		{"one that is known by the record's set", write(message("orders", "3", "again")), port.ErrDuplicate},
		{"a step that is known, with another message", func(q *Backend) error {
			return q.Write(t.Context(), port.Batch{ID: "step 3", Messages: []port.Message{message("orders", "other", "")}})
		}, nil},
		{"a message with a key", write(port.Message{Topic: "orders", ID: "keyed", Key: "k", Body: []byte("body")}), nil},
		{"one of two that is there twice", write(message("orders", "8", ""), message("orders", "8", "")), port.ErrDuplicate},
		{"one after what the long script wrote", write(message("orders", "9", "")), nil},
		{"one that waits", write(port.Message{Topic: "orders", ID: "10", At: time.Now().Add(time.Hour)}), nil},
		{"one beside one that waits", write(message("orders", "11", "")), nil},
		{"one more beside it", write(message("orders", "12", "")), nil},
		{"the one that waits, again", write(message("orders", "10", "")), port.ErrDuplicate},
		{"a limit is set", declare(port.Topic{Name: "orders", MaxCount: 20}), nil},
		{"one within the limit", write(message("orders", "13", "")), nil},
		{"the limit is of bytes", declare(port.Topic{Name: "orders", MaxCount: -1, MaxBytes: 100000}), nil},
		{"one within that", write(message("orders", "14", "")), nil},
		{"no limit", declare(port.Topic{Name: "orders", MaxCount: -1, MaxBytes: -1}), nil},
		{"one without limits", write(message("orders", "15", "")), nil},
		{"one more without limits", write(message("orders", "16", "")), nil},
		{"a topic that remembers nothing", declare(port.Topic{Name: "orders.plain", Window: -1}), nil},
		{"one in it", write(message("orders.plain", "1", "")), nil},
		{"the same once more", write(message("orders.plain", "1", "")), nil},
		{"the same again", write(message("orders.plain", "1", "")), nil},
		{"nothing is remembered any more", declare(port.Topic{Name: "orders", Window: -1}), nil},
		{"what was known", write(message("orders", "16", "")), nil},
		{"what was known, by the record", write(message("orders", "16", "")), nil},
	} {
		for _, b := range []*Backend{short, long} {
			if err := c.do(b); !errors.Is(err, c.want) {
				t.Errorf("%s: %v", c.what, err)
			}
		}
		if got, want := keeping(t, short), keeping(t, long); !slices.Equal(got, want) {
			t.Fatalf("%s:\n%s\nand by the long script\n%s", c.what, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	if said(t, short, "HGET", short.space.topicHash("orders"), "plain") == "" {
		t.Error("the record is not written")
	}
}

func TestTheShortScriptLeavesAMessageThatIsDueGoFirst(t *testing.T) {
	b := namesake(t, testserver.Redis(t, testserver.RedisConfig{}), "due")
	for i, m := range []port.Message{{ID: "1"}, {ID: "late", At: time.Now().Add(time.Hour)}, {ID: "2"}, {ID: "3"}} {
		m.Topic = "orders"
		if err := b.Write(t.Context(), port.Batch{Messages: []port.Message{m}}); err != nil {
			t.Fatal(i, err)
		}
	}
	// As if its time had come.
	keys := b.space.addTopic(nil, "orders")
	f := strings.Fields(said(t, b, "HGET", keys[0], "plain"))
	if len(f) != 7 || f[5] == "0" {
		t.Fatalf("the record is %q", f)
	}
	f[5] = "1"
	direct(t, b, "HSET", keys[0], "due", "1", "plain", strings.Join(f, " "))
	m := direct(t, b, "ZRANGE", keys[2], "0", "-1")
	waiting, err := m.AsStrSlice()
	if err != nil || len(waiting) != 1 {
		t.Fatal(waiting, err)
	}
	direct(t, b, "ZADD", keys[2], "1", waiting[0])
	if err := b.Write(t.Context(), port.Batch{Messages: []port.Message{{Topic: "orders", ID: "4"}}}); err != nil {
		t.Fatal(err)
	}
	stored, err := b.Read(t.Context(), port.Range{Topic: "orders", Max: 10})
	if err != nil {
		t.Fatal(err)
	}
	got := ""
	for _, s := range stored {
		got += s.Message.ID + " "
	}
	if got != "1 2 3 late 4 " {
		t.Errorf("the log is %s", got)
	}
}

// clocked is a topic whose IDs 1 and 2 were written when the server's clock stood some widths of the window away.
func clocked(t *testing.T, widths int64) *Backend {
	b := namesake(t, testserver.Redis(t, testserver.RedisConfig{}), "clocked")
	for _, id := range []string{"1", "2"} {
		if err := b.Write(t.Context(), port.Batch{Messages: []port.Message{{Topic: "orders", ID: id}}}); err != nil {
			t.Fatal(err)
		}
	}
	width := port.Millis(port.DefaultWindow)
	at := serverTime(t, b)/width + widths
	keys := b.space.addTopic(nil, "orders")
	for _, key := range keys[3:] {
		if said(t, b, "TYPE", key) == "set" {
			direct(t, b, "RENAME", key, keys[3+at%3])
			direct(t, b, "PEXPIREAT", keys[3+at%3], number((at+2)*width))
			break
		}
	}
	f := strings.Fields(said(t, b, "HGET", keys[0], "plain"))
	if len(f) != 7 {
		t.Fatalf("the record is %q", f)
	}
	f[6] = number(at)
	direct(t, b, "HSET", keys[0], "plain", strings.Join(f, " "))
	return b
}

func TestIDsAreKnownToTheShortScriptWhateverTheClockWas(t *testing.T) {
	for what, widths := range map[string]int64{"a width before": -1, "now": 0, "a width ahead": 1, "two widths ahead": 2, "three widths ahead": 3} {
		t.Run(what, func(t *testing.T) {
			b := clocked(t, widths)
			for i, id := range []string{"1", "3", "1", "4", "2", "3", "5", "1"} {
				known := i != 1 && i != 3 && i != 6
				err := b.Write(t.Context(), port.Batch{Messages: []port.Message{{Topic: "orders", ID: id}}})
				if errors.Is(err, port.ErrDuplicate) != known || err != nil && !known {
					t.Errorf("write %d, of %s: %v", i+1, id, err)
				}
			}
			for _, key := range b.space.addTopic(nil, "orders")[3:] {
				in, left := direct(t, b, "SISMEMBER", key, "3"), direct(t, b, "PTTL", key)
				is, err1 := in.AsInt64()
				ms, err2 := left.AsInt64()
				if err := errors.Join(err1, err2); err != nil {
					t.Fatal(err)
				}
				if width := port.Millis(port.DefaultWindow); is == 1 && (ms <= width || ms > 2*width) {
					t.Errorf("what was written now is known for %d ms in %s", ms, key)
				}
			}
		})
	}
}

func TestManyIDsAreKnownToTheShortScriptWhateverTheClockWas(t *testing.T) {
	for what, widths := range map[string]int64{"a width before": -1, "now": 0, "a width ahead": 1, "two widths ahead": 2, "three widths ahead": 3} {
		t.Run(what, func(t *testing.T) {
			b := clocked(t, widths)
			for i, ids := range [][]string{{"3", "4", "5"}, {"6", "2", "7"}, {"1", "8"}, {"9", "5"}, {"10", "11"}} {
				var step port.Batch
				for _, id := range ids {
					step.Messages = append(step.Messages, port.Message{Topic: "orders", ID: id})
				}
				err := b.Write(t.Context(), step)
				want := []string{"", "2", "1", "5", ""}[i]
				dup, known := errors.AsType[*port.DuplicateError](err)
				if known != (want != "") || known && strings.Join(dup.IDs, " ") != want || err != nil && !known {
					t.Errorf("write of %v: %v, want %q to be known", ids, err, want)
				}
			}
			stored, err := b.Read(t.Context(), port.Range{Topic: "orders", Max: 100})
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			for _, s := range stored {
				got += s.Message.ID + " "
			}
			if got != "1 2 3 4 5 6 7 8 9 10 11 " {
				t.Errorf("the log is %s", got)
			}
		})
	}
}
