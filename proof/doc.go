// Package proof holds the tests that need more than one room at once, or a library that the root module does without: in faults,
// worker processes and servers that are killed and connections that fail under load; in histories, what clients were told,
// checked for linearizability; in terms, processes that lead, lock, read and take slots while they are stopped, cut off and killed; in caches,
// every read of a fleet of caches under such faults, checked against the bound; in soak, whether memory grows under a steady load.
//
// It has no code for programs: what histories exports is for its tests and those of terms. A test that one adapter can run alone lives in that adapter, and a rule that every
// adapter must keep lives in port/porttest.
package proof
