// Command redis compares Muster on Redis with what is written by hand on the direct clients, and with its peers, side by side on one
// redis-server of its own, whose program must be there. From the root of the repository:
//
//	go run ./bench/redis -rounds 9
//
// What may not enter: figures. They stand in docs/performance-redis.md, with the machine and the date.
package main
