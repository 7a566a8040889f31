// Package nats is every port of package port on NATS JetStream 2.12 and newer, on a server or embedded in the process.
//
// A namespace is one stream. It holds logs (a subject to which chunks of messages are appended) and cells (a subject of which
// the last record counts). Every call reads what it decides on, decides, and writes its cells and chunks under the condition
// that none of them has moved: one record by itself, several as one atomic batch. So a step is seen whole or not at all, and
// what two processes decide at the same time is decided by the order of the stream. docs/nats.md draws the layout.
//
// What may not enter: other imports than port, the client and, for Embedded, the server; knowledge of what is built on the
// ports.
package nats
