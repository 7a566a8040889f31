package redis

import "testing"

func TestANodeTellsTheSlotsThatItServes(t *testing.T) {
	const others = "67ed2db8d677e59ec4a4cefb06858cf2a1a89fa1 127.0.0.1:30002@31002 master - 0 1426238316232 2 connected 5461-10922\n"
	for _, c := range []struct {
		name, text, slots string
		ok                bool
	}{
		{"a master", others + "e7d1eecce10fd6bb5eb35b9f99a514335d9ba9ca 127.0.0.1:30001@31001 myself,master - 0 0 1 connected 0-99 5460\n", "0-99 5460", true},
		{
			"a master that gives a slot away",
			"e7d1eecce10fd6bb5eb35b9f99a514335d9ba9ca 127.0.0.1:30001@31001 myself,master - 0 0 1 connected 0-5460 [5->-67ed2db8]\n" + others,
			"0-5460 [5->-67ed2db8]", true,
		},
		{"a master without slots", "e7d1 127.0.0.1:30001@31001 myself,master - 0 0 1 connected\n" + others, "", false},
		{"a replica", "e7d1 127.0.0.1:30001@31001 myself,slave 67ed 0 0 1 connected\n" + others, "", false},
		{"nothing", "", "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if slots, ok := served(c.text); slots != c.slots || ok != c.ok {
				t.Errorf("got %q, %v, want %q, %v", slots, ok, c.slots, c.ok)
			}
		})
	}
}

func TestALayoutIsWholeWhenAllSlotsAreServed(t *testing.T) {
	for layout, want := range map[string]bool{
		"127.0.0.1:1 0-5460\n127.0.0.1:2 5461-16383":               true,
		"127.0.0.1:1 0-5459 5460 [7->-id]\n127.0.0.1:2 5461-16383": true,
		"127.0.0.1:1 0-5460\n127.0.0.1:2 5461-16382":               false,
		"127.0.0.1:1 0-5460 [5461-<-id]\n127.0.0.1:2 5462-16383":   false,
		"": false,
	} {
		if got := whole(layout); got != want {
			t.Errorf("whole(%q) = %v, want %v", layout, got, want)
		}
	}
}
