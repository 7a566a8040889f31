// Package redis is the backend on Redis 6.2 and later, or Valkey, on one server, behind sentinels or in a cluster:
// every port of package port by rueidis.
//
// Each step is one Lua script, sent by EVALSHA, that checks everything before its first write; scripts do not roll back. All
// keys of a family of names share a hash tag, and a script is given all of its keys. Time is the server's. Nothing blocks on
// the server: a call that waits is registered there and woken over one subscription that all calls of a [Backend] share.
//
// The package says only what differs from the ports' own words. What is promised under which configuration of the server,
// the keys and the memory they take are in docs/redis.md.
//
// What may not enter: other libraries than rueidis, knowledge of what is built on the ports, commands beyond those of Redis
// 6.2 without a way around them, and KEYS, FLUSHDB and SELECT in the midst of work.
package redis
