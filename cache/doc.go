// Package cache keeps values near the code that needs them, on every node of a fleet, and keeps those near copies in agreement.
//
// A [Cache] has two storeys: the store, which is a port.KV that the whole fleet shares, and a near copy of what this process read
// or wrote lately. Each change (Set, Delete, InvalidatePattern, InvalidateTag, Clear) is one step of the backend: the key and an
// entry on the cache's log, both or neither. Each node follows the log in its own time and applies it to its near copies, and to
// nothing else. A near copy is served only while the log was heard to its end within Config.Bound: a cache that cannot hear does not
// speak, it asks the store.
//
// The promise: the value with which a call answers was current at some time not before Bound before the call began. It covers
// changes that are made through the cache; who writes the keys of the store by other means, or lets the store evict keys by
// itself, is on his own.
//
// [Sync] is the log alone, for those who bring a local cache of their own.
//
// What may not enter: a backend's name; a goroutine that no caller waits for; anything that applies what was heard to the store; an
// answer from memory without the bound.
package cache
