// Package soak runs everything at a steady rate for a long time, and tells whether memory grows: publish, consume, emit and
// acknowledge, failures, rejections and delays, once, keys, locks and signals, against a redis-server of its own.
//
//	go test -count=1 -timeout=0 -v ./proof/soak -for=30m -rate=1000
//
// Samples are taken of this process, which does all of the work (what lives on the heap after a collection, goroutines), and of
// the server (its memory, its keys of each kind, what a message takes). At the end, the median of each figure's last third is
// compared with that of the second third; the first third is for windows and caches to fill. The short form, which runs with every
// other test, shows that the command works, and that everything took effect once; whether something grows is judged from 15 minutes on.
//
// It has tests and no code.
package soak
