// Package retry does again what may be done again.
//
// [Backoff] is pure arithmetic: how many tries, and how long between them. [Do] is the loop around a function, for those
// who have nothing better; a message's retries are counted by its group (package bus), which uses Backoff alone.
//
// Errors carry the verdict: [Permanent] says that trying again cannot help, [After] says when it may, and what [Do] has
// retried in vain matches [ErrRetried], so that layers of retrying do not multiply.
//
// What may not enter: knowledge of backends or messages, circuit breaking, goroutines.
package retry
