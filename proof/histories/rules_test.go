package histories_test

import (
	"strings"
	"testing"

	"github.com/anishathalye/porcupine"

	"github.com/musterhq/muster/proof/histories"
)

// Acts in the words of a test: who, what, token, and what follows. Each is done before the next begins.
func acts(t *testing.T, text string) (ops []porcupine.Operation) {
	t.Helper()
	for i, line := range strings.Split(text, ", ") {
		f := strings.Fields(line)
		a := histories.Act{ID: f[0], Who: f[0], What: f[1], Fence: "lock"}
		for _, word := range f[2:] {
			switch {
			case word >= "0" && word <= "9":
				a.Token = uint64(word[0] - '0')
			case word == "shared":
				a.Shared = true
			case word == "late":
				a.Late = true
			case word == "sure":
				a.Sure = true
			case word == histories.OK || word == histories.Stale:
				a.Got = word
			case strings.HasPrefix(word, "slot"):
				a.Fence = word
			case strings.HasPrefix(word, "="):
				a.Value = word[1:]
			default:
				t.Fatalf("%q in %q", word, line)
			}
		}
		ops = append(ops, porcupine.Operation{Input: a, Output: a.Got, Call: int64(10 * i), Return: int64(10*i + 5)})
	}
	return ops
}

// One rule each: what keeps it, and what differs in that alone.
func TestTheModelKeepsEachRuleByItself(t *testing.T) {
	var plain histories.Rules
	fair, slots := histories.Rules{Fair: true}, histories.Rules{Slots: 2}
	for _, c := range []struct {
		rule      string
		rules     histories.Rules
		kept, not string
	}{
		{"a holder is alone", plain, "a begin 1, a end 1, b begin 2", "a begin 1, b begin 2"},
		{"who shares is with those who share", plain, "a begin 1 shared, b begin 1 shared", "a begin 1 shared, b begin 2"},
		{"who shares is not with who does not", plain, "a begin 1, a end 1, b begin 2 shared", "a begin 1, b begin 2 shared"},
		{"those who share have one token", plain, "a begin 1 shared, b begin 1 shared", "a begin 1 shared, b begin 2 shared"},
		{"a later term has a larger token", plain, "a begin 1, a end 1, b begin 2", "a begin 2, a end 2, b begin 1"},
		{"no two terms have one token", plain, "a begin 1, a end 1, b begin 2", "a begin 1, a end 1, b begin 1"},
		{"nor has who shares that of who does not", plain, "a begin 1 shared, a end 1 shared, b begin 1 shared", "a begin 1, a end 1, b begin 1 shared"},
		{"what ends has begun", plain, "a begin 1, a end 1", "a begin 1, a end 1, a end 1"},
		{"what is within a term is", plain, "a begin 1, a write 1 =a/1 ok sure, a end 1", "a begin 1, a end 1, a write 1 =a/1 ok sure"},
		{"what is not said to be need not be", plain, "a begin 1, a end 1, a write 1 =a/1 ok", "a begin 1, a end 1, a write 1 =a/1 ok sure"},
		{"a stale token is refused", plain, "a begin 1, a end 1, b begin 2, b mark 2 ok, a mark 1 stale", "a begin 1, a end 1, b begin 2, b mark 2 ok, a mark 1 ok"},
		{"no other is", plain, "a begin 1, a end 1, b begin 2, a mark 1 ok", "a begin 1, a end 1, b begin 2, a mark 1 stale"},
		{"nothing within a term is stale", plain, "a begin 1, b mark 2 ok, a mark 1 stale", "a begin 1, b mark 2 ok, a mark 1 stale sure"},
		{"what is read was written last", plain, "a begin 1, a write 1 =a/1 ok, a write 1 =a/2 ok, a read 1 =a/2 ok", "a begin 1, a write 1 =a/1 ok, a write 1 =a/2 ok, a read 1 =a/1 ok"},
		{"a mark changes nothing", plain, "a begin 1, a write 1 =a/1 ok, a mark 1 ok, a read 1 =a/1 ok", "a begin 1, a write 1 =a/1 ok, a mark 1 ok, a read 1 = ok"},
		{"who came first is first", fair, "a queue, b queue, a begin 1, a end 1, b begin 2", "a queue, b queue, b begin 1, b end 1, a begin 2"},
		{"who is not in the queue is not first", fair, "a queue, a begin 1", "a begin 1"},
		{"who left is not first", fair, "a queue, a leave, b queue, b begin 1", "a queue, a leave, a begin 1"},
		{"who comes back is last", fair, "a queue, b queue, a leave, a queue, b begin 1", "a queue, b queue, a leave, a queue, a begin 1"},
		{"nobody is in the queue twice", fair, "a queue, a leave, a queue", "a queue, a queue"},
		{"who is late has no place", fair, "a queue, b queue, b leave, b begin 1 late", "a queue, b queue, b leave, b begin 1"},
		{"a slot has one holder", slots, "a begin 1 slot0, b begin 1 slot1", "a begin 1 slot0, b begin 2 slot0"},
		{"there are so many slots", slots, "a begin 1 slot0, b begin 1 slot1", "a begin 1 slot0, b begin 1 slot1, c begin 1 slot2"},
		{"a slot's tokens are its own", slots, "a begin 2 slot0, b begin 1 slot1, a end 2 slot0, c begin 3 slot0", "a begin 2 slot0, b begin 1 slot1, a end 2 slot0, c begin 1 slot0"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			if !porcupine.CheckOperations(c.rules.Model(), acts(t, c.kept)) {
				t.Errorf("refused: %s", c.kept)
			}
			if porcupine.CheckOperations(c.rules.Model(), acts(t, c.not)) {
				t.Errorf("accepted: %s", c.not)
			}
		})
	}
}
