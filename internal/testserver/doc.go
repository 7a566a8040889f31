// Package testserver starts real servers for tests, and breaks them.
//
// [Redis] and [Postgres] start a server of the machine's own on a free port of the loopback, with its data in a temporary
// directory, and return when it answers; [Run] does so with any other program, and [NewNATSCluster] with three servers of a program that
// the test has built. A [Server] can be killed, stopped, resumed and restarted with its data. It ends with the test, and with the test
// process however that dies (on Linux). [NewProxy] stands between a client and any server and
// breaks the network.
//
// A server that is not installed is a failure, never a skip: a green run means that everything ran.
//
// The package imports testing, so tests alone may import it. What may not enter: clients, assertions, containers.
package testserver
