// Package migrating shows what programs write by hand against Redis, and the same on Muster, side by side. It is what
// docs/migrating-from-redis.md quotes; its tests run each half on a real server, and compare the page with these files.
package migrating
