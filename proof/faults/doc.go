// Package faults breaks what production breaks, on real processes: workers and servers are killed, stopped and restarted,
// connections are cut, stalled and slowed, each under load. An observer outside of it all counts what was published, handled and
// emitted, what was lost and what was done twice, and how long it took until the work went on.
//
// It has tests and no code. Worker processes are the test binary itself, which TestMain tells apart by an environment variable.
// The short form runs with every other test; MUSTER_LONG=1 makes the long form of it, whose figures are in docs/redis.md and docs/nats.md.
package faults
