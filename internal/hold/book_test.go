package hold

import (
	"errors"
	"math"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func newBook(t *testing.T, c Config) *Book[string] {
	t.Helper()
	b, err := NewBook[string](c)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func due(b *Book[string]) []string {
	loans, _ := b.Due()
	slices.Sort(loans)
	return loans
}

func TestLoansAreDueAPeriodAfterTheyWereSentAndOnlyOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBook(t, config())
		sent := Clock{}.Now()
		<-time.After(time.Second) // the answer takes its time
		b.Add(sent, "a", "b")
		if got := due(b); got != nil {
			t.Fatalf("%v are due at once", got)
		}
		<-time.After(time.Second)
		loans, timeout := b.Due()
		if slices.Sort(loans); !slices.Equal(loans, []string{"a", "b"}) || timeout != 2*time.Second {
			t.Fatalf("%v are due with %v, want both with the period", loans, timeout)
		}
		if got := due(b); got != nil {
			t.Fatalf("%v are due while they are being extended", got)
		}
		b.Extended(Clock{}.Now(), "a", "b")
		<-time.After(2 * time.Second)
		if got := due(b); len(got) != 2 {
			t.Fatalf("%v are due after the extension, want both", got)
		}
	})
}

func TestALoanIsLostAtItsStepDownCountedFromTheSend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBook(t, config())
		b.Add(Clock{}.Now(), "a")
		<-time.After(2 * time.Second)
		sent := Clock{}.Now()
		<-time.After(time.Second)
		b.Extended(sent, "a")
		<-time.After(stepDown - time.Second - 1)
		if !b.Held("a") || b.Lost() != nil {
			t.Fatal("lost before the step-down")
		}
		<-time.After(1)
		if b.Held("a") {
			t.Fatal("held at the step-down")
		}
		if got := due(b); got != nil {
			t.Fatalf("%v are due and lost at once", got)
		}
		if got := b.Lost(); !slices.Equal(got, []string{"a"}) || b.Lost() != nil {
			t.Fatalf("%v are lost, want a once", got)
		}
	})
}

func TestAnUnknownOutcomeIsTriedAgainAndExtendsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBook(t, config())
		start := time.Now()
		b.Add(Clock{}.Now(), "a")
		var at []time.Duration
		for b.Lost() == nil {
			if due(b) != nil {
				at = append(at, time.Since(start))
				b.Failed("a", "gone")
			}
			next, _ := b.Next()
			<-time.After(next)
		}
		ms := time.Millisecond
		if want := []time.Duration{2000 * ms, 2250 * ms, 2750 * ms, 3750 * ms, 5750 * ms}; !slices.Equal(at[:5], want) {
			t.Fatalf("extended at %v, want %v first", at, want)
		}
		if at[len(at)-1] >= stepDown || time.Since(start) != stepDown {
			t.Fatalf("extended at %v, lost at %v", at, time.Since(start))
		}
	})
}

func TestALoanThatWasSettledIsNotBroughtBack(t *testing.T) {
	b := newBook(t, config())
	b.Add(Clock{}.Now(), "a")
	b.Remove("a", "never there")
	b.Extended(Clock{}.Now(), "a")
	b.Failed("a")
	if _, some := b.Next(); some || b.Held("a") {
		t.Fatal("it is back")
	}
}

func TestAnExtensionLeavesTimeForTheOthersWhenOneLoanIsNearItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBook(t, config())
		b.Add(Clock{}.Now(), "old")
		<-time.After(4 * time.Second)
		b.Add(Clock{}.Now(), "young")
		<-time.After(2 * time.Second)
		if loans, timeout := b.Due(); len(loans) != 2 || timeout != time.Second {
			t.Fatalf("%v with %v, want both with half of the 2s that are left to the older", loans, timeout)
		}
		b.Failed("old")
		<-time.After(1900 * time.Millisecond)
		if loans, timeout := b.Due(); !slices.Equal(loans, []string{"old"}) || timeout != 250*time.Millisecond {
			t.Fatalf("%v with %v, want the older with an eighth of the period", loans, timeout)
		}
	})
}

func TestNextSleepsUntilSomethingHappensAndNeverLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBook(t, config())
		if _, some := b.Next(); some {
			t.Error("an empty book has something next")
		}
		b.Add(Clock{}.Now(), "a")
		if next, some := b.Next(); !some || next != drain/4 {
			t.Errorf("next in %v, want a quarter of Drain", next)
		}
		<-time.After(1900 * time.Millisecond)
		if next, _ := b.Next(); next != 100*time.Millisecond {
			t.Errorf("next in %v, want 100ms", next)
		}
		<-time.After(time.Hour)
		if next, _ := b.Next(); next != 0 {
			t.Errorf("next in %v, want now", next)
		}
	})
}

func TestABookSeesThatTheProcessWasStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := config()
		c.Clock.Jump = new(Jump)
		b := newBook(t, c)
		b.Add(c.Clock.Now(), "a")
		c.Clock.Jump.Stopped(c.Lease)
		if b.Held("a") || len(b.Lost()) != 1 {
			t.Fatal("held after the loan ended")
		}
	})
}

func TestABookOfAnInvalidConfigIsRefused(t *testing.T) {
	if _, err := NewBook[string](Config{Lease: time.Second, Drain: math.MaxInt64}); !errors.Is(err, ErrInvalid) {
		t.Fatalf("%v, want ErrInvalid", err)
	}
}
