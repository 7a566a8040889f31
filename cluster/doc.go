// Package cluster is what a fleet of processes agrees on: who is there (Join, Members, Watch), who leads (Lead, Leader,
// Leaders), and who may (Lock, TryLock, ReadLock, Semaphore, Who). All of it stands on port.Leases alone: a member, a
// leader, a lock's holder, one who waits in a queue are a lease each, and its data says the rest.
//
// Whoever holds something runs a function with a [Term]. The function's ctx ends before the lease can, by the clock of the process
// itself, even while a renewal hangs (internal/hold has the rules). A context comes late to a process that was stopped: what
// acts on the outside asks Term.Held or goes through Term.Guard. And what a past holder still sends is refused by whoever
// compares fencing tokens: Term.Fence for steps and changes of a backend, [Gate], [FenceHeader] and [FenceCondition] for
// resources of one's own.
//
// Nothing here starts a goroutine that it does not await: what runs long blocks until its ctx ends. A process that holds many
// leases gives the same [Shared] to all calls, and they are renewed together.
//
// What may not enter: a backend's name, capabilities that a backend does not state, clocks of others. Hints make things fast; polling
// decides what is true.
package cluster
