package porttest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/musterhq/muster/port"
)

func signalRules() []rule {
	return []rule{
		{
			"a listener hears what is signalled after Listen returned",
			"Listen is live when it returns: what is signalled from then on is yielded.", signalIsHeard,
		},
		{
			"a signal from before Listen is not heard",
			"Signals are live and at most once: they reach those who listen now, and nobody else.", signalIsNotKept,
		},
		{
			"every listener of every process hears a signal",
			"Signal sends payload to everyone who listens to channel at this moment.", signalReachesAll,
		},
		{
			"C20 a signal that nobody hears is no error",
			"That nobody does is not an error.", signalToNobody,
		},
		{
			"C22 the globs of Listen are those of Match",
			"Patterns are globs (see Match).", signalGlobs,
		},
		{
			"C2 a signal that several patterns match is yielded once",
			"What is signalled from then on is yielded, once, however many of the patterns match it.", signalOnce,
		},
		{
			"signals of one sender come in the order in which it sent them",
			"In the order in which one sender sent it.", signalOrder,
		},
		{
			"a slow loop loses no signal without being told",
			"When the buffer overflows, or the connection broke, it yields ErrGap at that place and goes on.", signalGap,
		},
		{
			"a payload comes as it was sent",
			"Signal sends payload to everyone who listens.", signalPayloads,
		},
		{
			"a listener's sequence ends without an error when its ctx ends",
			"The sequence ends without an error when ctx ends.", signalCtx,
		},
		{
			"a listener may leave its loop and another hears on",
			"Leaving the loop, or the end of ctx, frees what it holds.", signalLeave,
		},
		{
			"signals stay within their namespace",
			"All names are logical: a namespace or prefix of the adapter is never seen by a caller.", signalNamespace,
		},
		{
			"wrong arguments of Signal and Listen are refused",
			"A call with an invalid argument answers ErrInvalid before anything happened.", signalArguments,
		},
	}
}

// deaf reports whether the backend has no live signals, after proving that it says so.
func (t *trial) deaf() bool {
	if t.caps.LiveSignals {
		return false
	}
	t.is(t.b.Signal(t.ctx, "news", nil), "Signal without Caps.LiveSignals", port.ErrUnsupported)
	_, err := t.b.Listen(t.ctx, "*")
	t.is(err, "Listen without Caps.LiveSignals", port.ErrUnsupported)
	return true
}

func (p *process) listen(patterns ...string) iter.Seq2[port.Signal, error] {
	seq, err := p.Listen(p.t.ctx, patterns...)
	p.t.must(err, "Listen")
	return seq
}

func (p *process) signal(channel, payload string) {
	p.t.must(p.Signal(p.t.ctx, channel, []byte(payload)), "Signal")
}

// heard is what seq yields before the channel "end", and the number of gaps in it.
func (t *trial) heard(seq iter.Seq2[port.Signal, error]) (got []string, gaps int) {
	for s, err := range seq {
		switch {
		case errors.Is(err, port.ErrGap):
			gaps++
			continue
		case err != nil:
			t.fatalf("Listen yielded: %v", err)
		case s.Channel == "end":
			return got, gaps
		}
		got = append(got, s.Channel+" "+string(s.Payload))
	}
	t.fatalf("Listen ended before the signal \"end\" came, after %s", brief(got))
	return nil, 0
}

func signalIsHeard(t *trial) {
	if t.deaf() {
		return
	}
	seq := t.b.listen("news", "end")
	other := t.process()
	other.signal("news", "1")
	other.signal("end", "")
	got, _ := t.heard(seq)
	same(t, "heard", got, []string{"news 1"})
}

func signalIsNotKept(t *trial) {
	if t.deaf() {
		return
	}
	first := t.b.listen("news")
	t.b.signal("news", "early")
	for s, err := range first { // it has gone through once it was heard
		t.must(err, "Listen")
		equal(t, "heard", string(s.Payload), "early")
		break
	}
	second := t.b.listen("*")
	t.b.signal("end", "")
	got, _ := t.heard(second)
	same(t, "heard by one who came later", got, nil)
}

func signalReachesAll(t *trial) {
	if t.deaf() {
		return
	}
	seqs := []iter.Seq2[port.Signal, error]{t.b.listen("*"), t.b.listen("news", "end"), t.process().listen("n*", "e*")}
	t.b.signal("news", "1")
	t.b.signal("end", "")
	for i, seq := range seqs {
		got, _ := t.heard(seq)
		same(t, fmt.Sprintf("heard by listener %d", i), got, []string{"news 1"})
	}
}

func signalToNobody(t *trial) {
	if t.deaf() {
		return
	}
	t.must(t.b.Signal(t.ctx, "news", []byte("1")), "Signal to nobody")
}

func signalGlobs(t *trial) {
	if t.deaf() {
		return
	}
	channels := []string{"a", "b", "ab", "a.b", "a.b.c", "a-b", "abc", "A", "z9", "a.bc", "x_y"}
	patterns := []string{
		"*", "a", "a*", "*b", "a?b", "a.*", "[ab]", "[^a]", "[a-c]*", "a[.-]b", "?", "??", `a\.b`, "a.b", "*.*",
		"[A-Z]", `[\a-c]b`, "x_y", "a**c", "*b*", "[b-a]",
	}
	seqs := make([]iter.Seq2[port.Signal, error], len(patterns))
	for i, p := range patterns {
		seqs[i] = t.b.listen(p, "end")
	}
	other := t.process()
	for _, c := range channels {
		other.signal(c, "")
	}
	other.signal("end", "")
	for i, p := range patterns {
		var want []string
		for _, c := range channels {
			if port.Match(p, c) {
				want = append(want, c+" ")
			}
		}
		got, _ := t.heard(seqs[i])
		same(t, fmt.Sprintf("channels that %q hears", p), got, want)
	}
}

