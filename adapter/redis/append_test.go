package redis

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/musterhq/muster/internal/testserver"
	"github.com/musterhq/muster/port"
)

// calls is how often the server has run a command since it was last asked this.
func calls(t *testing.T, b *Backend, command string) string {
	text, err := b.client.Do(t.Context(), b.client.B().Info().Section("commandstats").Build()).ToString()
	if err == nil {
		err = b.client.Do(t.Context(), b.client.B().ConfigResetstat().Build()).Error()
	}
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, "cmdstat_"+command+":calls="); ok {
			n, _, _ := strings.Cut(rest, ",")
			return n
		}
	}
	return "0"
}

func TestAMessageToATopicThatIsThereIsOneShortScript(t *testing.T) {
	s := testserver.Redis(t, testserver.RedisConfig{})
	b, err := Open(t.Context(), Config{URL: s.URL()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	write := func(id string) {
		if err := b.Write(t.Context(), port.Batch{ID: "step " + id, Messages: []port.Message{{Topic: "orders", ID: id}}}); err != nil {
			t.Fatal(err)
		}
	}
	write("0")
	write("1") // from here on the server knows both scripts
	calls(t, b, "zadd")
	for i := range 10 {
		write("more" + strconv.Itoa(i))
	}
	if n := calls(t, b, "zadd"); n != "0" {
		t.Errorf("the script for all steps, which looks at delayed messages, has run %s times", n)
	}
}

func TestTheKeysOfATopicAreItsOwnAndNotKeptForEver(t *testing.T) {
	g := newGather(&Backend{space: space{"ns:"}})
	for i := range mostKeys + 10 {
		topic := "orders." + strconv.Itoa(i)
		for range 2 {
			keys := g.target("orders", topic).keys
			if want := g.b.space.addTopic(g.b.space.addHead(nil, "orders"), topic); !slices.Equal(keys, want) {
				t.Fatalf("the keys of %s are %q", topic, keys)
			}
		}
		if len(g.topics) > mostKeys {
			t.Fatalf("the keys of %d topics are kept", len(g.topics))
		}
	}
}
