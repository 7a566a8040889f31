package port

import (
	"context"
	"iter"
	"time"
)

// Queue holds topics: ordered logs of messages, that groups of competing consumers work off and that anyone may read.
//
// A message in a topic is handed to each group by one path: a consumer of the group fetches it and has it on loan; nobody
// else of the group gets it until the loan ran out. Each group settles each message once: the first settlement wins, every
// other is [ErrStale] and did nothing.
type Queue interface {
	// Declare sets a topic's limits, and creates it when there is none. Write and Join create a topic with the defaults, so
	// Declare is needed for other limits alone. The same value again on one open backend costs no I/O, so it need not undo
	// what another process has set meanwhile.
	Declare(ctx context.Context, t Topic) error

	// Join returns when the group exists: nothing written from then on is missed by it. A group that exists stays where
	// it is; a new one starts at g.From. [ErrGap] when From is an offset that retention or a loss has overtaken.
	Join(ctx context.Context, g Group) error

	// Write makes one step: all of b or nothing.
	//
	// A condition that does not hold refuses it with [ErrConflict], a removal of what is not there, or a message
	// addressed to a group that is not there, with [ErrNotFound], an old fence with a [FenceError], a topic that is full of
	// what its groups have not finished with [ErrUnavailable]. A message without Group whose ID was written to its topic
	// within the topic's window is left out, the rest is applied, and a [DuplicateError] names it; an addressed message never
	// is. After [ErrUncertain] the same batch may be written again: with an ID that was applied within [BatchWindow] it
	// applies nothing and returns nil. A refused batch leaves its ID unknown. A batch may have the ID of its only message: then
	// one record may do for both, so where that message was written by another batch, Write may take this one for a repetition.
	//
	// What b points to is copied, not kept: its lists, bodies and values are the caller's again once Write answered nil or a
	// DuplicateError. After another error they may be read for a while longer.
	Write(ctx context.Context, b Batch) error

	// Fetch hands out at most limit messages, each on loan for g.Loan from now, to g.Consumer. It waits for the first one and
	// then takes what is there. Messages of one topic that were handed out before to nobody come in the order of the log. Those that
	// come again come as they become due; which of several that are due at the same time comes first is not promised. A
	// message whose ID the group remembers is acknowledged and not handed out. [ErrLost] when the group does not exist
	// (any more): it is never made anew by itself. What it
	// returns is the caller's; where g.Into is given it may stand there, and only another Fetch with the same Into writes to it again.
	Fetch(ctx context.Context, g Group, limit int) ([]Delivery, error)

	// Extend makes each loan last for g.Loan from now. It answers one error for each hold, in order: [ErrStale] when the
	// message was settled or its loan passed on.
	Extend(ctx context.Context, g Group, h ...Hold) []error

	// Settle settles each message by its verdict, whole or not at all, in order. It copies what it is given, as Write does. It
	// answers one error for each:
	//
	//   - nil: settled. Of Then, duplicate messages were left out as in Write (they repeat what is there).
	//   - [ErrStale]: settled before, or, where Caps.Fenced, its loan passed on; nothing happened. After [ErrUncertain]
	//     the same settlement may be made again: ErrStale then means that it is finished or passed on.
	//   - [ErrConflict], [ErrNotFound], [ErrUnavailable] and [FenceError] for Then as in Write: nothing happened, and
	//     the loan stays. A FenceError matches ErrStale too: ask for it first.
	//   - a [DuplicateError] with Whole: the message's ID was remembered: it is acknowledged, and nothing of Then happened.
	//   - [ErrLost]: the group does not exist any more.
	Settle(ctx context.Context, g Group, s ...Settlement) []error

	// Read returns entries of the log after r.After, in order, without touching any group. It waits up to r.Wait for the
	// first. No entry and no error means that there is none yet, or no such topic. [ErrGap] when an entry after r.After was trimmed, or
	// r.After is of another log (an earlier topic of that name, a log that lost its end). Addressed messages are not in the log,
	// delayed ones once they are due. An entry never appears at or below an offset that any reader was given.
	Read(ctx context.Context, r Range) ([]Stored, error)

	// Inspect yields the topics whose name matches pattern (see [Match]), by name. An error is the last item.
	Inspect(ctx context.Context, pattern string) iter.Seq2[TopicInfo, error]

	// Drop gives up a group with what it has not finished, or with group "" the topic with all its groups. [ErrNotFound]
	// when there is none, [ErrConflict] while someone has a message of it on loan. What is known of IDs may go with a topic.
	Drop(ctx context.Context, topic, group string) error
}

// Defaults of a new topic, and how long the ID of a batch is known.
const (
	DefaultMaxAge = 7 * 24 * time.Hour
	DefaultWindow = 2 * time.Minute
	BatchWindow   = 2 * time.Minute // at least; see Topic.Window
)

