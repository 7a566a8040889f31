package hold

import "testing"

func TestTheMachineTellsForHowLongItWasSuspended(t *testing.T) {
	s := readAsleep()
	if s.high < 0 || s.low > s.high || s == (span{}) {
		t.Fatalf("read %v", s)
	}
	if _, ok := readClock(99); ok {
		t.Fatal("an unknown clock was read")
	}
}
