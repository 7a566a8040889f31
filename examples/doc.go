// Package examples holds small complete programs, one folder each, and the hello worlds of the README as tests.
//
// An example shows one thing with what a reader would have: the public rooms and one adapter. CI runs every one of them. What
// belongs to a library, a helper that two examples share for instance, does not enter.
package examples
