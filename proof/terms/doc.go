// Package terms breaks leaders: processes that run for one election on a real server are stopped (SIGSTOP), cut off from it and killed, and
// so is the server. It counts terms that overlap, actions through Guard after a term, and stale tokens that a fenced register took.
//
// It has tests and no code. A candidate is the test binary itself, which TestMain tells apart by an environment variable. All
// events are stamped with the clock of the machine that all of them share. The short form runs with every other test; MUSTER_LONG=1
// makes the long form of it, whose figures are in docs/coordination.md.
package terms
