// Package port is the hexagon: the ports of Muster, what they carry, what an adapter may promise, and the errors that all of
// them speak. It imports the standard library alone, holds no logic beyond checking and matching, and knows no backend.
//
// # Backend ports
//
// [Signals], [Queue], [KV] and [Leases] are what a backend offers; [Backend] is their union. A use package takes the smallest
// of them that it needs. An adapter is anything that passes port/porttest.
//
// # Rules for every method
//
//   - A call with an invalid argument answers [ErrInvalid], and one that the backend cannot honour [ErrUnsupported], before
//     anything happened. The Check methods of the types in this package are those rules; adapters call them first.
//   - [ErrUnavailable] means that nothing can have happened, [ErrUncertain] that it may have. After [ErrUncertain] the same
//     call may be made again: each method says how a repetition is recognised.
//   - A call that waits returns as soon as its context ends, with an error that wraps context.Cause, and one on a closed
//     backend answers [ErrClosed].
//   - Bytes that are given to a backend, or that came from one, are not modified afterwards by anybody. The slices of
//     messages, changes and settlements that hold them belong to the caller again when the call has returned.
//   - Durations are counted in whole milliseconds; a fraction is rounded up. Where a duration is required, zero and less are
//     [ErrInvalid].
//   - All names are logical: a namespace or prefix of the adapter is never seen by a caller.
//   - Everything is safe for use by many goroutines at once.
package port
