// Package histories asks porcupine whether what concurrent clients were told, while their connections failed, while they died, and while
// their server was killed, could have been answered in some order, true to the times, by a plain thing that keeps the rules: whether
// keys, leases, and the locks that stand on them are linearizable, the calls of unknown outcome included.
//
// [Client] is a client of a lock, [History] is what clients tell, [Rules] the rules of a lock as a model. The tests of this package play clients on the
// memory backend in virtual time, and on a server whose connections break; proof/terms has clients that are processes.
package histories
