// Package muster is the door of the house: it runs what blocks, and says where everything else is.
//
// Muster gives a fleet of Go processes, on the Redis, NATS or Postgres that they already run, messages that are not
// lost and not done twice, retries, dead letters, locks and leaders that are safe, a roll of who is alive, caches that
// agree, and pipelines of steps that survive a crash. Without any server it does the same in one process, on the
// memory backend.
//
// The ground imports the standard library only, and its rooms do not import each other:
//
//	port         the hexagon: every port, what the ports carry, Caps, the sentinel errors
//	envelope     Envelope[T], its wire form, correlation in the context
//	retry        Backoff (pure arithmetic) and Do
//	muster       Run
//
// The adapters stand on port, and on one client library each. They know nothing of what is built on them, so that an
// adapter from outside has equal rights:
//
//	adapter/...  memory (the reference), redis, nats, postgres; models, blobs, secrets, runners; otel
//
// The use packages are written once, against the smallest port that they need, and name no backend:
//
//	once         idempotent execution with a recorded result
//	bus          typed topics, groups, verdicts, emitting, dead letters, live signals with acknowledgements
//	cluster      members, leaders, locks and semaphores, each with a fencing token
//	flow         orchestrators and pipelines: steps that survive a crash
//	cache        a near copy on every node, synchronised through a log
//	delivery     the software-delivery pipeline, built on flow
//
// Four sentences hold it up:
//
//   - Everything above the four backend ports is written and proved once.
//   - Nouns are structs, verdicts are errors, news is an iterator.
//   - The caller owns every goroutine: what runs long blocks until its ctx ends, and constructors start none.
//   - Required things are arguments; the rest is one config struct by value, whose zero value works.
//
// By the third sentence a program is a list of calls that block. [Run] is what runs such a list: subscriptions, a
// leader, a member's heartbeat and the program's own servers, under one ctx. Only Run lives in this package; a thing
// that has a name of its own has a room of its own.
package muster
