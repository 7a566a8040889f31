// Package once runs a thing once for everyone who asks for it by the same key, and gives all of them its recorded result.
//
// [Do] claims the key, runs the function while it renews the claim, and records what came of it; callers that come meanwhile
// wait, and callers that come later are answered from the record. When the owner of a claim dies, the claim runs out and somebody
// else runs the function again: what the function does elsewhere happens at least once, what is recorded happens once. [Seen] is
// the plain test whether an id comes for the first time.
//
// What may not enter: locks in general (a claim without a result is a lease), and anything that takes a value for "not done".
package once
