//go:build unix

package caches_test

import (
	"os"
	"testing"
	"time"
)

const (
	roleVariable = "MUSTER_PROOF_CACHE" // holds the job of a node process
	longVariable = "MUSTER_LONG"        // set: the long form
)

func TestMain(m *testing.M) {
	if text, ok := os.LookupEnv(roleVariable); ok {
		os.Exit(nodeMain(text))
	}
	os.Exit(m.Run())
}

func long() bool { return os.Getenv(longVariable) != "" }

// scale is how much of something there is in this form of the tests.
func scale[N int | time.Duration](short, large N) N {
	if long() {
		return large
	}
	return short
}
