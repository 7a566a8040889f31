// Package bus is typed messages between processes: topics that are published to and worked off by groups, with retries, dead
// letters and effects that leave together with the acknowledgement; and live channels beside them.
//
// A [Topic] is a value, bound to no backend. Publish appends to it; Subscribe works it off as one consumer of a [Group] and
// blocks until its context ends. What a handler emits, applies and saves is one step with the acknowledgement of its input,
// where the backend's Caps.Atomic says so: all or nothing, and applied once. Its side effects elsewhere happen at least once;
// envelope.IdempotencyKey names them, the same on every try.
//
// The handler's error is the verdict: nil is done; [Reject] goes to the dead letters at once; [Later] comes again and is no
// failure; anything else is a failure, which comes again after a growing wait and goes to the dead letters when the tries are
// used up. A message whose worker died is a suspect: it is handled with no other suspect beside it, its start is recorded
// before, and when that was the end of too many workers it goes to the dead letters and its neighbours do not.
//
// What may not enter: the name of a backend, retries of single calls that multiply with the group's, and anything that answers
// for an error with a log line.
package bus
