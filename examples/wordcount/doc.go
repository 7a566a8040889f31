// Package wordcount has requirements for a small program (requirements.md) and the script of a model that plans and writes it
// (script.json), so that delivery can be watched without a model:
//
//	go run ./cmd/muster run --out /tmp/release examples/wordcount/requirements.md
//	/tmp/release/current/bin/wordcount </etc/services
//
// The first program of the script is wrong, and its own test says so; the second one is right. Its tests deliver it twice and
// compare it with wc.
package wordcount
