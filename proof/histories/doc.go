// Package histories records what concurrent clients were told while their connections failed and their server was killed, and
// asks porcupine whether there is an order of these calls, true to their times, that a plain map and a plain lock would have answered
// in the same way: whether the store is linearizable, the calls of unknown outcome included.
//
// It has tests and no code.
package histories
