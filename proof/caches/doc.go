// Package caches breaks what production breaks under a cache on Redis: real processes that are killed and stopped, links that are
// reset, cut, slowed and that swallow everything, a server that dies. Every read of every process is written down with its time, and a
// checker looks at all of them: none may be older than the bound.
//
// It has tests and no code. Node processes are the test binary itself, which TestMain tells apart by an environment variable.
// The short form runs with every other test; MUSTER_LONG=1 makes the long form of it, whose figures are in docs/caching.md.
package caches
