// Package bench holds the benchmarks that compare: Muster beside the direct client, and beside its peers, in the same run and
// interleaved, because two runs on one machine differ by more than the difference that is looked for.
//
// A benchmark of one room alone lives in that room. What is compared here says against what, and docs/performance.md keeps the
// figures and the command. The client libraries of the peers enter this module and no other.
package bench
