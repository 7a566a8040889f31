//go:build unix

package faults_test

import (
	"context"
	"flag"
	"os"
	"testing"
	"time"
)

const (
	roleVariable = "MUSTER_PROOF_WORKER" // holds the job of a worker process
	longVariable = "MUSTER_LONG"         // set: the long form
)

// These tests wait for loans to run out more than they compute, so more of them run at a time than there are processors.
const parallel = "8"

func TestMain(m *testing.M) {
	if os.Args[0] == natsName {
		os.Exit(natsMain())
	}
	if text, ok := os.LookupEnv(roleVariable); ok {
		os.Exit(workerMain(text))
	}
	flag.Parse()
	set := false
	flag.Visit(func(f *flag.Flag) { set = set || f.Name == "test.parallel" })
	if !set {
		if err := flag.Set("test.parallel", parallel); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

func long() bool { return os.Getenv(longVariable) != "" }

// scale is how much of something there is in this form of the tests.
func scale(short, large int) int {
	if long() {
		return large
	}
	return short
}

// until waits for a condition, and fails the test when it does not come within a time that no speed of the machine needs.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), time.Duration(scale(3, 15))*time.Minute)
	defer stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("in vain: %s", what)
		}
	}
}

// lasting lets a fault last: for as long as it is a fault of that length, not to wait for anything.
func lasting(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-t.Context().Done():
		t.Fatal(context.Cause(t.Context()))
	}
}
