package redis

import (
	"strings"
	"testing"
)

func TestAnIDComesBackAsItWas(t *testing.T) {
	seen := map[string]string{}
	for _, c := range []struct {
		id    string
		bytes int // on the server
	}{
		{"", 0},
		{"1", 1},
		{"\x00", 2},
		{"\x01", 2},
		{"\x01\x00", 3},
		{"\x02", 1},
		{"\x00" + strings.Repeat("x", 16), 18},
		{strings.Repeat("x", 36), 36},
		{"01890a5d-ac96-774b-bcce-b302099a8057", 17},
		{"00000000-0000-0000-0000-000000000000", 17},
		{"ffffffff-ffff-ffff-ffff-ffffffffffff", 17},
		{"FFFFFFFF-ffff-ffff-ffff-ffffffffffff", 36}, // would come back in small letters
		{"01890a5d-ac96-774b-bcce-b302099a805g", 36},
		{"01890a5d-ac96-774b-bcce-b302099a805-", 36},
		{"01890a5dxac96-774b-bcce-b302099a8057", 36},
		{"01890a5d-ac96-774b-bcce+b302099a8057", 36},
		{"01890a5d-ac96-774b-bcce-b302099a8057~1", 38},
		{"\x0001890a5-ac96-774b-bcce-b302099a8057", 37},
	} {
		s := short(c.id)
		if s != string(appendID(nil, c.id)) {
			t.Errorf("%q is %q in one way, and %q in another", c.id, s, appendID(nil, c.id))
		}
		if len(s) != c.bytes {
			t.Errorf("%q has %d bytes on the server, want %d", c.id, len(s), c.bytes)
		}
		if got := full(s); got != c.id {
			t.Errorf("%q comes back as %q", c.id, got)
		}
		if other, ok := seen[s]; ok {
			t.Errorf("%q and %q are the same on the server", c.id, other)
		}
		seen[s] = c.id
	}
}

func FuzzID(f *testing.F) {
	for _, id := range []string{"", "1", "\x00", "\x01x", "01890a5d-ac96-774b-bcce-b302099a8057", "01890A5d-ac96-774b-bcce-b302099a8057"} {
		f.Add(id)
	}
	f.Fuzz(func(t *testing.T, id string) {
		if got := full(short(id)); got != id {
			t.Errorf("%q comes back as %q", id, got)
		}
	})
}
