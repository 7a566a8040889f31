// Package hold is the holder's clock: what someone who holds a lease, a claim or a loan believes about it, and until when.
//
// A store grants for a time L. The holder counts that time from before it asked, on the fastest of its own clocks, and
// takes off what the clocks may err and what its own code needs to stop. So it stops believing before the store can
// grant to anyone else, even while a renewal hangs, the process was stopped, or the machine slept.
//
// [Keep] runs a function while one thing is held and renews it on the side (once, cluster). [Book] keeps the times of many
// loans that are extended by the batch, with no goroutine of its own (bus). Both compute with the [Terms] of a [Config].
//
// What may not enter: how a grant is asked for, released or stored; names, nonces and tokens. The package knows a
// renewal as a function that returns an error.
package hold
