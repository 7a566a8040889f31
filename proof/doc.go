// Package proof holds the tests that need more than one backend, or a library that the root module does without: histories
// checked for linearizability, properties, the swap of one backend for another.
//
// It has no code that a program could import. A test that one adapter can run alone lives in that adapter, and a rule that every
// adapter must keep lives in port/porttest.
package proof