func signalOnce(t *trial) {
	if t.deaf() {
		return
	}
	seq := t.b.listen("news", "n*", "*", "news", "end")
	t.process().signal("news", "1")
	t.b.signal("end", "")
	got, _ := t.heard(seq)
	same(t, "heard", got, []string{"news 1"})
}

func signalOrder(t *trial) {
	if t.deaf() {
		return
	}
	const n = 300
	seq := t.b.listen("*")
	wait := t.spawn(func() {
		other := t.process()
		for i := range n {
			other.signal(fmt.Sprintf("news.%d", i%3), number(i))
		}
		other.signal("end", "")
	})
	got, gaps := t.heard(seq)
	wait()
	t.inOrder(got, gaps, n)
}

// inOrder fails unless got are signals of one sender in order, and all n of them when there was no gap.
func (t *trial) inOrder(got []string, gaps, n int) {
	for i, s := range got {
		got[i] = s[strings.Index(s, " ")+1:]
	}
	t.check(slices.IsSorted(got), fmt.Sprintf("the order is kept in %s", brief(got)))
	equal(t, "signals heard more than once", len(got)-len(slices.Compact(slices.Clone(got))), 0)
	if gaps == 0 && (t.caps.GapDetection || t.house.bubble) {
		equal(t, "signals heard, with no gap told", len(got), n)
	}
}

func signalGap(t *trial) {
	if t.deaf() {
		return
	}
	const n = 20_000 // more than a buffer for a slow loop should hold
	seq := t.b.listen("*")
	for i := range n {
		t.b.signal("news", fmt.Sprintf("%06d", i))
	}
	heard := make(chan struct{})
	wait := t.spawn(func() { // again and again: the first may fall into the gap itself
		for {
			t.b.signal("end", "")
			select {
			case <-heard:
				return
			case <-time.After(t.unit):
			}
		}
	})
	next, told := 0, false
	for s, err := range seq {
		if errors.Is(err, port.ErrGap) {
			told = true
			continue
		}
		t.must(err, "Listen")
		if s.Channel == "end" {
			close(heard)
			break
		}
		var i int
		if _, err := fmt.Sscanf(string(s.Payload), "%06d", &i); err != nil {
			t.fatalf("payload %q: %v", s.Payload, err)
		}
		if i < next || (i > next && !told && t.caps.GapDetection) {
			t.fatalf("signal %d came where %d was next, and ErrGap told before it is %v", i, next, told)
		}
		next, told = i+1, false
	}
	if next < n && !told && t.caps.GapDetection {
		t.fatalf("the signals from %d to %d are missing at the end, and no ErrGap told it", next, n)
	}
	wait()
}

func signalPayloads(t *trial) {
	if t.deaf() {
		return
	}
	payloads := [][]byte{nil, {}, []byte("text"), {0}, {0xff, 0xfe, 0, '\n', '\r'}, bytes.Repeat([]byte{7}, t.body(64<<10))}
	seq := t.b.listen("news")
	for _, p := range payloads {
		t.must(t.b.Signal(t.ctx, "news", p), "Signal")
	}
	i := 0
	for s, err := range seq {
		t.must(err, "Listen")
		t.bytes(fmt.Sprintf("payload %d", i), s.Payload, payloads[i])
		if i++; i == len(payloads) {
			break
		}
	}
}

// body is n, or what a body may have at most when that is less.
func (t *trial) body(n int) int {
	if t.caps.MaxBody > 0 {
		return min(n, t.caps.MaxBody)
	}
	return n
}

func signalCtx(t *trial) {
	if t.deaf() {
		return
	}
	ctx, cancel := context.WithCancel(t.ctx)
	seq, err := t.b.Listen(ctx, "*")
	t.must(err, "Listen")
	wait := t.spawn(func() {
		for s, err := range seq {
			t.fatalf("Listen yielded %+v and %v when its ctx ended", s, err)
		}
	})
	t.pass(t.quiet)
	cancel()
	wait()
}

func signalLeave(t *trial) {
	if t.deaf() {
		return
	}
	first, second := t.b.listen("news"), t.b.listen("*")
	t.b.signal("news", "1")
	for _, err := range first {
		t.must(err, "Listen")
		break
	}
	t.b.signal("news", "2")
	t.b.signal("end", "")
	got, _ := t.heard(second)
	same(t, "heard by the other", got, []string{"news 1", "news 2"})
}

func signalNamespace(t *trial) {
	if t.deaf() {
		return
	}
	seq := t.b.listen("*")
	t.elsewhere().signal("news", "1")
	t.b.signal("end", "")
	got, _ := t.heard(seq)
	same(t, "heard from another namespace", got, nil)
}

func signalArguments(t *trial) {
	if t.deaf() {
		return
	}
	for _, channel := range badNames() {
		t.is(t.b.Signal(t.ctx, channel, nil), "Signal on channel "+brief(channel), port.ErrInvalid)
	}
	if over := t.overBody(); over != nil {
		t.is(t.b.Signal(t.ctx, "news", over), "Signal over Caps.MaxBody", port.ErrInvalid)
	}
	for _, patterns := range [][]string{nil, {""}, {"a", ""}, {"[a"}, {`a\`}, {"a", "[]"[:1]}} {
		_, err := t.b.Listen(t.ctx, patterns...)
		t.is(err, fmt.Sprintf("Listen(%q)", patterns), port.ErrInvalid)
	}
}