// Topic is a log and its limits. It is comparable; a zero field leaves what is set, or the default for a new topic.
//
// Retention removes the oldest entries first, some time after a limit was passed, and never one that a group has not
// finished: a group that nobody serves keeps its topic whole until it is dropped. A write to a topic that stands at MaxCount
// or MaxBytes (an adapter may let it exceed them by a tenth) and cannot be trimmed is refused with [ErrUnavailable].
//
// What is known for a time (Window, Group.Remember, BatchWindow) is known for at least that long, and for at most twice as long
// and a second.
type Topic struct {
	Name     string
	MaxAge   time.Duration // default 7 days; negative: none
	MaxCount int64         // entries; default none; negative: none
	MaxBytes int64         // sum of bodies; default none; negative: none
	Window   time.Duration // how long a message ID is known to Write, at least; default 2 min; negative: not at all
}

// Offset is the place of an entry in its log: opaque, carrying the log's era, so that an offset of another log is recognised.
// Offsets of one topic sort as strings.
type Offset string

const (
	Earliest Offset = ""  // before the first entry that is kept
	Latest   Offset = "$" // after the last entry there is now; who goes on reading begins at TopicInfo.Last instead
)

// Message is what goes through a topic.
type Message struct {
	Topic string
	ID    string    // required; known in the topic's window, and to a group that remembers it; 1 to MaxKey bytes
	Key   string    // what it is about; default none; at most MaxKey bytes
	Group string    // addresses one group alone, outside of the log; default none
	Body  []byte    // at most Caps.MaxBody bytes
	At    time.Time // not to be seen before, by the server's clock; default now
}

// Batch is one step: all of it or none.
type Batch struct {
	ID       string // recognises a repetition within BatchWindow; default none. It may be that of the only message: see Write
	Messages []Message
	Changes  []Change // of distinct keys
	Removes  []Removal
	Fence    Fence // default none
}

// Removal takes one entry out of a log, for readers and groups alike. A loan of it that is out may still be settled; nobody
// gets it any more.
type Removal struct {
	Topic  string
	Offset Offset
}

// Group is a set of consumers that share the work on a topic. Where a backend has one loan time for all of a group, it is the
// longest of its members'; Delivery.Until tells.
type Group struct {
	Topic, Name string
	Consumer    string        // a name with an incarnation's nonce, never used by two; required for Fetch, Extend and Settle
	Loan        time.Duration // how long Fetch and Extend lend; at least Caps.MinLoan; required. Members may differ
	From        Offset        // where Join starts a new group; default Earliest
	Remember    time.Duration // how long an acknowledged ID is known to the group, at least; default not at all
	Into        []Delivery    // memory that Fetch may return its deliveries in, whatever was there; default new memory for each Fetch
}

// Receipt stands for one loan of one message: its entry, its group, its consumer and how often it was lent.
type Receipt string

// Hold names a loan to be extended.
type Hold struct {
	Receipt Receipt
	Begin   bool // records that the handling starts: if this loan runs out unsettled, Crashes counts it
}

// Delivery is one message on loan. Attempt, Lost, Crashes and Reason live with the message and the group on the server.
type Delivery struct {
	Receipt Receipt
	Offset  Offset // of its entry; "" for an addressed message
	Message Message
	Attempt int       // failures so far: verdicts Return
	Lost    int       // loans that ran out so far; over 0 makes it a suspect
	Crashes int       // loans that ran out after a recorded start
	Reason  string    // of the last Return; default none
	FirstAt time.Time // when it first became available to the group: the time of its entry
	Until   time.Time // when the loan runs out, by the server's clock where it tells; an estimate
}

// Verdict is what became of a message.
type Verdict int

const (
	Ack     Verdict = iota // done: its ID is remembered, and Then is applied in the same step
	Return                 // failed: Attempt + 1, and again after After
	Release                // handed back: counts nothing, and again after After
)

// String is "ack", "return" or "release".
func (v Verdict) String() string {
	switch v {
	case Ack:
		return "ack"
	case Return:
		return "return"
	case Release:
		return "release"
	default:
		return "unknown verdict"
	}
}

// Settlement ends a loan.
type Settlement struct {
	Receipt Receipt
	Verdict Verdict
	After   time.Duration // of Return and Release: how long nobody gets it; 0 or more; must be 0 with Ack
	Reason  string        // of Return; at most MaxReason bytes
	Then    Batch         // of Ack: what happens in the same step; it has no ID, the receipt is its own
}

// Range is what to read.
type Range struct {
	Topic string
	After Offset        // Earliest, Latest or an offset that was given; default Earliest
	Max   int           // entries; at least 1
	Wait  time.Duration // for the first entry; default not at all
}

// Stored is an entry of a log.
type Stored struct {
	Offset  Offset
	Message Message   // its At is zero
	At      time.Time // when it became visible, by the server's clock
}

// TopicInfo is what a topic holds now.
type TopicInfo struct {
	Topic       Topic // with the limits in force; negative: none
	First, Last Offset
	Count       int64 // entries kept
	Delayed     int64 // messages that are not due yet and will come to every group
	Groups      []GroupInfo
}

// GroupInfo is where a group stands.
type GroupInfo struct {
	Name      string
	Lag       int64     // messages that could be fetched now
	Loaned    int64     // on loan; one whose loan ran out may be counted here or in Lag until somebody fetches
	Delayed   int64     // returned, released or addressed, and waiting for their time
	Oldest    time.Time // FirstAt of the oldest message that is not finished; zero when there is none
	Consumers []string  // who has loans, by name; an estimate
}
