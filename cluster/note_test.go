package cluster

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/musterhq/muster/port"
)

func TestEveryNoteIsWrittenAsJSONHasIt(t *testing.T) {
	for _, n := range []note{
		{},
		{TTL: 15_000, Since: 1_795_720_317_190},
		{TTL: -1, Since: -1},
		{TTL: 1, Since: 2, Meta: map[string]string{"a": "<b>"}},
		{TTL: 1, Since: 2, Left: "x"},
		{TTL: 1, Since: 2, Chain: 3},
		{TTL: 1, Since: 2, Read: "x"},
		{TTL: 1, Since: 2, Door: 3},
	} {
		want, err := json.Marshal(n)
		if err != nil {
			t.Fatal(err)
		}
		got := n.encode()
		if string(got) != string(want) {
			t.Errorf("%s, want %s", got, want)
		}
		if back := noteOf(port.Lease{Data: got}); !reflect.DeepEqual(back, n) {
			t.Errorf("%+v came back as %+v", n, back)
		}
	}
}
