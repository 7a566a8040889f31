//go:build unix

package terms_test

import (
	"context"
	"flag"
	"os"
	"testing"
	"time"
)

const (
	roleVariable = "MUSTER_PROOF_CANDIDATE" // holds the job of a candidate's process
	longVariable = "MUSTER_LONG"            // set: the long form
)

// These tests wait for leases to run out more than they compute, so more of them run at a time than there are processors.
const parallel = "8"

func TestMain(m *testing.M) {
	if text, ok := os.LookupEnv(roleVariable); ok {
		os.Exit(candidateMain(text))
	}
	if text, ok := os.LookupEnv(serverVariable); ok {
		os.Exit(serverMain(text))
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
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), 5*time.Minute)
	defer stop()
	tick := time.NewTicker(2 * time.Millisecond)
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
