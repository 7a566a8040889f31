// Package terms breaks those who hold something: processes that lead, wait in a fair queue, read and write under one lock, and take slots of a
// semaphore, on a real Redis and a real nats-server. They are stopped (SIGSTOP), cut off from the server and killed, and so is the server. It
// counts terms that overlap, acts through Guard after a term, and stale tokens that a fenced register took, and asks whether the history is
// linearizable by the models of proof/histories.
//
// It has tests and no code. A candidate is the test binary itself, and so is the nats-server: TestMain tells them apart by environment variables. All
// acts are stamped with the clock of the machine that all of them share. The short form runs with every other test; MUSTER_LONG=1
// makes the long form of it, whose figures are in docs/coordination.md.
package terms
